"""What rounding loses is said, through every door: values too small for a type, weights that were quantized already, what a name stands for."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, LlamaFileType

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "build" / "python"))
import attar
from bad_input_test import TEXT, tiny
from conftest import BIN, know_q2_0

pytestmark = pytest.mark.recipe
know_q2_0()

SMALL = "blk.1.ffn_up.weight"
LOST = f"{SMALL}: {{}} -> F32 (values too small for it: 100 % of their energy lost)"


def shrink(tensors):
    tensors["model.layers.1.mlp.up_proj.weight"][:] = 5e-10


def run(*arguments):
    force = [] if arguments[0] == "run" else ["--force"]
    done = subprocess.run([str(BIN / "attar"), *map(str, arguments), *force, "--json", "--quiet"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def tensors(path):
    return {tensor.name: tensor for tensor in GGUFReader(path).tensors}


def small_values_survive(path):
    assert tensors(path)[SMALL].tensor_type == GGMLQuantizationType.F32 and np.all(tensors(path)[SMALL].data == np.float32(5e-10))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model with a tensor of 5e-10, one without, and a Q8_0 file of the latter."""
    folder = tmp_path_factory.mktemp("models")
    small, plain = tiny(folder / "small", shrink), tiny(folder / "plain")
    run("quantize", plain, "-o", folder / "rounded.gguf", "--to", "Q8_0")
    text = folder / "text.txt"
    text.write_text(TEXT.read_text(encoding="utf-8")[:6000], encoding="utf-8")
    return small, plain, folder / "rounded.gguf", text


@pytest.mark.parametrize(
    "command, type_name",
    [
        (["quantize", "--to", "F16"], "F16"),
        (["quantize", "--to", "Q4_0"], "Q4_0"),
        (["quantize", "--to", "MOSTLY_Q5_0"], "Q5_0"),
        (["quantize", "--target-size", "10MB"], "F16"),
        (["quantize", "--to", "Q8_0", "--keep", "up=F16"], "F16"),
        (["export", "--to", "Q8_0"], "Q8_0"),
        (["prune", "--drop-heads", "0.5", "--data", "TEXT"], "F16"),
    ],
)
def test_every_verb_keeps_small_values_and_says_so(models, tmp_path, command, type_name):
    small, _, _, text = models
    command = [text if word == "TEXT" else word for word in command]
    said = run(command[0], small, "-o", tmp_path / "out.gguf", *command[1:])
    assert LOST.format(type_name) in said["fallbacks"]
    small_values_survive(tmp_path / "out.gguf")
    assert said["bytes"] == (tmp_path / "out.gguf").stat().st_size


def test_distill_keeps_them_too(models, tmp_path):
    small, plain, _, text = models
    said = run("distill", plain, "--student", small, "-o", tmp_path / "out.gguf", "--data", text, "--tokens", 40, "--batch-tokens", 40, "--learning-rate", "1e-20")
    assert LOST.format("F16") in said["fallbacks"]


def test_presets(models, tmp_path):
    _, plain, _, text = models
    command = ["quantize", plain, "--to", "Q4_0", "--data", text, "--calibration-tokens", 100]
    said = {preset: run(*command, "-o", tmp_path / f"{preset}.gguf", "--preset", preset) for preset in ("best", "fast")}
    assert run(*command, "-o", tmp_path / "default.gguf")["preset"] == "best"
    files = {name: (tmp_path / f"{name}.gguf").read_bytes() for name in ("best", "fast", "default")}
    assert files["best"] == files["default"] != files["fast"] and len(files["best"]) == len(files["fast"])
    assert any("short of 16" in note for note in said["best"]["notes"]) and not any("short of 16" in note for note in said["fast"].get("notes", []))
    refused = subprocess.run([BIN / "attar", *map(str, command), "-o", tmp_path / "x.gguf", "--preset", "gptq"], capture_output=True, text=True)
    assert refused.returncode == 2 and "fast, best or learned" in refused.stderr and not (tmp_path / "x.gguf").exists()


