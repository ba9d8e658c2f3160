"""endpoint_writes: a teacher behind an OpenAI-compatible endpoint, from one on this machine with the faults that they have. What is
answered is asked once; what comes out depends on the answers alone; the key is seen by the endpoint and by nobody else."""

import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
import endpoint_server
from bad_input_test import tiny
from conftest import BIN
from endpoint_server import LIKELIEST, TOKENIZER, Endpoint, chunk, cut, cut_chunks, pieces_of, silence, status, words_for

pytestmark = pytest.mark.recipe

KEY = "sk-this-is-the-secret-key-0123456789"
TEMPLATE = "{% for m in messages %}{{ m.role }}:\n{{ m.content }}<|endoftext|>\n{% endfor %}{% if add_generation_prompt %}assistant:\n{% endif %}"
SOON_S = 8  # a tenth of a second and the end of the program, on a machine that may be busy; the endpoint is silent for 15
END = TOKENIZER.token_to_id("<|endoftext|>")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("teacher") / "teacher")


@pytest.fixture
def endpoint():
    made = Endpoint(key=KEY)
    yield made
    made.close()


class Home:
    """A folder with prompts and recipes of an endpoint, and runs of them."""

    def __init__(self, path, endpoint, teacher, prompts=3, texts=False):
        self.path, self.endpoint, self.teacher = path, endpoint, teacher
        self.prompts = [f"Tell of number {i}" for i in range(prompts)]
        self.file = path / ("prompts.txt" if texts else "prompts.jsonl")
        chats = "".join(json.dumps({"messages": [{"role": "user", "content": prompt}]}) + "\n" for prompt in self.prompts)
        self.file.write_text("\n<|endoftext|>\n".join(self.prompts) if texts else chats)
        (path / "template.jinja").write_text(TEMPLATE)
        self.environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        self.environment |= {"XDG_CACHE_HOME": str(path / "cache"), "SECRET_KEY": KEY}

    def recipe(self, stages="[]", text=None, **options):
        given = {"url": self.endpoint.url, "model": "black-box", "prompts": self.file.name, "tokens": 100000, "samples": 2, "key": "SECRET_KEY"} | options
        source = json.dumps({"endpoint_writes": given})
        words = f"teacher: {self.teacher}\nseed: 5\ndata: {{chat_template: template.jinja, train: [{source}]}}\nstages: {stages}\n"
        (self.path / "box.yaml").write_text(text(words) if text else words)
        return self.path / "box.yaml"

    def command(self, folder="run", *flags, **options):
        return [str(BIN / "attar"), "run", self.recipe(**options), "--out", self.path / folder, "--json", *flags]

    def run(self, folder="run", *flags, code=0, **options):
        done = subprocess.run(self.command(folder, *flags, **options), capture_output=True, text=True, env=self.environment)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        self.says_no_key(done.stdout, done.stderr)
        return json.loads(done.stdout)["results"] if code == 0 else done.stderr

    def says_no_key(self, *texts):
        assert not any(KEY in text for text in texts), texts
        for path in self.path.rglob("*"):
            assert not path.is_file() or KEY.encode() not in path.read_bytes(), path

    def kept(self):
        return len(list(self.path.glob("cache/attar/answers/*/*.json")))

    def data(self, folder="run"):
        return (self.path / folder / "data/train.h5").read_bytes()


def documents(path):
    """(tokens, in_loss, signal_ids, signal_log_probs) of each document; without a signal None for the last two."""
    with h5py.File(path) as file:
        begin = signal = 0
        for length, has in zip(file["lengths"][:], file["signal_documents"][:], strict=True):
            part, row = slice(begin, begin + length), slice(signal, signal + length)
            yield file["tokens"][part], file["in_loss"][part], *((file["signal_ids"][row], file["signal_log_probs"][row]) if has else (None, None))
            begin, signal = begin + length, signal + length * has


