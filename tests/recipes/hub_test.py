"""hf:ORG/NAME: models of the Hugging Face hub, from a hub on this machine, into the cache that huggingface_hub shares. Nothing here needs the
network; what goes wrong with a hub is in hub_faults_test.py."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
import hub_server
from conftest import BIN, ROOT
from hub_fixture import RECIPE, TOKEN, Home, refused, works
from hub_server import Hub, Repository, piece, status

pytestmark = pytest.mark.recipe
pytest_plugins = ["hub_fixture"]


def test_a_file_is_fetched_once(home, hub, gguf):
    done = home.inspect("hf:org/tiny:tiny-Q8_0.gguf")
    assert "llama" in works(done)
    assert f"{len(gguf) / 1e3:.1f} KB from {hub.url}" in done.stderr and "download 100%" in done.stderr
    model, digest, commit = home.cache / "models--org--tiny", hashlib.sha256(gguf).hexdigest(), hub.repositories["org/tiny"].commit
    assert home.blobs("org/tiny") == [digest]
    assert (model / "refs" / "main").read_text() == commit
    link = model / "snapshots" / commit / "tiny-Q8_0.gguf"
    assert os.readlink(link) == f"../../blobs/{digest}" and link.read_bytes() == gguf
    hub.close()
    for model in ("hf:org/tiny:tiny-Q8_0.gguf", "hf:org/tiny", f"hf:org/tiny@{commit}", "hf:org/tiny:q8_0"):
        assert works(home.inspect(model)) == done.stdout


def test_a_folder_is_what_the_model_needs_and_nothing_else(home, hub, folder_files):
    shown = works(home.inspect("hf:org/folder"))
    assert "org/folder" in shown and "apache-2.0" in shown
    commit = hub.repositories["org/folder"].commit
    snapshot = home.cache / "models--org--folder" / "snapshots" / commit
    assert {path.name for path in snapshot.iterdir()} == set(folder_files) - {"pytorch_model.bin", "onnx", "onnx/model.onnx", "adapter.safetensors"}
    before = len(hub.requests)
    assert works(home.inspect(f"hf:org/folder@{commit}")) == shown and len(hub.requests) == before


def test_a_folder_of_shards(home, hub, folder_files):
    index = {"weight_map": dict.fromkeys(["model.norm.weight"], "model-00001-of-00001.safetensors")}
    files = {name: data for name, data in folder_files.items() if name != "model.safetensors"}
    files |= {"model.safetensors.index.json": json.dumps(index).encode(), "model-00001-of-00001.safetensors": folder_files["model.safetensors"]}
    hub.repositories["org/shards"] = Repository(files)
    home.inspect("hf:org/shards")  # the index of one tensor is refused by the reader: what was fetched is what counts
    assert any("model-00001-of-00001" in path.name for path in home.cache.rglob("*.safetensors"))
    files["model.safetensors.index.json"] = json.dumps({"weight_map": {"x": "../../evil.safetensors"}}).encode()
    hub.repositories["org/shards"] = Repository(files)
    refused(home.inspect("hf:org/shards@main", HF_HUB_CACHE=str(home.path / "other")), 3, "names a shard that the repository lacks", "../../evil")
    files["model.safetensors.index.json"] = b'{"weight_map": {"x": ' + b"[" * 300_000 + b"]" * 300_000 + b"}}"  # a copy would go to the end of the stack
    hub.repositories["org/shards"] = Repository(files)
    refused(home.inspect("hf:org/shards@main", HF_HUB_CACHE=str(home.path / "third")), 3, "names a shard that is no text")


def test_what_looks_at_a_recipe_says_what_it_fetches(home, tmp_path):
    """Gigabytes may stand behind a name: no check of a recipe, and no recipe with a slip in it, keeps still for so long."""
    (tmp_path / "text.txt").write_text("the cat sat on the mat\n" * 9)
    (tmp_path / "other.txt").write_text("a bat and a hat\n" * 9)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    new = ["new", "-o", tmp_path / "new.yaml", "--teacher", "hf:org/folder", "--data", tmp_path / "text.txt", "--evaluation", tmp_path / "other.txt", "--to", "Q8_0"]
    for number, command in enumerate((["recipes", "check", tmp_path / "recipe.yaml"], ["run", tmp_path / "recipe.yaml", "stages.verify.contxt=3"], ["recipes", *new])):
        done = home.run(BIN / "attar", *command, HF_HUB_CACHE=str(tmp_path / f"cache{number}"))
        assert "download 100%" in done.stderr, (command, done.stderr)


def test_an_unknown_architecture_is_refused_before_its_weights_come(home, hub, folder_files):
    hub.repositories["org/other"] = Repository({**folder_files, "config.json": b'{"model_type": "mamba", "architectures": ["MambaForCausalLM"]}'})
    refused(home.inspect("hf:org/other"), 3, "mamba")
    assert not hub.asked("store")


PYTHON_HUB = """
from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download
{}
"""


def huggingface_hub(home, code, **variables):
    pytest.importorskip("huggingface_hub")
    return works(home.run(sys.executable, "-c", PYTHON_HUB.format(code), HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_PROGRESS_BARS="1", **variables))


def test_huggingface_hub_finds_what_attar_fetched(home, hub, gguf):
    works(home.inspect("hf:org/tiny:tiny-Q8_0.gguf"))
    works(home.inspect("hf:org/folder"))
    before = len(hub.asked("store"))
    path = huggingface_hub(home, "print(hf_hub_download('org/tiny', 'tiny-Q8_0.gguf'))").strip()
    assert pathlib.Path(path).read_bytes() == gguf
    huggingface_hub(home, "snapshot_download('org/folder', allow_patterns=['*.json', 'model.safetensors'])")
    assert len(hub.asked("store")) == before, "nothing is fetched a second time"
    code = "print(hf_hub_download('org/folder', 'config.json', local_files_only=True)); print(len(scan_cache_dir().warnings), len(scan_cache_dir().repos))"
    assert huggingface_hub(home, code, HF_HUB_OFFLINE="1").split()[1:] == ["0", "2"]


def test_attar_finds_what_huggingface_hub_fetched(home, hub):
    huggingface_hub(home, "hf_hub_download('org/tiny', 'tiny-Q8_0.gguf'); snapshot_download('org/folder', allow_patterns=['*.json', 'model.safetensors'])")
    for model in ("hf:org/tiny:tiny-Q8_0.gguf", "hf:org/tiny", "hf:org/folder"):
        works(home.inspect(model, "--offline"))
        works(home.inspect(model, HF_HUB_OFFLINE="1"))
    before = len(hub.requests)
    works(home.inspect("hf:org/tiny:tiny-Q8_0.gguf"))
    assert len(hub.requests) == before, "a file that is there needs no hub"
    assert "apache-2.0" in works(home.inspect("hf:org/folder")), "the card, which transformers leaves out, comes with the licence"


def test_hashes_of_a_hub_that_does_not_list_them(home, hub):
    hub.lists_hashes = False
    works(home.inspect("hf:org/folder"))
    assert any(method == "HEAD" for _, method, _, _ in hub.requests)


def test_a_token_stays_with_the_hub(home, hub):
    page = f"{hub.url}/org/gated"
    refused(home.inspect("hf:org/gated"), 3, "is gated", f"accept it at {page}", "set HF_TOKEN")
    refused(home.inspect("hf:org/gated", HF_TOKEN="hf_other"), 3, "is gated", "the account of HF_TOKEN has not")
    refused(home.inspect("hf:org/private"), 3, "is not on the hub, or not for everybody", "set HF_TOKEN")
    refused(home.inspect("hf:org/private", HF_TOKEN="hf_other"), 3, "the token in HF_TOKEN")
    works(home.inspect("hf:org/gated", HF_TOKEN=TOKEN))
    (home.path / "token").write_text(TOKEN + "\n")
    works(home.inspect("hf:org/private"))
    sent = {name: {headers.get("Authorization") for who, _, _, headers in hub.requests if who == name} for name in ("hub", "store")}
    assert f"Bearer {TOKEN}" in sent["hub"] and sent["store"] == {None}
    refused(home.inspect("hf:org/private", HF_TOKEN="hf_x\r\nHost: evil"), 2, "HF_TOKEN", "is no token")


def test_what_is_not_there(home, hub, gguf):
    refused(home.inspect("hf:org/none"), 3, "is not on the hub", f"{hub.url}/org/none")
    refused(home.inspect("hf:org/tiny@v2"), 3, "has no revision v2", "/tree/main")
    refused(home.inspect("hf:org/tiny:tiny-Q4_0.gguf"), 3, "there is no such file in hf:org/tiny", f"\n  hf:org/tiny:tiny-Q8_0.gguf   {len(gguf) / 1e3:.1f} KB")
    refused(home.inspect("hf:org/folder:x.gguf"), 3, "there is no GGUF in hf:org/folder")
    refused(home.inspect("hf:org/pickled"), 3, "holds no model that Attar reads", "pytorch_model.bin, which is pickled", "never unpickles")
    refused(home.inspect("hf:org/many"), 2, "holds several GGUF files", "hf:org/many:a/many-F16.gguf", "hf:org/many:many-Q4_K_M.gguf")
    refused(home.inspect("hf:org/many:Q"), 2, "may mean several files")
    message = home.inspect("hf:org/many:many-Q4_K_S.gguf").stderr
    assert message.index("Q4_K_M") < message.index("Q8_0") and "mmproj" not in message
    assert not hub.asked("store")
    works(home.inspect("hf:org/many:a/many-F16.gguf"))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("hf:", "hf:ORG/NAME"),
        ("hf:tiny", "is no name of a model on the hub"),
        ("hf:org/tiny/more", "is no name of a model on the hub"),
        ("hf:../tiny", "is no name of a model on the hub"),
        ("hf:org/tiny:../../x.gguf", "names no file"),
        ("hf:org/tiny:", "names no file"),
        ("hf:org/tiny@../x", "names no revision"),
        ("hf:org/tiny:x.gguf@main", "hf:ORG/NAME@REVISION:FILE.gguf"),
    ],
)
def test_names_that_are_none(home, hub, model, words):
    refused(home.inspect(model), 2, words)
    assert not hub.requests


@pytest.mark.parametrize("way", [hub_server.chunked, hub_server.without_length])
def test_ways_to_send_a_body(home, hub, way):
    hub.faults["store"] = [way]
    works(home.inspect("hf:org/tiny"))
    assert len(hub.asked("store")) == 1


def test_redirects(home, hub):
    hub.faults["hub"] = [status(302, Location=f"{hub.url}/api/models/org/tiny/revision/main?blobs=true")]
    works(home.inspect("hf:org/tiny"))
    for where in ("/api/models/org/many/revision/main?blobs=true&from=https://elsewhere/", "main?blobs=true&from=https://elsewhere/"):
        hub.faults["hub"] = [status(302, Location=where)]
        works(home.inspect("hf:org/many:a/many-F16.gguf", HF_HUB_CACHE=str(home.path / str(len(where)))))
    hub.faults["hub"] = [status(302, Location="/again")] * 20
    refused(home.inspect("hf:org/folder"), 1, "is redirected again and again")
    hub.faults["hub"] = [status(302, Location="ftp://elsewhere/")]
    refused(home.inspect("hf:org/folder"), 1, "is no address")


def test_offline(home, hub):
    for flags, variables in ((["--offline"], {}), ([], {"HF_HUB_OFFLINE": "1"}), ([], {"TRANSFORMERS_OFFLINE": "yes"})):
        refused(home.inspect("hf:org/tiny", *flags, **variables), 3, "is not in the cache", "hf download org/tiny", str(home.cache))
    assert not hub.requests
    works(home.inspect("hf:org/tiny"))
    works(home.inspect("hf:org/tiny", "--offline"))


def test_no_hub(home, hub):
    hub.close()
    refused(home.inspect("hf:org/tiny"), 1, "the list of files cannot be fetched: no connection to", "HF_ENDPOINT")
    refused(home.inspect("hf:org/tiny", HF_ENDPOINT="ftp://x"), 2, "HF_ENDPOINT")


def test_two_programs_at_once_fetch_once(home, hub):
    hub.faults["store"] = [piece(1000, then=lambda handler: time.sleep(2))]
    command = [str(BIN / "attar"), "inspect", "hf:org/tiny", "--quiet"]
    both = [subprocess.Popen(command, env=home.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    assert [process.wait(60) for process in both] == [0, 0, 0], [process.stderr.read() for process in both]
    assert len(hub.asked("store")) == 2, "the one that broke off, and its other part"


def test_https(tmp_path, gguf):
    made = hub_server.certificate(tmp_path)
    hub = Hub(made)
    try:
        hub.repositories = {"org/tiny": Repository({"tiny.gguf": gguf})}
        home = Home(tmp_path / "hf", hub)
        refused(home.inspect("hf:org/tiny"), 1, "shows a certificate that is not trusted", "SSL_CERT_FILE")
        refused(home.inspect("hf:org/tiny", SSL_CERT_FILE=str(made[0]), HF_ENDPOINT=hub.url.replace("127.0.0.1", "localhost")), 1, "certificate")
        hub.faults["hub"] = [status(302, Location="http://127.0.0.1:9/")]
        refused(home.inspect("hf:org/tiny", SSL_CERT_FILE=str(made[0])), 1, "leads away from HTTPS")
        hub.faults["store"] = [piece(30_000)]
        works(home.inspect("hf:org/tiny", SSL_CERT_FILE=str(made[0])))
    finally:
        hub.close()


def test_https_goes_through_a_proxy(tmp_path, gguf):
    made = hub_server.certificate(tmp_path)
    hub, proxy = Hub(made), hub_server.Proxy("me:pass word")
    try:
        hub.repositories = {"org/tiny": Repository({"tiny.gguf": gguf})}
        home = Home(tmp_path / "hf", hub)
        address, trusted = f"127.0.0.1:{proxy.server_port}", {"SSL_CERT_FILE": str(made[0])}
        done = home.inspect("hf:org/tiny", HTTPS_PROXY=f"http://{address}", **trusted)
        refused(done, 1, f"the proxy {address}: does not connect to {hub.url}: HTTP/1.0 407", "NO_PROXY")
        refused(home.inspect("hf:org/tiny", all_proxy="socks5://me:secret@127.0.0.1:9", **trusted), 2, "expected http://HOST:PORT, got socks5://...")
        assert not hub.requests and proxy.asked
        works(home.inspect("hf:org/tiny", https_proxy=f"http://me:pass word@{address}/", HTTPS_PROXY="http://nowhere:1", **trusted))
        ports = {server.server_port for server in hub.servers}
        assert {int(asked.removeprefix("127.0.0.1:")) for asked in proxy.asked} == ports and all("CONNECT" not in str(request) for request in hub.requests)
        proxy.asked.clear()
        for names in ("example.org, 127.0.0.1", "*"):
            works(Home(tmp_path / names[0], hub).inspect("hf:org/tiny", HTTPS_PROXY=f"http://{address}", NO_PROXY=names, **trusted))
        assert not proxy.asked
    finally:
        hub.close(), proxy.close()


def test_attar_run_has_no_network(home, hub):
    refused(home.run(BIN / "attar-run", "inspect", "hf:org/tiny"), 2, "there is no network here", "`attar`")
    assert not hub.requests and "--offline" not in home.run(BIN / "attar-run", "--help").stdout


def test_every_verb_takes_one(home, hub, tmp_path):
    (tmp_path / "text.txt").write_text("The sea is wide and old.\n" * 4)
    text, model = tmp_path / "text.txt", "hf:org/folder"
    attar = BIN / "attar"
    works(home.run(attar, "quantize", model, "-o", tmp_path / "q.gguf", "--to", "F16"))
    works(home.run(attar, "export", model, "-o", tmp_path / "e.gguf"))
    works(home.run(attar, "eval", model, "--data", text, "--context", "32"))
    works(home.run(attar, "verify", model, tmp_path / "q.gguf", "--data", text, "--context", "32"))
    works(home.run(attar, "bench", model, "-r", "1"))
    works(home.run(attar, "generate", model, "-p", "The", "-n", "3"))
    works(home.run(attar, "tokenize", model, "--data", text))
    card = works(home.run(attar, "inspect", tmp_path / "q.gguf"))
    assert "apache-2.0" in card


def test_a_recipe_records_the_commit(home, hub, tmp_path):
    (tmp_path / "text.txt").write_text("The sea is wide and old.\n" * 4)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    command = [BIN / "attar", "run", tmp_path / "recipe.yaml", "--out", tmp_path / "run", "--quiet"]
    pinned = f"hf:org/folder@{hub.repositories['org/folder'].commit}"
    works(home.run(*command, "--dry-run"))
    works(home.run(*command))
    assert f"teacher: {pinned}\n" in (tmp_path / "run" / "resolved.yaml").read_text()
    assert f'"hub": "{pinned}"' in (tmp_path / "run" / "report.json").read_text()
    hub.close()
    works(home.run(*command, "--resume", "--offline"))


def test_from_python(home, hub, tmp_path):
    code = f"""
