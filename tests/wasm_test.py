"""The runtime for WebAssembly, which `make check-wasm` builds: attar-run and the C library under node, and the page in Chromium, say what
this machine's own runtime says. Skipped where that has not been run; else all is built anew first."""

import json
import pathlib
import shutil
import subprocess
import sys
import time

import pytest
import small_models

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "oracle"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "recipes"))
import browser
from conftest import ROOT, program, shared, smollm2

WASM = ROOT / "build-wasm"
N_TOKENS = 40


@pytest.fixture(scope="session")
def wasm():
    """Where the programs are."""
    for tool in ["em++", "node"]:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing; 'make check-wasm' installs it")
    if not (WASM / "build.ninja").exists():
        pytest.skip("build-wasm is not there; 'make check-wasm' builds it")
    jobs = subprocess.run([ROOT / "cmake" / "jobs.sh"], capture_output=True, text=True, check=True).stdout.strip()
    built = subprocess.run(["ninja", "-C", WASM, "-j", jobs, "attar-run", "attar_page"], capture_output=True, text=True)
    assert built.returncode == 0, built.stdout
    return WASM / "bin"


@pytest.fixture(scope="session")
def formula(tmp_path_factory):
    return small_models.formula_model(tmp_path_factory.mktemp("wasm") / "formula")


def small_model(request, tmp_path_factory, tensor_type):
    """stories260K where it is, else one of a formula."""
    try:
        original = shared("models/stories260K.f32.gguf")
    except pytest.skip.Exception:
        original = request.getfixturevalue("formula")
    return small_models.quantized(original, tensor_type, tmp_path_factory.mktemp("wasm") / "model.gguf")


@pytest.fixture(scope="session", params=["stories F32", "stories Q4_0", "stories Q8_0", "formula F16", "formula Q4_K", "formula IQ3_S"])
def model(request, tmp_path_factory):
    source, tensor_type = request.param.split()
    if source == "stories":
        return small_model(request, tmp_path_factory, tensor_type)
    return small_models.quantized(request.getfixturevalue("formula"), tensor_type, tmp_path_factory.mktemp("wasm") / "model.gguf")


@pytest.fixture(scope="session")
def story(request, tmp_path_factory):
    return small_model(request, tmp_path_factory, "Q8_0")


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("wasm") / "text.txt"
    path.write_text(small_models.TEXT + "\n", encoding="utf-8")
    return path


def greedy(model, prompt, n_tokens, *more):
    """What this machine writes."""
    return small_models.run([program("attar-run"), "generate", model, prompt, "--temperature", "0", "-n", str(n_tokens), *more])


def test_numbers_are_those_of_this_machine(wasm, model, text):
    """To the bit: the order of sums is the same, and so is each multiply-add, which WebAssembly has no instruction for."""
    here = small_models.answers([program("attar-run")], model, text)
    there = small_models.answers(["node", wasm / "attar-run.js"], model, text, threads=1)
    assert there["tokens"] == here["tokens"]
    if small_models.HAS_AVX2:
        assert there == here


def test_verify_says_what_it_says_here(wasm, model, story, text):
    """A model against another, whose vocabularies may differ: the same numbers, or the same refusal."""

    def verified(runtime):
        done = subprocess.run([*runtime, "verify", story, model, "--data", text, "--no-bench", "--json", "--quiet"], capture_output=True, text=True, timeout=300)
        return done.returncode, json.loads(done.stdout)["results"] if done.returncode == 0 else done.stderr

    here, there = verified([program("attar-run")]), verified(["node", wasm / "attar-run.js"])
    assert there[0] == here[0]
    if small_models.HAS_AVX2:
        assert there == here