def signal_of(said, end=()):
    """id -> log-probability, as the server gave them, of each token of an answer; tokens that are none of ours are left out."""
    one = {name: TOKENIZER.encode(name).ids for name in [*LIKELIEST, *pieces_of(said)]} | {"<|endoftext|>": [END]}
    for _, _, others in endpoint_server.chances([*pieces_of(said), *end], 5):
        yield {one[name][0]: value for name, value in others if len(one[name]) == 1}


def check_signal(said, ids, log_probs, in_loss, end=()):
    rows = [(i, p) for i, p, learned in zip(ids, log_probs, in_loss, strict=True) if learned]
    wanted = list(signal_of(said, end))
    assert len(rows) == len(wanted) + (0 if end else 1)
    for (row, values), want in zip(rows, wanted, strict=False):
        got = {int(i): float(p) for i, p in zip(row, values, strict=True) if i >= 0}
        assert got == pytest.approx(want, abs=1e-6) and len(got) >= 4
        assert math.exp(max(values[row < 0], default=-math.inf)) == 0  # what is no token of ours is the rest of the mass
    return len(wanted)


def test_chats_are_answered_once_and_learned_from(tmp_path, endpoint, teacher):
    """Two samples a prompt, in the order of the prompts; the signal is what the endpoint said; a second run asks nothing, and any number of requests at once
    gives the same bytes."""
    home = Home(tmp_path, endpoint, teacher)
    endpoint.ends_with, endpoint.chunked = ["<|endoftext|>"], True
    results = home.run(system="Be short.", concurrency=1)
    asked = [body for _, path, _, body in endpoint.requests if path == "/v1/chat/completions"]
    assert len(asked) == len(set(endpoint.bodies())) == home.kept() == 6 and endpoint.most_busy == 1
    assert all(headers["Authorization"] == f"Bearer {KEY}" for _, _, headers, _ in endpoint.requests)
    assert asked[0]["messages"] == [{"role": "system", "content": "Be short."}, {"role": "user", "content": home.prompts[0]}]
    wanted = {"model": "black-box", "max_tokens": 256, "temperature": 1.0, "top_p": 1.0, "logprobs": True, "top_logprobs": 5}
    assert {name: asked[0][name] for name in wanted} == wanted and asked[0]["seed"] != asked[1]["seed"]

    signalled = 0
    for body, (tokens, in_loss, ids, log_probs) in zip(asked, documents(tmp_path / "run/data/train.h5"), strict=True):
        prompt = f"system:\nBe short.<|endoftext|>\nuser:\n{body['messages'][1]['content']}<|endoftext|>\nassistant:\n"
        said = words_for(body)
        assert TOKENIZER.decode(tokens, skip_special_tokens=False).startswith(prompt + said + "<|endoftext|>")
        assert TOKENIZER.decode(tokens[in_loss == 1], skip_special_tokens=False) == said + "<|endoftext|>"
        signalled += check_signal(said, ids, log_probs, in_loss, end=["<|endoftext|>"])
    train = results["stages"][1]["results"]["train"]
    (record,) = train["endpoints"]
    assert record["answers"] == 6 and record["asked_prompts"] == 3 and record["duplicates"] == record["cut"] == 0
    assert record["signalled_tokens"] == record["loss_tokens"] == record["tokens"] == train["loss_tokens"] == signalled
    notes = " ".join(results["stages"][1]["notes"])
    assert f"signal for {signalled} of {signalled} tokens" in notes and "6 answers to 3 prompts" in notes and "all prompts are answered" in notes

    home.run("again", system="Be short.", concurrency=3)
    assert len(endpoint.requests) == 6 and home.data("again") == home.data()
    home.environment["XDG_CACHE_HOME"], endpoint.delay_s = str(tmp_path / "other"), 0.05
    home.run("parallel", system="Be short.", concurrency=4)
    assert len(endpoint.requests) == 12 and endpoint.most_busy > 1 and home.data("parallel") == home.data()