import attar
seen = []
attar.quantize("hf:org/folder", {str(tmp_path / "q.gguf")!r}, to="F16", progress=lambda event: seen.append(event) or True)
downloads = [event for event in seen if event["stage"] == "download" and event["unit"] == "bytes"]
assert downloads[-1]["done"] == downloads[-1]["total"] > 50_000, downloads
print(attar.Model("hf:org/tiny").config["family"])
try:
    attar.Model("hf:org/none")
except attar.Error as error:
    print(error.exit_code)
"""
    done = home.run(sys.executable, "-c", code, PYTHONPATH=str(ROOT / "build" / "python"))
    assert works(done).split() == ["llama", "3"]


def test_python_lets_other_threads_run_meanwhile(home, hub, folder_files, tmp_path):
    """The hub is a thread of the same process: it answers only while a call leaves the interpreter to others."""
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "files").mkdir(exist_ok=True)
        (tmp_path / "files" / name).write_bytes(folder_files[name])
    code = f"""
import os, pathlib, sys
sys.path.insert(0, {str(pathlib.Path(hub_server.__file__).parent)!r})
import hub_server
hub = hub_server.Hub()
files = {{path.name: path.read_bytes() for path in pathlib.Path({str(tmp_path / "files")!r}).iterdir()}}
hub.repositories = {{"org/one": hub_server.Repository(files), "org/other": hub_server.Repository({{**files, "README.md": b"Another."}})}}
os.environ["HF_ENDPOINT"] = hub.url
import attar
print(attar.plan({{"teacher": "hf:org/one", "stages": [{{"quantize": {{"to": "Q8_0", "importance": False}}}}]}})["name"])
attar.with_tensors("hf:org/other", {{}}, {str(tmp_path / "changed")!r})
print("changed")
"""
    done = home.run(sys.executable, "-c", code, PYTHONPATH=str(ROOT / "build" / "python"), HF_HUB_DOWNLOAD_TIMEOUT="2")
    assert works(done).split() == ["recipe", "changed"] and (tmp_path / "changed" / "config.json").exists()
