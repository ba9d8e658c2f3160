"""Ctrl-C and an exception in a callback stop a call as Ctrl-C stops the programs: what was made so far is kept, and resume=True goes on from it."""

import hashlib
import logging
import os
import pathlib
import random
import signal
import subprocess
import time

import pytest
from host_test import in_a_child
from package_test import ROOT, TEXT, attar, teacher, tiny, usage  # noqa: F401
from tiny_run import QUICK


class Enough(Exception):
    """Of a callback."""


def raises_after(count, stage=None, what=Enough):
    """A callback that raises at the count-th event, of a stage or of all, and would answer for every one that came after that."""
    seen = []

    def progress(event):
        seen.append(event.stage)
        if count == (seen.count(stage) if stage else len(seen)):
            raise what

    progress.seen = seen
    return progress


def raises_at(stage, done):
    """A callback that raises once so much of the stage is done; in between it is only asked."""

    def progress(event):
        if event.stage == stage and event.done >= done:
            raise Enough

    return progress


def content(path):
    path = pathlib.Path(path)
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT.read_text(encoding="utf-8")[:20000], encoding="utf-8")
    return path


@pytest.mark.parametrize("what", [Enough, KeyboardInterrupt])
def test_distill_goes_on_to_the_same_bytes(what, teacher, text, tmp_path):  # noqa: F811
    def distill(name, **more):
        return attar.distill(teacher, teacher, tmp_path / name, data=text, tokens=2000, batch_tokens=256, checkpoint_every_steps=0, losses={"cross_entropy": 1.0}, **more)

    stop = raises_after(3, "distill", what)
    with pytest.raises(what):
        distill("broken", progress=stop)
    assert stop.seen[-1] == "distill" and stop.seen.count("distill") == 3, "nothing is asked after it has raised"
    assert [path.name for path in (tmp_path / "broken.steps").glob("step-*")] == ["step-3"]
    steps = []
    resumed = distill("broken", resume=True, progress=lambda event: steps.append(event.done))
    whole = distill("whole")
    assert resumed == {**whole, "directory": str(tmp_path / "broken")} and steps[0] > 600
    assert content(tmp_path / "broken") == content(tmp_path / "whole") and not (tmp_path / "broken.steps").exists()


def test_quantize_goes_on_to_the_same_bytes(teacher, text, tmp_path):  # noqa: F811
    def quantize(name, **more):
        return attar.quantize(teacher, tmp_path / name, to="Q4_0", data=text, **more)

    with pytest.raises(Enough):
        quantize("broken.gguf", progress=raises_at("quantize", 3))
    assert list((tmp_path / "broken.gguf.steps").glob("codes-*"))
    assert quantize("broken.gguf", resume=True).layers_taken > 0
    quantize("whole.gguf")
    assert content(tmp_path / "broken.gguf")["broken.gguf"] == content(tmp_path / "whole.gguf")["whole.gguf"]


def test_prune_goes_on_to_the_same_bytes(teacher, text, tmp_path):  # noqa: F811
    def prune(name, **more):
        return attar.prune(teacher, tmp_path / name, data=text, drop_layers=1, drop_ffn=0.5, round_channels=32, **more)

    with pytest.raises(Enough):
        prune("broken", progress=raises_at("prune", 3))
    assert list((tmp_path / "broken.steps").glob("cuts-*"))
    with usage("broken.steps", "already holds", "resume=True"):
        prune("broken")
    resumed, whole = prune("broken", resume=True), prune("whole")
    assert resumed == {**whole, "directory": str(tmp_path / "broken")} and not (tmp_path / "broken.steps").exists()
    assert content(tmp_path / "broken") == content(tmp_path / "whole")