def test_threads_are_refused(wasm, story):
    done = subprocess.run(["node", wasm / "attar-run.js", "generate", story, "Once", "--threads", "2"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 5
    assert "the system starts no more of them" in done.stderr


def test_the_module(wasm, story, text, tmp_path):
    """The C library out of JavaScript: a text, its pieces, a stop, errors on both sides, log-probabilities."""
    expected = greedy(story, small_models.PROMPT, N_TOKENS)
    scored = small_models.run([program("attar-run"), "score", story, "--data", text, "--numerics", "deployed"])["documents"][0]
    work = {"model": str(story), "attar": str(ROOT / "runtime/wasm/attar.js"), "prompt": small_models.PROMPT, "tokens": N_TOKENS, "text": small_models.TEXT}
    (tmp_path / "work.json").write_text(json.dumps(work), encoding="utf-8")
    done = subprocess.run(["node", ROOT / "tests/wasm_module.js", wasm, tmp_path / "work.json"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    for written in [said["written"], said["again"], said["after"]]:
        assert (written["text"], written["tokens"], written["stopReason"]) == (expected["text"], expected["tokens"], "max_tokens")
    assert "".join(said["pieces"]) == expected["text"] and len(said["pieces"]) > 1
    assert said["stopped"]["stopReason"] == "cancelled" and len(said["stopped"]["tokens"]) < N_TOKENS
    assert said["second"] == 6  # one text at a time
    assert said["thrown"] == "of the page's own"
    assert said["broken"]["code"] == 3 and said["closed"]["code"] == 2
    assert said["info"]["fileBytes"] == story.stat().st_size
    assert said["scored"]["tokens"] == scored["tokens"]
    if small_models.HAS_AVX2:
        assert said["scored"]["logprobs"] == scored["logprobs"]


class Page:
    """attar.html from the disk, in Chromium."""

    def __init__(self, window, model=None):
        self.window = window
        window.open(WASM / "attar.html")
        if model is None:
            return
        root = window._devtools("DOM.getDocument")["root"]["nodeId"]
        chooser = window._devtools("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
        window._devtools("DOM.setFileInputFiles", nodeId=chooser, files=[str(model)])
        self.wait()

    def wait(self):
        """Until the Worker has answered."""
        end = time.monotonic() + 300
        while self.window.run("return document.body.dataset.state") != "ready":
            assert time.monotonic() < end, self.window.console()
            time.sleep(0.02)

    def set(self, **values):
        for name, value in values.items():
            self.window.run("const e = document.getElementById(arguments[0]); e.value = arguments[1]; e.dispatchEvent(new Event('change'))", name, value)

    def type(self, text):
        """Where the focus is, then Enter."""
        self.window._devtools("Input.insertText", text=text)
        for kind in ["keyDown", "keyUp"]:
            self.window._devtools("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13)

    def said(self):
        return self.window.run("return [...document.querySelectorAll('#log > div')].map(e => e.textContent)")


@pytest.fixture(scope="module", params=[{}, {"dark": True}, {"width": 390, "height": 844}], ids=["light", "dark", "phone"])
def window(request):
    if browser.MISSING is not None:
        pytest.skip(browser.MISSING)
    with browser.Browser(**request.param) as opened:
        yield opened


def test_the_page_goes_on_with_a_text(wasm, story, window):
    """By the keyboard alone once a file is chosen, and nothing is asked of any network."""
    window.requests()
    page = Page(window, story)
    page.set(mode="text", tokens=str(N_TOKENS), temperature="0")
    assert window.run("return document.activeElement.id") == "prompt"
    page.type(small_models.PROMPT)
    page.wait()
    assert page.said() == [small_models.PROMPT, greedy(story, small_models.PROMPT, N_TOKENS)["text"]]
    assert f"{N_TOKENS} tokens, " in window.run("return document.getElementById('speed').value")
    assert window.run("return document.activeElement.id") == "prompt"
    assert all(url.startswith(("file:", "blob:")) for url in window.requests())
    assert window.console() == []
    assert window.run("return document.documentElement.scrollWidth <= window.innerWidth && document.documentElement.scrollHeight <= window.innerHeight")


def test_the_page_stops(wasm, story, window):
    page = Page(window, story)
    page.set(mode="text", tokens="8000", temperature="0")
    window.run("document.getElementById('prompt').value = 'Once'; send(); stop()")
    page.wait()
    assert window.run("return document.getElementById('speed').value").endswith("stopped")
    page.set(tokens="3")
    window.run("document.getElementById('prompt').value = ' upon a time'; send()")  # and goes on
    page.wait()
    assert window.run("return document.getElementById('speed').value").startswith("3 tokens")


def test_the_page_says_what_is_wrong(wasm, window, tmp_path):
    (tmp_path / "no.gguf").write_bytes(b"GGUF, but no more")
    page = Page(window, tmp_path / "no.gguf")
    assert len(page.said()) == 1 and "model.gguf" in page.said()[0]
    assert window.run("return document.getElementById('prompt').disabled")


def test_the_page_chats(wasm, window):
    """SmolLM2-135M."""
    model = smollm2()
    page = Page(window, model)
    assert window.run("return document.getElementById('mode').value") == "chat"
    page.set(system="Be brief.", tokens="12", temperature="0")
    window.run("document.getElementById('prompt').focus()")
    page.type("Name a colour.")
    page.wait()
    assert page.said() == ["Name a colour.", greedy(model, "Name a colour.", 12, "--system", "Be brief.")["text"]]
