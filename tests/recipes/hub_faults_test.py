"""hf:ORG/NAME where the hub, the way to it, the disk or the user fails: nothing wrong is kept, nothing right is fetched twice."""

import hashlib
import json
import pathlib
import signal
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
from conftest import BIN, ROOT
from hub_fixture import RECIPE, refused, works
from hub_server import Repository, body, dribble, more_bytes, other_bytes, piece, status

pytestmark = pytest.mark.recipe
pytest_plugins = ["hub_fixture"]


def test_broken_answers_are_gone_on_with(home, hub, gguf):
    hub.faults["store"] = [piece(30_000), piece(5_000), None]
    done = home.inspect("hf:org/tiny")
    works(done)
    assert "the connection broke off at 30.0 KB; again in 0.5 s" in done.stderr
    assert [headers.get("Range") for name, _, _, headers in hub.requests if name == "store"] == [None, "bytes=30000-", "bytes=35000-"]
    assert home.blobs("org/tiny") == [hashlib.sha256(gguf).hexdigest()]


def test_a_broken_download_is_gone_on_with_by_the_next_run(home, hub):
    hub.faults["store"] = [piece(20_000), *[piece(0)] * 4]
    refused(home.inspect("hf:org/tiny"), 1, "tiny-Q8_0.gguf cannot be fetched", "run again to go on")
    assert len(home.incomplete()) == 1
    works(home.inspect("hf:org/tiny"))
    assert hub.requests[-1][3]["Range"] == "bytes=20000-" and not home.incomplete()


def test_a_server_without_ranges(home, hub):
    hub.ranges, hub.faults["store"] = False, [piece(30_000)]
    works(home.inspect("hf:org/tiny"))


@pytest.mark.parametrize("fault", [more_bytes, piece(30_000, length=30_000), other_bytes, piece(100, then=dribble), status(503), status(429, Retry_After="1"), status(416)])
def test_a_fault_of_the_store_is_survived(home, hub, fault):
    hub.faults["store"] = [fault]
    works(home.inspect("hf:org/tiny", HF_HUB_DOWNLOAD_TIMEOUT="1"))
    assert len(hub.asked("store")) >= 2 and not home.incomplete()


@pytest.mark.parametrize("fault", [status(503), status(429), lambda handler: time.sleep(3), lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100)])
def test_a_fault_of_the_hub_is_survived(home, hub, fault):
    hub.faults["hub"] = [fault]
    works(home.inspect("hf:org/tiny", HF_HUB_DOWNLOAD_TIMEOUT="1"))


def test_lies_are_not_kept(home, hub, gguf):
    hub.faults["store"] = [other_bytes, other_bytes]
    refused(home.inspect("hf:org/tiny"), 1, "came twice with other bytes than the hub says; nothing was kept", "SHA-256 " + hashlib.sha256(gguf).hexdigest())
    assert home.blobs("org/tiny") == []
    files = hub.repositories["org/folder"].files
    hub.faults["hub"] = [None, *[body(b"x" * len(files["README.md"]))] * 2]
    refused(home.inspect("hf:org/folder"), 1, "README.md came twice with other bytes", "git SHA-1")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"<html>welcome</html>", "does not answer in JSON"),
        (b"{", "does not answer in JSON"),
        (b"[" * 100_000, "does not answer in JSON"),
        (b'{"siblings": []}', "names no commit"),
        (json.dumps({"sha": "0" * 40, "siblings": [7]}).encode(), "lists no files"),
        (b'{"sha": "' + b"0" * 40 + b'", "siblings": [' + b"[" * 300_000 + b"]" * 300_000 + b"]}", "lists no files"),
        (json.dumps({"sha": "0" * 40, "siblings": [{"rfilename": "../../evil.gguf"}]}).encode(), "names a file outside"),
        (json.dumps({"sha": "../../../evil", "siblings": []}).encode(), "names no commit"),
    ],
)
def test_answers_that_are_none(home, hub, answer, words):
    hub.faults["hub"] = [body(answer)]
    refused(home.inspect("hf:org/tiny"), 1, words, "is HF_ENDPOINT a hub?")


def test_ctrl_c_answers_at_once_and_the_next_run_goes_on(home, hub):
    hub.faults["store"] = [piece(30_000, then=lambda handler: time.sleep(8))]
    process = subprocess.Popen([str(BIN / "attar"), "inspect", "hf:org/tiny"], env=home.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not any(path.stat().st_size == 30_000 for path in home.cache.rglob("*.incomplete")):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    before = time.monotonic()
    assert process.wait(10) == 130 and time.monotonic() - before < 2
    works(home.inspect("hf:org/tiny"))
    assert hub.requests[-1][3]["Range"] == "bytes=30000-"


def test_ctrl_c_of_a_plan_is_no_problem_of_the_recipe(home, hub, tmp_path):
    (tmp_path / "text.txt").write_text("The sea is wide and old.\n" * 4)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    hub.faults["store"] = [piece(30_000, then=lambda handler: time.sleep(8))]
    command = [str(BIN / "attar"), "run", str(tmp_path / "recipe.yaml"), "--dry-run"]
    process = subprocess.Popen(command, env=home.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    while not any(path.stat().st_size == 30_000 for path in home.cache.rglob("*.incomplete")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=10)[1]
    assert process.returncode == 130 and "recipe.yaml:" not in said, said


def test_a_disk_that_is_full_at_any_write(home, hub, gguf):
    preload = BIN.parent / "lib" / "libfailing_writes.so"
    failed = 0
    for write in range(1, 14):
        done = home.inspect("hf:org/tiny", LD_PRELOAD=str(preload), FAIL_NTH_WRITE=str(write))
        assert done.returncode in (0, 5), (write, done.stderr)
        failed += done.returncode == 5
        for path in (home.cache / "models--org--tiny" / "blobs").glob("*"):
            assert path.suffix == ".incomplete" or path.read_bytes() == gguf
    assert failed >= 4
    works(home.inspect("hf:org/tiny", "--offline"))


def test_no_room(home, hub):
    huge = Repository({"huge.gguf": b"GGUF"})
    listing = {"sha": huge.commit, "siblings": [{"rfilename": "huge.gguf", "blobId": "0" * 40, "lfs": {"sha256": "0" * 64, "size": 10**18}}]}
    hub.faults["hub"] = [body(json.dumps(listing).encode())]
    refused(home.inspect("hf:org/tiny"), 5, "has no room for hf:org/tiny", "1000000000.00 GB", "HF_HUB_CACHE")