def test_how_much_text_was_used_is_said(models, tmp_path):
    """Of 128 inputs 2,048 tokens are wanted; by default all of a short text is used."""
    _, plain, _, text = models
    command, log, short = ["quantize", plain, "-o", tmp_path / "out.gguf", "--to", "Q4_0"], tmp_path / "log.txt", tmp_path / "short.txt"
    short.write_text(TEXT.read_text(encoding="utf-8")[:2000], encoding="utf-8")
    cut = run(*command, "--data", text, "--calibration-tokens", 100)
    assert cut["calibration_tokens"] == 100
    assert any("calibration_tokens is 1948 short of 16 for each input of the widest layer; raise it" in note for note in cut["notes"])
    whole = run(*command, "--data", short, "--log-file", log)
    used = whole["calibration_tokens"]
    missing = f"the calibration text is {2048 - used} tokens short of 16 for each input of the widest layer"
    assert 100 < used < 2048 and any(missing in note for note in whole["notes"])
    assert f" I quantize: {used} tokens of calibration text\n" in log.read_text(encoding="utf-8")
    fast = run(*command, "--data", short, "--calibration-tokens", 0, "--preset", "fast")
    assert fast["calibration_tokens"] == used and not any("short of" in note for note in fast["notes"])
    assert "calibration_tokens" not in run(*command)
    (tmp_path / "run.yaml").write_text(f"teacher: {plain}\ndata: {{calibration: [{short}]}}\nstages: [{{quantize: {{to: Q4_0}}}}]\n")
    report = run("run", tmp_path / "run.yaml", "--out", tmp_path / "run")
    stage = next(stage for stage in report["results"]["stages"] if stage["kind"] == "quantize")
    assert stage["results"]["calibration_tokens"] == used and any(missing in note for note in stage["notes"])
    assert "calibration_tokens: 0\n" in (tmp_path / "run/resolved.yaml").read_text()

    def people(*more):
        return subprocess.run([BIN / "attar", *map(str, command), "--data", str(short), *more, "--force", "--quiet"], capture_output=True, text=True)

    assert f"importance: calibration text ({used} tokens)" in people().stdout
    refused = people("--calibration-tokens", "-1")
    assert refused.returncode == 2 and "at least 0" in refused.stderr, refused.stderr


def test_a_target_size_holds_or_says_that_it_cannot(models, tmp_path):
    done = subprocess.run([BIN / "attar", "quantize", models[0], "-o", tmp_path / "out.gguf", "--target-size", "240KB", "--quiet"], capture_output=True, text=True)
    assert done.returncode == 3 and SMALL in done.stderr and "no room" in done.stderr and not (tmp_path / "out.gguf").exists(), done.stderr


def test_values_of_codes_are_no_zeros(models, tmp_path):
    from safetensors.numpy import load_file

    run("export", models[0], "-o", tmp_path / "hf", "--format", "hf", "--to", "Q4_K", "--dequantized")
    assert np.all(load_file(tmp_path / "hf/model.safetensors")["model.layers.1.mlp.up_proj.weight"] == np.float32(5e-10))
    assert "values too small" in (tmp_path / "hf/README.md").read_text()


@pytest.mark.parametrize("stages, type_name", [("[{quantize: {to: Q8_0, importance: false}}, export]", "Q8_0"), ("[export]", "F16")])
def test_a_recipe_reports_them(models, tmp_path, stages, type_name):
    (tmp_path / "run.yaml").write_text(f"teacher: {models[0]}\nstages: {stages}\n")
    report = run("run", tmp_path / "run.yaml", "--out", tmp_path / "run")
    notes = [note for stage in report["results"]["stages"] for note in stage["notes"]]
    assert LOST.format(type_name) in notes
    small_values_survive(tmp_path / "run/export/model.gguf")
    assert "values too small" in (tmp_path / "run/report.html").read_text() and "values too small" in (tmp_path / "run/export/README.md").read_text()