def short_run(folder, **more):
    changes = ["teacher.pretrain.tokens=3000", "stages.distill.tokens=1000", "stages.verify.gates={}", "stages.verify.max_tokens=600"]
    return attar.run(ROOT / "recipes/tiny.yaml", *QUICK, *changes, out=folder, **more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return short_run(tmp_path_factory.mktemp("whole") / "run")


def test_a_run_that_breaks_off_in_every_stage_ends_in_the_same_bytes(whole, tmp_path):
    seen = set()

    def raise_once_a_stage(event):
        if event.stage not in seen and event.stage != "run":  # which only says that there is nothing to resume
            seen.add(event.stage)
            raise Enough(event.stage)

    for broken in range(60):
        try:
            done = short_run(tmp_path / "run", resume=True, progress=raise_once_a_stage)
            break
        except Enough:
            if broken == 0:
                with usage("already holds this run", "resume=True"):
                    short_run(tmp_path / "run")
    assert {"pretrain", "data", "prune", "distill", "quantize", "samples"} <= seen and broken == len(seen)
    assert done.report.results == whole.report.results and content(done.gguf) == content(whole.gguf)


def test_signals_at_many_moments_of_a_run(whole, tmp_path):
    """Raised within seconds, each time something is kept, and it ends in the same bytes. ATTAR_KILL_SEED draws the same moments again."""
    seed = int(os.environ.get("ATTAR_KILL_SEED", time.time_ns() % 10**6))
    draw, asked, delays_s = random.Random(seed), [], []

    def interrupt(*_):
        asked.append(time.monotonic())
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for moment in range(100):
            signal.setitimer(signal.ITIMER_REAL, draw.uniform(0.1, 1 + 0.2 * moment))
            try:
                done = short_run(tmp_path / "run", resume=True)
                break
            except KeyboardInterrupt:
                delays_s.append(time.monotonic() - asked[-1])
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)
    print(f"seed {seed}: {len(delays_s)} interruptions, at most {max(delays_s):.2f} s")
    assert len(delays_s) >= 2 and max(delays_s) < 10, (seed, delays_s)
    assert done.report.results == whole.report.results and content(done.gguf) == content(whole.gguf), seed


def test_resuming_with_nothing_to_resume_says_so(teacher, text, tmp_path, caplog):  # noqa: F811
    events = []
    with caplog.at_level(logging.WARNING, "attar"):
        attar.quantize(teacher, tmp_path / "a.gguf", to="Q4_0", data=text, resume=True)
        attar.distill(teacher, teacher, tmp_path / "b", data=text, tokens=300, resume=True, progress=events.append)
    (said,) = [record.getMessage() for record in caplog.records if "nothing to resume" in record.getMessage()]
    assert said == f"quantize: nothing to resume in {tmp_path}/a.gguf.steps: it starts from the beginning"
    assert [event.message for event in events if event.message] == [f"nothing to resume in {tmp_path}/b.steps: it starts from the beginning"]


def test_false_of_a_callback_says_how_to_go_on(teacher, text, tmp_path):  # noqa: F811
    with pytest.raises(attar.Error, match="with resume=True", check=lambda error: error.kind == "interrupted"):
        attar.distill(teacher, teacher, tmp_path / "out", data=text, tokens=3000, batch_tokens=256, progress=lambda event: event.stage != "distill")


def test_an_exception_at_the_very_last_event_is_not_lost(tiny, tmp_path):  # noqa: F811
    events = []
    attar.verify(tiny["gguf"], tiny["gguf"], data=TEXT, max_tokens=200, context=64, progress=events.append)
    with pytest.raises(Enough):
        attar.verify(tiny["gguf"], tiny["gguf"], data=TEXT, max_tokens=200, context=64, progress=raises_after(len(events)))


CALLS = {
    "distill": "attar.distill(TEACHER, TEACHER, OUT, data=TEXT, tokens=10**7, batch_tokens=256, progress=lambda event: print(flush=True))",
    "run": "attar.run(RECIPE, 'teacher.pretrain.tokens=100000000', out=OUT, progress=lambda event: print(flush=True))",
    "generate": "[print(flush=True) for piece in attar.Model(GGUF).stream('The', max_tokens=10**6, temperature=1)] and main()",
    "score": "model.logits([5] * 500); print(flush=True)",  # said after the first, which imports NumPy: a signal in there is NumPy's to answer
}


@pytest.mark.parametrize("name", CALLS)
def test_ctrl_c(name, teacher, tiny, tmp_path):  # noqa: F811
    """A real signal to a real process, once the call has begun to speak: KeyboardInterrupt, soon, and what there is is kept."""
    child = in_a_child(
        f"""
import attar, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's children ignore it
TEACHER, TEXT, RECIPE, OUT, GGUF = {str(teacher)!r}, {str(TEXT)!r}, {str(ROOT / "recipes/tiny.yaml")!r}, {str(tmp_path / "out")!r}, {tiny["gguf"]!r}
model = attar.Model(GGUF)
def main():
    while True:
        {CALLS[name]}
main()
""",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert child.stdout.readline()
        start = time.monotonic()
        child.send_signal(signal.SIGINT)
        _, complaint = child.communicate(timeout=120)  # no call would end by itself so
        assert complaint.rstrip().endswith("KeyboardInterrupt"), complaint
        assert time.monotonic() - start < 20, "a step of these takes a fraction of a second"
    finally:
        child.kill()
    if name in ("distill", "run"):
        assert list(tmp_path.rglob("step-*")), sorted(tmp_path.rglob("*"))
