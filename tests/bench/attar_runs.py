"""What attar-run says of itself, a process each time, and how much of the memory's speed that is."""

import json
import subprocess


class AttarRuns:
    """`before`: a command that starts it, such as taskset."""

    def __init__(self, program, threads, before=()):
        self.program, self.threads, self.before = str(program), threads, before

    def document(self, verb, model, *words):
        command = [*self.before, self.program, verb, model, *words, "--json", "--quiet"]
        return json.loads(subprocess.run([str(word) for word in command], check=True, capture_output=True).stdout)

    def bench(self, model, *words, threads=()):
        """The whole document, of one run of each measurement behind one that warms up; with several thread counts of each in turn."""
        return self.document("bench", model, *words, "-r", 1, "-t", *(threads or [self.threads]))

    def prompt_speed(self, model, count):
        """Tokens per second."""
        return self.bench(model, "-p", count, "-n", 0)["rows"][0]["median_ts"]

    def decode_speed(self, model, count, sequences=1):
        """Tokens per second of all sequences together."""
        return self.bench(model, "-p", 0, "-n", count, "--batch", sequences)["rows"][0]["median_ts"]

    def profiled(self, model, count, *words):
        """The row of a generation, with its profile and how fast this machine reads."""
        return self.bench(model, "-p", 0, "-n", count, "--profile", *words)["rows"][0]

    def generate(self, model, prompt, count, *words):
        return self.document("generate", model, "--prompt", prompt, "--max-tokens", count, "--threads", self.threads, *words)


def bytes_a_token(row, left_out=()):
    """That a profiled generation of one sequence reads: weights, also the head's but no row of the embedding, and as `attention` keys and values."""
    return sum(one["bytes"] or 0 for one in row["profile"]["operations"] if one["name"] not in left_out)


def bandwidth_share(row, left_out=()):
    """Of what as many threads read at best, in the same process."""
    return row["median_ts"] * bytes_a_token(row, left_out) / row["profile"]["read_bytes_per_s"]