def test_quantizing_alone_keeps_what_the_teacher_has_as_the_student_does(models, tmp_path):
    """Its keys and values are those of the student's file; a head that only the student has is not asked of it."""

    def untie(tensors):
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"][::-1].copy()

    _, plain, _, text = models
    student = tiny(tmp_path / "student", untie)
    config = json.loads((student / "config.json").read_text())
    (student / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    stages = "[{quantize: {to: Q8_0, importance: false, kv: int8, keep: {output: Q4_0}}}, {export: {formats: [gguf, hf], dequantized: true}}, "
    stages += "{verify: {context: 64, max_tokens: 500, bench: false, samples: 1}}]"
    (tmp_path / "run.yaml").write_text(f"teacher: {plain}\nstudent: {student}\ndata: {{evaluation: [{text}]}}\nstages: {stages}\n")
    report = run("run", tmp_path / "run.yaml", "--out", tmp_path / "run")
    assert report["results"]["stages"][-1]["results"]["baseline"]["kv_format"] == "int8"
    assert any("int8, as a GGUF alone says" in note for stage in report["results"]["stages"] if stage["kind"] == "export" for note in stage["notes"])
    assert tensors(tmp_path / "run/export/model.gguf")["output.weight"].tensor_type == GGMLQuantizationType.Q4_0


def test_a_name_that_is_not_utf_8_ends_nothing(models, tmp_path):
    """Once the file is there, what is said of it may not fail."""
    out = os.fsencode(tmp_path) + b"/caf\xe9.gguf"
    words = [BIN / "attar", "quantize", models[1], "-o", out, "--to", "Q8_0", "--json", "--quiet"]
    done = subprocess.run([os.fsencode(word) for word in words], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert os.path.exists(out) and json.loads(done.stdout)["file"].endswith("caf\ufffd.gguf")
    for verb, *more in (["eval", "--data", models[3], "--context", "32"], ["bench", "-p", "2", "-n", "0", "-r", "1"]):
        done = subprocess.run([os.fsencode(word) for word in [BIN / "attar", verb, out, *more, "--json", "--quiet"]], capture_output=True)
        assert done.returncode == 0 and "caf\ufffd.gguf" in json.dumps(json.loads(done.stdout), ensure_ascii=False), done.stderr


def test_each_export_holds_the_student_of_its_place(models, tmp_path):
    """Without a quantize stage a GGUF is F16 of the student as it is there, not as an export before it found it."""
    _, plain, _, text = models
    (tmp_path / "run.yaml").write_text(f"teacher: {plain}\ndata: {{calibration: [{text}]}}\nstages: [export, {{prune: {{drop_layers: 1}}}}, export]\n")
    report = run("run", tmp_path / "run.yaml", "--out", tmp_path / "run")
    assert GGUFReader(tmp_path / "run/export/model.gguf").fields["llama.block_count"].contents() == 3
    exports = [stage for stage in report["results"]["stages"] if stage["kind"] == "export"]
    assert len(exports) == 2 and all("the GGUF holds F16" in export["notes"][0] for export in exports)


def test_an_export_in_f16_keeps_query_key_and_value_of_one_tensor_alike(tmp_path):
    """An uneven qwen3 has one tensor for the three: where one does not fit into F16, none is."""

    def to_qwen3(tensors):
        for layer in range(4):
            block = f"model.layers.{layer}."
            tensors |= {block + f"self_attn.{name}_norm.weight": np.ones(16, np.float32) for name in "qk"}
        tensors["model.layers.1.self_attn.k_proj.weight"][:] = 5e-10
        for name, shape in (("gate", (64, 64)), ("up", (64, 64)), ("down", (64, 64))):
            tensors[f"model.layers.1.mlp.{name}_proj.weight"] = np.full(shape, 0.05, np.float32)

    model = tiny(tmp_path / "uneven", to_qwen3)
    config = json.loads((model / "config.json").read_text())
    layers = [{"n_heads": 4, "n_kv_heads": 2, "head_dim": 16, "ffn_width": 64 if layer == 1 else 128} for layer in range(4)]
    (model / "config.json").write_text(json.dumps(config | {"model_type": "qwen3", "attar_layers": layers}))
    (tmp_path / "run.yaml").write_text(f"teacher: {model}\nstages: [export]\n")
    run("run", tmp_path / "run.yaml", "--out", tmp_path / "run")
    assert tensors(tmp_path / "run/export/model.gguf")["blk.1.attn_qkv.weight"].tensor_type == GGMLQuantizationType.F32


def test_the_card_of_codes_says_what_they_fell_back_to(models, tmp_path):
    (tmp_path / "run.yaml").write_text(f"teacher: {models[1]}\nstages: [{{quantize: {{to: Q4_K, importance: false}}}}, {{export: {{formats: [compressed-tensors]}}}}]\n")
    run("run", tmp_path / "run.yaml", "--out", tmp_path / "run")
    assert "blk.0.attn_q.weight: Q4_K -> Q5_0" in (tmp_path / "run/export/compressed-tensors/README.md").read_text()


def test_python_says_both(models, tmp_path):
    small, _, rounded, _ = models
    assert LOST.format("Q8_0") in attar.quantize(small, tmp_path / "a.gguf", to="Q8_0")["fallbacks"]
    assert any("quantized already (Q8_0 in 29 of 29" in note for note in attar.quantize(rounded, tmp_path / "b.gguf", to="Q4_0")["notes"])


def already(said):
    return [note for note in said["notes"] if "quantized already (Q8_0 in 29 of 29 matrices)" in note]


def test_rounding_again_is_said(models, tmp_path):
    _, plain, rounded, text = models
    out = tmp_path / "out.gguf"
    for command in (
        ["quantize", "--to", "Q4_0"],
        ["quantize", "--target-size", "240KB"],
        ["export", "--to", "Q4_0"],
        ["prune", "--drop-heads", "0.5", "--data", text, "--to", "Q4_0"],
    ):
        assert len(already(run(command[0], rounded, "-o", out, *command[1:]))) == 1, command
        assert not already(run(command[0], plain, "-o", out, *command[1:])), command
    assert not already(run("quantize", rounded, "-o", out, "--to", "F32"))  # which rounds nothing
    assert not already(run("export", rounded, "-o", out))
    assert already(run("export", rounded, "-o", tmp_path / "hf", "--format", "hf", "--to", "Q4_0", "--dequantized"))


def test_a_recipe_says_it_until_the_student_has_learned(models, tmp_path):
    _, plain, rounded, text = models
    quantize, distill = "{quantize: {to: Q4_0, importance: false}}", "{distill: {tokens: 60, batch_tokens: 60, losses: {cross_entropy: 1}}}"
    for name, head, stages, said in (
        ("given", f"teacher: {rounded}", f"[{quantize}]", True),
        ("plain", f"teacher: {plain}", f"[{quantize}]", False),
        ("student", f"teacher: {plain}\nstudent: {rounded}", f"[{quantize}]", True),
        ("learned", f"teacher: {rounded}", f"[{distill}, {quantize}]", False),
    ):
        (tmp_path / f"{name}.yaml").write_text(f"{head}\ndata: {{train: [{text}]}}\nstages: {stages}\n")
        report = run("run", tmp_path / f"{name}.yaml", "--out", tmp_path / name)
        found = [bool(already(stage)) for stage in report["results"]["stages"] if stage["kind"] == "quantize"]
        assert found == [said], name


def test_general_file_type_is_what_the_name_is_in_llama_cpp(models, tmp_path):
    names = {
        "F32": "ALL_F32",
        **{name: f"MOSTLY_{name}" for name in ("F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q6_K", "IQ4_NL", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M")},
        "Q4_K": "MOSTLY_Q4_K_S",
        "Q5_K": "MOSTLY_Q5_K_S",
        **{f"MOSTLY_{name}": f"MOSTLY_{name}" for name in ("Q4_0", "Q5_1", "IQ4_NL", "Q4_K_M")},
    }
    for name, expected in names.items():
        run("quantize", models[1], "-o", tmp_path / "out.gguf", "--to", name)
        assert GGUFReader(tmp_path / "out.gguf").fields["general.file_type"].contents() == LlamaFileType[expected], name
    run("quantize", models[1], "-o", tmp_path / "out.gguf", "--target-size", "240KB")  # by what most weights are
    types = [
        tensor.tensor_type.name for tensor in tensors(tmp_path / "out.gguf").values() if ".ffn_" in tensor.name and tensor.name.endswith("weight") and "norm" not in tensor.name
    ]
    most = max(set(types), key=types.count)
    assert GGUFReader(tmp_path / "out.gguf").fields["general.file_type"].contents() == LlamaFileType[f"MOSTLY_{most}"]


def test_a_types_name_is_that_type_in_every_matrix(models, tmp_path):
    for name, expected in {"Q4_0": {"Q4_0"}, "IQ4_NL": {"IQ4_NL"}, "Q4_K": {"Q5_0"}, "MOSTLY_Q4_0": {"Q4_0", "Q8_0", "Q6_K"}}.items():
        said = run("quantize", models[1], "-o", tmp_path / "out.gguf", "--to", name)
        types = {tensor.tensor_type.name for tensor in tensors(tmp_path / "out.gguf").values() if "norm" not in tensor.name}
        assert types <= expected and said["plan"] == name, (name, types)
        assert len(said["fallbacks"]) == {"Q4_K": 29, "MOSTLY_Q4_0": 1}.get(name, 0)


def test_an_importance_matrix_goes_out_and_in(models, tmp_path):
    """512 tokens: sums over a power of two are means again, bit for bit."""
    _, plain, _, text = models
    matrix, (first, second) = tmp_path / "imatrix.gguf", (tmp_path / "first.gguf", tmp_path / "second.gguf")
    fast = ["--to", "Q4_0", "--preset", "fast"]
    run("quantize", plain, "-o", first, *fast, "--data", text, "--calibration-tokens", 512, "--imatrix-out", matrix)
    said = run("quantize", plain, "-o", second, *fast, "--imatrix", matrix)
    assert said["importance_tensors"] == len([name for name in tensors(matrix) if name.endswith(".counts")])
    assert first.read_bytes() == second.read_bytes()
    assert all(values.data.reshape(-1)[0] == 512 for name, values in tensors(matrix).items() if name.endswith(".counts"))


def test_an_importance_matrix_takes_no_other_files_place(models, tmp_path):
    _, _, rounded, text = models
    before = rounded.read_bytes()
    for target, word in ((rounded, "read from"), (tmp_path / "out.gguf", "OUT"), (tmp_path / "matrix.dat", ".gguf")):
        command = ["quantize", rounded, "-o", tmp_path / "out.gguf", "--to", "Q4_0", "--data", text, "--imatrix-out", target, "--quiet"]
        done = subprocess.run([BIN / "attar", *map(str, command)], capture_output=True, text=True)
        assert done.returncode == 2 and word in done.stderr, done.stderr
    command = ["quantize", rounded, "-o", tmp_path / "out.gguf", "--to", "Q4_0", "--preset", "learned", "--no-importance", "--data", text]
    done = subprocess.run([BIN / "attar", *map(str, command), "--imatrix-out", str(tmp_path / "empty.gguf")], capture_output=True, text=True)
    assert done.returncode == 2 and "measures no inputs" in done.stderr and not (tmp_path / "empty.gguf").exists(), done.stderr
    assert rounded.read_bytes() == before and not (tmp_path / "out.gguf").exists()


def test_a_largest_loss_needs_text(models, tmp_path):
    """A guess by type and role is no divergence: neither without text nor beside a matrix."""
    _, plain, _, text = models
    matrix = tmp_path / "imatrix.gguf"
    run("quantize", plain, "-o", tmp_path / "first.gguf", "--to", "Q4_0", "--data", text, "--calibration-tokens", 100, "--imatrix-out", matrix)
    for more in ([], ["--imatrix", matrix], ["--no-importance"]):
        command = [BIN / "attar", "quantize", plain, "-o", tmp_path / "out.gguf", "--max-kl", "0.1", *more, "--quiet"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        assert done.returncode == 2 and "max_kl" in done.stderr and "text" in done.stderr, done.stderr
    assert not (tmp_path / "out.gguf").exists()


def test_int8_keys_get_scales_where_there_is_text(models, tmp_path):
    _, plain, _, text = models
    types = ["--to", "Q8_0", "--preset", "fast"]

    def scales(name, *more):
        said = run("quantize", plain, "-o", tmp_path / name, *more)
        fields = GGUFReader(tmp_path / name).fields
        assert said["bytes"] == (tmp_path / name).stat().st_size
        count = np.prod([int(fields[f"llama.{key}"].contents()) for key in ("block_count", "attention.head_count_kv", "attention.key_length")])
        found = fields["attar.kv_cache.key_scales"].contents() if "attar.kv_cache.key_scales" in fields else []
        assert len(found) in (0, count) and all(scale > 0 for scale in found)
        return found

    of_text = ["--kv", "int8", "--data", text, "--calibration-tokens", 200]
    found = scales("int8.gguf", *types, *of_text)
    assert len(set(found)) > len(found) / 2, "as if nothing had been measured"
    assert scales("without.gguf", *types, "--kv", "int8") == [] == scales("f16.gguf", *types, *of_text[2:])
    size = (tmp_path / "int8.gguf").stat().st_size
    assert scales("sized.gguf", "--target-size", f"{size}B", "--preset", "fast", *of_text) == found and (tmp_path / "sized.gguf").stat().st_size <= size
    run("quantize", tmp_path / "int8.gguf", "-o", tmp_path / "kept.gguf", "--to", "Q4_0")
    assert GGUFReader(tmp_path / "kept.gguf").fields["attar.kv_cache.key_scales"].contents() == found, "the scales of a file went when it was rounded again"
    for file, form, noted in (("int8.gguf", "hf", True), ("int8.gguf", "compressed-tensors", True), ("f16.gguf", "hf", False)):
        said = run("export", tmp_path / file, "-o", tmp_path / f"{file}.{form}", "--format", form)
        assert any("int8, as a GGUF alone says" in note for note in said["notes"]) == noted


def test_the_scales_of_int8_keys_are_of_their_dims(models, tmp_path):
    """A pair of dims of one head, 64 times as large in the keys and as small in the queries, would take the others their digits."""

    def skew(tensors):
        for layer in range(4):
            query, key = (tensors[f"model.layers.{layer}.self_attn.{name}_proj.weight"] for name in "qk")
            query *= 6
            key *= 6
            key[[1, 9]] *= 64
            query[[1, 9, 17, 25]] /= 64

    skewed = tiny(tmp_path / "skewed", skew)
    command = ["quantize", skewed, "--to", "F32", "--kv", "int8"]
    run(*command, "-o", tmp_path / "without.gguf")
    run(*command, "-o", tmp_path / "with.gguf", "--data", models[3], "--calibration-tokens", 500)

    def divergence(name, kv="int8"):
        verify = [BIN / "attar-run", "verify", skewed, tmp_path / name, "--data", models[3], "--numerics", "deployed", "--kv", kv, "--no-bench", "--json", "--quiet"]
        return json.loads(subprocess.run(verify, capture_output=True, text=True, check=True).stdout)["results"]["deployed"]["kl"]["mean"]

    assert divergence("with.gguf") < 0.2 * divergence("without.gguf")
    assert divergence("with.gguf", "f16") == divergence("without.gguf", "f16"), "they are of int8 alone"


def test_sizes_losses_and_years(models, tmp_path):
    _, plain, _, text = models
    out = tmp_path / "out.gguf"
    budget = 200_000
    measured = ["--data", text, "--calibration-tokens", 1024]
    said = run("quantize", plain, "-o", out, "--target-size", f"{budget}B", *measured)
    assert out.stat().st_size == said["bytes"] <= budget and said["predicted_kl"] > 0
    assert {tensor["name"] for tensor in said["tensors"]} == {name for name, tensor in tensors(out).items() if len(tensor.shape) > 1}
    assert sum(map(len, said["bits"].values())) == len(said["tensors"])
    wanted = 2 * said["predicted_kl"]
    assert any("since 2026" in note for note in said["notes"]) == bool({"NVFP4", "Q2_0", "Q1_0"} & set(said["types"]))
    smaller = run("quantize", plain, "-o", out, "--max-kl", wanted, *measured)
    assert smaller["predicted_kl"] <= wanted and smaller["bytes"] < said["bytes"]
    bits = run("quantize", plain, "-o", out, "--target-bpw", 9.0, "--compat", 2024)
    assert not {"MXFP4", "NVFP4", "Q2_0", "Q1_0"} & set(bits["types"])
