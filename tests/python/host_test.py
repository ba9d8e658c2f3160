"""What a call does to the process that makes it: settings of torch, forks, callbacks, Ctrl-C."""

import concurrent.futures
import os
import shutil
import subprocess
import sys

import pytest
import torch
from package_test import PACKAGE, ROOT, TEXT, attar, model, teacher, tiny  # noqa: F401
from tiny_run import QUICK


def test_a_forked_child_may_use_the_model(model):  # noqa: F811
    expected = model.generate("the", max_tokens=3, temperature=0.0)
    child = os.fork()
    if child == 0:
        os._exit(0 if model.generate("the", max_tokens=3, temperature=0.0) == expected else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def in_a_child(code, **options):
    return subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(PACKAGE)}, text=True, **options)


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def host_settings():
    """What torch, OpenMP and MKL are set to, on this thread and on a new one, and what a child would inherit."""
    with concurrent.futures.ThreadPoolExecutor() as fresh:
        return (
            torch.__config__.parallel_info(),
            fresh.submit(torch.get_num_threads).result(),
            torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            torch.get_default_dtype(),
            torch.backends.mkldnn.matmul.fp32_precision,
            (torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled(), torch.get_autocast_dtype("cpu")),
            subprocess.run(["env"], capture_output=True, text=True).stdout,
        )


def test_a_call_leaves_the_hosts_torch_as_it_was(three_threads, tiny, teacher, tmp_path):  # noqa: F811
    before = host_settings()
    assert "get_num_threads() : 3" in before[0] and before[1] == 3
    text = tmp_path / "text.txt"
    text.write_text(TEXT.read_text(encoding="utf-8")[:6000], encoding="utf-8")
    calls = {
        "prune": lambda stop=None: attar.prune(teacher, tmp_path / "pruned", drop_ffn=0.5, round_channels=32, data=text, progress=stop),
        "distill": lambda stop=None: attar.distill(teacher, teacher, tmp_path / "taught", data=text, tokens=300, batch_tokens=256, progress=stop),
        "quantize": lambda stop=None: attar.quantize(teacher, tmp_path / "small.gguf", to="IQ4_NL", data=text, progress=stop),
        "export": lambda stop=None: attar.export(teacher, tmp_path / "large.gguf", to="Q8_0", progress=stop),
        "run": lambda stop=None: attar.run(
            ROOT / "recipes/tiny.yaml",
            *QUICK,
            "teacher.pretrain.tokens=1000",
            "stages.distill.tokens=600",
            "stages.verify.gates={}",
            out=tmp_path / "run",
            resume=True,
            progress=stop,
        ),
        "plan": lambda stop=None: attar.plan(ROOT / "recipes/tiny.yaml"),
        "evaluate": lambda stop=None: attar.evaluate(teacher, data=text),
    }
    for name, call in calls.items():
        if name not in ("plan", "evaluate"):
            with pytest.raises(attar.Error) as stopped:
                call(lambda event: False)
            assert stopped.value.exit_code == 130 and host_settings() == before, name
            for steps in tmp_path.glob("*.steps"):
                shutil.rmtree(steps)
        call()
        assert host_settings() == before, name


def test_a_callback_stops_a_call(teacher, tmp_path):  # noqa: F811
    for call in (
        lambda stop: attar.run(ROOT / "recipes/tiny.yaml", out=tmp_path / "stopped", progress=stop),
        lambda stop: attar.prune(teacher, tmp_path / "pruned", drop_ffn=0.5, data=TEXT, progress=stop),
        lambda stop: attar.quantize(teacher, tmp_path / "small.gguf", to="Q8_0", progress=stop),
        lambda stop: attar.export(teacher, tmp_path / "small.gguf", to="Q8_0", progress=stop),
    ):
        with pytest.raises(attar.Error) as caught:
            call(lambda event: False)
        assert caught.value.exit_code == 130
    assert not (tmp_path / "pruned").exists() and not (tmp_path / "small.gguf").exists()
