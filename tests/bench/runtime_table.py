"""The runtime's table: what attar-run reaches on this machine, beside llama.cpp ('make peers') and beside the memory's speed, as Markdown.

    runtime_table.py build/bin [--padded F16.gguf] [--large F16.gguf] [--models DIR] [--rows TEXT ...] [--runs N] [--threads N] [--json FILE]

Medians of interleaved runs. Files are made with `attar` in DIR (build/bench) of the packaged SmolLM2; --padded is a model whose rows divide by 256
(SmolLM2 at width 768), --large one of Llama-3.2-1B's shape: rows of them are left out without. --rows: those in whose names one of the texts stands.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import sys

import fidelity_rows
import speed_rows
import this_machine
import use_rows
from attar_runs import AttarRuns
from bench_models import ROOT, BenchModels
from speed_rows import batch, decode, deep_decode, deep_share, own_batch, prompt, share
from table_row import COLUMNS, Row, line
from use_rows import busy_core, generate_against_bench, peak_memory

DEPTH = speed_rows.DEPTH
NANO_GENERATED, LARGE_GENERATED = 256, 32
LATTICE = ["IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"]


@dataclasses.dataclass(frozen=True, eq=False)
class Bench:
    """What a measurement is given. Compared by identity: several rows share a measurement."""

    own: AttarRuns
    models: BenchModels
    runs: int

    @property
    def threads(self):
        return self.own.threads


def share_rows():
    for to in ["Q4_0", "Q5_0", "Q8_0", "IQ4_NL"]:
        yield Row(f"decode {to}, share of read bandwidth", share("smollm2", to), 0.92, 0.97, "share")
    yield Row("decode Q4_1 (packaged), share of read bandwidth", share("smollm2", None), 0.92, 0.97, "share")
    for to in ["Q6_K", "Q4_K"]:
        yield Row(f"decode {to} (padded), share of read bandwidth", share("padded", to), 0.92, 0.97, "share")
    yield Row("decode Q2_0, share of read bandwidth", share("smollm2", "Q2_0"), 0.75, 0.9, "share")
    for to in ["Q3_K", "Q2_K", "TQ2_0"]:
        yield Row(f"decode {to} (padded), share of read bandwidth", share("padded", to), 0.75, 0.9, "share")


def decode_rows():
    for to in LATTICE:
        yield Row(f"decode {to} (padded)", decode("padded", to), 1.5, 2.5)
    for name, to in {"Q4_K_M": "Q4_K_M", "Q3_K_M": "Q3_K_M", "Q2_K": "MOSTLY_Q2_K"}.items():
        yield Row(f"decode {name} (padded)", decode("padded", to), 1.3, 1.6)
    for name, to in {"IQ4_NL": "MOSTLY_IQ4_NL", "Q4_K_M": "Q4_K_M", "Q8_0": "MOSTLY_Q8_0"}.items():
        yield Row(f"decode {name} (large)", decode("large", to, LARGE_GENERATED), 1.0, 1.05)
    yield Row("decode Q2_0 body", decode("smollm2", "MOSTLY_Q2_0"), 4, 6)
    yield Row("decode TQ2_0 body (padded)", decode("padded", "MOSTLY_TQ2_0"), 4, 6)
    yield Row("decode Q4_0, 30M", decode("nano", "Q4_0", NANO_GENERATED), 2.5, 4)
    for kv, must in {"f16": 2.8, "int8": 3.5}.items():
        yield Row(f"decode Q4_0 at {DEPTH}, {kv} KV", deep_decode("smollm2", "Q4_0", kv), must, None)
        yield Row(f"decode Q4_0 at {DEPTH}, {kv} KV, share of read bandwidth", deep_share("smollm2", "Q4_0", kv), None, 0.95, "share")


def many_rows():
    """Of many tokens at once."""
    yield Row("pp512 Q4_0", prompt("smollm2", "Q4_0", 512), 2.5, 3)
    yield Row("pp512 Q8_0", prompt("smollm2", "Q8_0", 512), 3.5, 5)
    yield Row("pp512 Q4_K_M (padded)", prompt("padded", "Q4_K_M", 512), 4, 6)
    yield Row("pp512 IQ4_NL", prompt("smollm2", "IQ4_NL", 512), 3, 4)
    yield Row("pp2048 Q4_0", prompt("smollm2", "Q4_0", 2048), 2.8, 4)
    yield Row("batch of 8, Q4_0", batch("smollm2", "Q4_0", 8), 3.5, 5)
    yield Row("batch of 2 against own 1, Q4_0", own_batch("smollm2", "Q4_0", 2), 1.8, 1.95)


def other_rows():
    yield Row("generate against own bench, Q4_0", generate_against_bench("smollm2", "Q4_0", 256), 0.97, 0.99)
    yield Row("generate against own bench, Q4_0, 30M", generate_against_bench("nano", "Q4_0", 1024), 0.95, 0.99)
    yield Row("exec to first token", use_rows.first_token, 60, 25, "ms", "at most")
    yield Row("peak RSS over file + KV, 256 tokens generated", peak_memory(0, 256), 1.15, 1.05, "x", "at most")
    yield Row("peak RSS over file + KV, prompt of 512 tokens", peak_memory(512, 0), 1.15, 1.05, "x", "at most")
    yield Row("prompt lookup, summarising and editing", use_rows.lookup, 1.6, 2.2)
    yield Row("one core busy: 2 threads against own 1", busy_core("smollm2", "Q4_0"), 0.9, 1.0)
    yield Row(f"int8 KV, KL beyond f16 KV's, depth {fidelity_rows.DEEP['context']}", fidelity_rows.int8_kv, 2e-4, None, "nats", "at most")
    yield Row("KL of deployed to fp32, over llama.cpp's", fidelity_rows.rounding, 1.0, 0.8, "x", "at most")
    yield Row("attar-run, stripped", use_rows.program_size, 2.5, 2.0, "MB", "at most")


def all_rows():
    return [*share_rows(), *decode_rows(), *many_rows(), *other_rows()]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", type=pathlib.Path, help="the folder of attar and attar-run")
    parser.add_argument("--padded")
    parser.add_argument("--large")
    parser.add_argument("--models", default=ROOT / "build/bench")
    parser.add_argument("--rows", nargs="+", default=[""])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=pathlib.Path)
    return parser.parse_args()


def as_json(row, measured):
    limits = {"must": row.must, "aim": row.aim, "limit_is": row.limit_is, "met": row.met(measured)}
    return {"name": row.name, "unit": row.unit, **dataclasses.asdict(measured), **limits}


def main():
    given = arguments()
    rows = [row for row in all_rows() if any(text.lower() in row.name.lower() for text in given.rows)]
    if not rows:
        sys.exit(f"no row is named so: {', '.join(given.rows)}")
    models = BenchModels(given.programs / "attar", given.models, {"padded": given.padded, "large": given.large})
    bench = Bench(AttarRuns(given.programs / "attar-run", given.threads), models, given.runs)
    machine = this_machine.described(bench)
    print(f"{this_machine.sentence(machine)} Medians of {given.runs} interleaved runs.\n")
    width = max(len(row.name) for row in rows)
    print(line(COLUMNS, width))
    print(line(["---"] * len(COLUMNS), width), flush=True)
    done = []
    for row in rows:
        measured = row.measured(bench)
        done.append(as_json(row, measured))
        print(line(row.cells(measured), width), flush=True)
    missed, judged = (sum(one["met"] in met for one in done) for met in ([False], [False, True]))
    print(f"\n{judged - missed} of {judged} rows reach what they must; ik_llama.cpp, of which there is no package, is not among the peers.")
    if given.json:
        given.json.write_text(json.dumps({"machine": machine, "runs": given.runs, "rows": done}, indent=1) + "\n")


if __name__ == "__main__":
    main()