def test_beginnings_of_texts_are_gone_on_with(tmp_path, endpoint, teacher):
    home = Home(tmp_path, endpoint, teacher, texts=True)
    endpoint.says = lambda body: " " + words_for(body)
    home.run(samples=1, cache="answers", top_logprobs=4)
    assert [path for _, path, _, _ in endpoint.requests] == ["/v1/completions"] * 3 and len(list(tmp_path.glob("answers/*/*.json"))) == 3
    assert endpoint.requests[0][3]["logprobs"] == 4 and sorted(body["prompt"] for _, _, _, body in endpoint.requests) == home.prompts
    for prompt, (tokens, in_loss, ids, _) in zip(home.prompts, documents(tmp_path / "run/data/train.h5"), strict=True):
        (said,) = [endpoint.says(body) for _, _, _, body in endpoint.requests if body["prompt"] == prompt]
        text = TOKENIZER.decode(tokens, skip_special_tokens=False).removeprefix("<|endoftext|>")
        assert text == prompt + said + "<|endoftext|>" and tokens[-1] == END and in_loss[-1] == 1
        assert TOKENIZER.decode(tokens[in_loss == 1][:-1]) == said
        assert (ids[in_loss == 1][:-1, 0] == tokens[in_loss == 1][:-1]).all() and (ids[-1] == -1).all() and ids.shape[1] == 5
    endpoint.finish = "length"
    home.run("cut", samples=1, max_tokens=20)
    assert all(TOKENIZER.decode(tokens[-1:]) == "." for tokens, *_ in documents(tmp_path / "cut/data/train.h5"))  # it did not end


def test_what_may_help_is_tried_again(tmp_path, endpoint, teacher):
    """Each prompt meets another fault first: too many requests, an error of the server, half an answer, silence, half of JSON."""
    home = Home(tmp_path, endpoint, teacher, prompts=7)
    faults = [
        status(429, b'{"error": {"message": "slow down"}}', Retry_After="1"),
        status(500),
        cut,
        silence,
        status(200, b'{"choices": [{'),
        status(307, Location="/v1/chat/completions"),
    ]
    endpoint.faults = {prompt: [fault] for prompt, fault in zip(home.prompts, faults, strict=False)}
    endpoint.faults[home.prompts[6]] = [status(200, b'{"error": {"code": 502, "message": "Provider is away"}}')]
    home.run(samples=1, concurrency=7, timeout_s=0.4)
    times = {prompt: [at for at, _, _, body in endpoint.requests if body["messages"][-1]["content"] == prompt] for prompt in home.prompts}
    assert {len(at) for at in times.values()} == {2} and len(list(documents(tmp_path / "run/data/train.h5"))) == 7
    first = times[home.prompts[0]]
    assert 0.9 < first[1] - first[0] < 6
    assert not any(first[0] + 0.3 < at < first[0] + 0.9 for all_at in times.values() for at in all_at)  # all wait with the one that is asked to
    log = (tmp_path / "run/log.txt").read_text()
    for words in ("answers 429: slow down", "answers 500", "broke off", "no answer, or too slow", "JSON that breaks off", "answers 502: Provider is away"):
        assert f"{endpoint.url}/chat/completions: " in log and words in log, (words, log)


def test_an_answer_in_chunks_that_breaks_off_is_asked_for_again(tmp_path, endpoint, teacher):
    """Between two chunks, inside one, behind its bytes and inside its size; also where all of the JSON has come: it is whole with the last chunk, of size 0."""
    words = {"role": "assistant", "content": "This answer broke off and should never be learned."}
    said = json.dumps({"choices": [{"index": 0, "finish_reason": "stop", "message": words}]}).encode()
    first, second = chunk(said[:60]), chunk(said[60:])
    assert second.index(b"\r\n") >= 2  # digits of its size
    sent = [first, first + second[:-20], first + second[:-2], first + second[:1], first + second, first + second + b"0", first + second + b"0\r"]
    home = Home(tmp_path, endpoint, teacher, prompts=len(sent))
    home.run("whole", samples=1)
    endpoint.requests.clear()
    home.environment["XDG_CACHE_HOME"] = str(tmp_path / "other")
    endpoint.chunked = True
    endpoint.faults = {prompt: [cut_chunks(part)] for prompt, part in zip(home.prompts, sent, strict=True)}
    home.run(samples=1, concurrency=len(sent))
    asked = [body["messages"][-1]["content"] for _, _, _, body in endpoint.requests]
    assert sorted(asked) == sorted(2 * home.prompts)
    assert home.data() == home.data("whole")
    assert (tmp_path / "run/log.txt").read_text().count("broke off") >= len(sent)


PAGE = b"<!DOCTYPE html><html><body>Welcome to nginx</body></html>"
REFUSED = {
    "a wrong key": ({"key": "OTHER_KEY"}, None, 3, ["answers 401", "Incorrect API key", "the key in OTHER_KEY"]),
    "no key at all": ({"key": ""}, None, 3, ["answers 401", "`key`"]),
    "a variable that is not set": ({"key": "NO_SUCH_KEY"}, None, 2, ["environment variable NO_SUCH_KEY"]),
    "not found": ({}, status(404, b'{"error": {"message": "no model black-box"}}'), 3, ["answers 404: no model black-box", "/models"]),
    "a page": ({}, status(200, PAGE, Content_Type="text/html"), 3, ["with a page", "Welcome to nginx", "/v1"]),
    "another thing": ({}, status(200, b'{"version": 3}'), 3, ["no `choices`", '{"version": 3}']),
    "refused": ({}, status(400, b'{"detail": "context too long"}'), 3, ["answers 400: context too long", "prompts.jsonl:1"]),
    "no quota": ({}, status(429, b'{"error": {"message": "pay", "code": "insufficient_quota"}}'), 3, ["answers 429: pay", "quota"]),
    "another host": ({}, "elsewhere", 3, ["answers 307", "leads on to http://"]),
    "for an hour": ({}, status(503, b"busy", Retry_After="3600"), 1, ["answers 503: busy", "asks to wait", "run again"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_help_is_said(tmp_path, endpoint, teacher, name):
    options, fault, code, words = REFUSED[name]
    elsewhere = Endpoint()
    home = Home(tmp_path, endpoint, teacher, prompts=1)
    home.environment["OTHER_KEY"] = "sk-wrong-" + KEY[::-1]
    endpoint.faults[""] = [status(307, Location=elsewhere.url + "/chat/completions") if fault == "elsewhere" else fault] * 9
    said = home.run("run", "--quiet", code=code, samples=1, **options)
    elsewhere.close()
    assert said.startswith("error: ") and all(word in said for word in [endpoint.url, *words]), said
    assert home.environment["OTHER_KEY"] not in said and len(endpoint.requests) <= 1 and not elsewhere.requests


def test_an_answer_of_brackets_is_refused(tmp_path, endpoint, teacher):
    """Not followed to the end of the stack."""
    home = Home(tmp_path, endpoint, teacher, prompts=1)
    deep = b"[" * 300_000 + b"]" * 300_000
    endpoint.faults[""] = [status(200, b'{"choices": [{"message": {"content": "The cat.", "extra": ' + deep + b"}}]}")]
    assert "nested too deeply" in home.run(code=3, samples=1) and len(endpoint.requests) == 1 and home.kept() == 0
    endpoint.faults[""] = [status(400, b'{"error": ' + deep + b"}")]
    assert "answers 400" in home.run("other", code=3, samples=1)
    endpoint.says = lambda body: "A bracket: " + 80 * "[" + ' and a quote: "' + 80 * "{"
    home.run("quoted", samples=1)


def test_an_odd_answer_is_not_kept(tmp_path, endpoint, teacher):
    """Else every run after this one would meet it again."""
    home = Home(tmp_path, endpoint, teacher, prompts=1)
    odd = {"logprobs": b'{"message": {"content": "The cat."}, "logprobs": {"content": [{"token": 3}]}}', "words": b'{"delta": "The cat."}'}
    for folder, choice in odd.items():
        endpoint.faults[""] = [status(200, b'{"choices": [' + choice + b"]}")]
        said = home.run(folder, code=3, samples=1)
        assert "is no answer of a model" in said and endpoint.url in said and home.kept() == 0
    home.run(samples=1)
    assert len(endpoint.requests) == 3 and home.kept() == 1


def test_silence_is_given_up(tmp_path, endpoint, teacher):
    home = Home(tmp_path, endpoint, teacher, prompts=1)
    endpoint.faults[""] = [silence] * 9
    said = home.run(code=1, samples=1, timeout_s=0.15)
    assert "3 times, each within 0.15 s" in said and "timeout_s" in said and len(endpoint.requests) == 3


def test_a_prompt_that_comes_again_is_asked_again(tmp_path, endpoint, teacher):
    """Copies of a prompt have samples of their own: on their way at once they would write one file of the cache, and a run that goes on would find another's answer."""
    home = Home(tmp_path, endpoint, teacher)
    home.file.write_text(4 * home.file.read_text().splitlines(keepends=True)[0])
    endpoint.delay_s = 0.05
    results = home.run(concurrency=8)
    assert len(endpoint.requests) == len(set(endpoint.bodies())) == home.kept() == 8
    record = results["stages"][1]["results"]["train"]["endpoints"][0]
    assert record["asked_prompts"] == 4 and record["answers"] == 8
    home.run("again", concurrency=1)
    assert len(endpoint.requests) == 8 and home.data("again") == home.data()


def test_a_run_that_is_killed_asks_for_what_is_missing(tmp_path, endpoint, teacher):
    home = Home(tmp_path, endpoint, teacher, prompts=20)
    endpoint.delay_s = 0.03
    child = subprocess.Popen(home.command(concurrency=2), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=home.environment)
    while home.kept() < 10:
        assert child.poll() is None
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept, before = home.kept(), len(endpoint.requests)
    assert 10 <= kept < 40 and before <= kept + 2
    results = home.run("run", "--resume", concurrency=2)
    assert len(endpoint.requests) == before + 40 - kept and home.kept() == 40
    assert results["stages"][1]["results"]["train"]["endpoints"][0]["answers"] == 40
    assert not list(tmp_path.rglob("*.tmp-*"))
    home.run("unbroken")
    assert home.data() == home.data("unbroken") and len(endpoint.requests) == before + 40 - kept


def test_ctrl_c_does_not_wait_for_an_answer(tmp_path, endpoint, teacher):
    home = Home(tmp_path, endpoint, teacher)
    endpoint.faults[""] = [None] + [silence] * 9
    child = subprocess.Popen(home.command(concurrency=3), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=home.environment)
    while len(endpoint.requests) < 4:
        assert child.poll() is None
        time.sleep(0.01)
    asked = time.monotonic()
    child.send_signal(signal.SIGINT)
    said = child.communicate(timeout=20)[1]
    assert child.returncode == 130 and time.monotonic() - asked < SOON_S and "goes on" in said, said
    assert home.kept() == 1


def test_a_budget_is_kept_whatever_goes_on_at_once(tmp_path, endpoint, teacher):
    """The same requests, one after the other or eight at once; repeated and empty answers are dropped and counted, and cost."""
    home = Home(tmp_path, endpoint, teacher, prompts=12)

    def says(body):
        number = int(body["messages"][-1]["content"].split()[-1])
        return "" if number == 2 else "The same old answer to it, word by word by word, as ever." if number == 1 else words_for(body)

    endpoint.says = says
    limit = {"tokens": 150, "max_tokens": 24, "samples": 3}
    record = home.run(concurrency=1, **limit)["stages"][1]["results"]["train"]["endpoints"][0]
    asked = sorted(endpoint.bodies())
    home.environment["XDG_CACHE_HOME"] = str(tmp_path / "other")
    endpoint.requests.clear()
    home.run("eight", concurrency=8, **limit)
    assert sorted(endpoint.bodies()) == asked and home.data("eight") == home.data()
    assert len(asked) == record["answers"] < 36 and record["duplicates"] == 2 and record["wordless"] == 3
    assert 150 <= record["tokens"] < 150 + 25


def test_distilled_from_an_endpoint(tmp_path, endpoint, teacher):
    """By its probabilities; and where it gives none by its words alone, at no more than so many requests a minute."""
    home = Home(tmp_path, endpoint, teacher)
    losses = "losses: {forward_kl: 1.0}, signal: cached"
    stages = "[{{distill: {{tokens: 600, batch_tokens: 128, sequence_tokens: 64, learning_rate: 5.0e-3, {0}}}}}]"
    results = home.run(stages=stages.format(losses))["stages"]
    distilled, record = results[-1]["results"], results[1]["results"]["train"]["endpoints"][0]
    assert distilled["signal"] == "cached" and "signal_numerics" not in distilled and distilled["unsignalled"] == "cross_entropy"
    assert distilled["unsignalled_share"] == pytest.approx(1 - record["signalled_tokens"] / record["loss_tokens"], abs=0.01) and record["signalled_tokens"] > 60
    curve = [point["loss"] for point in distilled["curve"]]
    assert np.mean(curve[-2:]) < 0.8 * np.mean(curve[:2])

    endpoint.probabilities = False
    text = home.run("text", stages=stages.format("losses: {cross_entropy: 1.0}"), cache="text", requests_per_minute=1200)["stages"]
    assert "signalled_tokens" in text[1]["results"]["train"]["endpoints"][0] and "which cross_entropy learns" in " ".join(text[1]["notes"])
    assert text[-1]["results"]["signal"] == "none" and all(ids is None for *_, ids, _ in documents(tmp_path / "text/data/train.h5"))
    times = sorted(at for at, *_ in endpoint.requests)[-6:]
    assert times[-1] - times[0] > 5 * 60 / 1200 * 0.8


def test_what_a_recipe_may_say(tmp_path, endpoint, teacher):
    home = Home(tmp_path, endpoint, teacher)

    def refused(*words, **options):
        done = subprocess.run([str(BIN / "attar"), "recipes", "check", home.recipe(**options)], capture_output=True, text=True)
        assert done.returncode == 2 and all(word in done.stdout + done.stderr for word in words), done.stdout + done.stderr
        return done.stdout + done.stderr

    assert KEY not in refused("endpoint_writes.key: expected the name of an environment variable", key=KEY)
    assert "hunter2" not in refused("endpoint_writes.url: expected", url="http://me:hunter2@host/v1")
    for override in (f"data.train.0.endpoint_writes.key={KEY}", f"data.train.0.endpoint_writes.api_key={KEY}", f"data.train=[{{endpoint_writes: {{model: x, key: {KEY}}}}}]"):
        said = subprocess.run([str(BIN / "attar"), "run", home.recipe(), override, "--dry-run"], capture_output=True, text=True)
        assert said.returncode == 2 and override.split("=")[0] + "=..." in said.stderr and KEY not in said.stdout + said.stderr, said.stderr
    refused("samples = 4: expected 1 beside temperature", "model", "concurrency = 0", temperature=0, samples=4, concurrency=0, model="")
    refused("the signal of a split is of one teacher", text=lambda words: words.replace("train: [", "train: [{teacher_writes: {tokens: 9}}, "))
    refused("top_logprobs: 0", text=lambda words: words.replace("train: [", "train: [prompts.jsonl, ").replace("[]", "[{distill: {tokens: 9, signal: cached}}]"))
    refused("cannot write the text it is judged on", text=lambda words: words.replace("train:", "evaluation:"))
    home.file.write_text(json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}))
    refused("does not end with a user turn", "assistant")
    assert not endpoint.requests
