"""The teacher's signal, kept as HDF5: what it leaves open is reported, its numerics are named, and no file is believed."""

import hashlib
import json
import pathlib
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
from bad_input_test import tiny
from conftest import BIN, ROOT

pytestmark = pytest.mark.recipe

TEXT = ROOT / "recipes" / "text"
RECIPE = f"""teacher: {{teacher}}
data:
  train: [{{{{teacher_writes: {{{{tokens: 600, prompt: none, max_tokens: 60, signal_top_k: 8}}}}}}}}]
  calibration: [{TEXT / "tiny_train.txt"}]
stages:
  - prune: {{{{keep_vocab: 800, calibration_tokens: 500}}}}
  - distill: {{{{tokens: 500, batch_tokens: 256}}}}
"""


def attar(*arguments):
    return subprocess.run([str(BIN / "attar"), *map(str, arguments)], capture_output=True, text=True)


def run(recipe, folder, *more):
    done = attar("run", recipe, "--out", folder, "--json", "--quiet", *more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_the_signal_leaves_open_is_in_metrics_and_report(tmp_path):
    (tmp_path / "short.yaml").write_text(RECIPE.format(teacher=tiny(tmp_path / "teacher")))
    stage = run(tmp_path / "short.yaml", tmp_path / "run")["results"]["stages"][-1]
    results = stage["results"]
    assert results["signal"] == "cached" and results["unsignalled"] == "cross_entropy"
    assert 0 < results["unsignalled_share"] < 1 and 0 < results["dropped_mass"] < 1
    assert any("cross_entropy" in note for note in stage["notes"]) and any("mass" in note for note in stage["notes"])
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    mean = sum(line["unsignalled"] * (line["tokens"] - before) for line, before in zip(lines, [0, *(line["tokens"] for line in lines)], strict=False)) / lines[-1]["tokens"]
    assert results["tokens"] == lines[-1]["tokens"] and mean == pytest.approx(results["unsignalled_share"], rel=1e-6)
    assert all(line["forward_kl"] > 0 and line["cross_entropy"] > 1 for line in lines)
    assert "which says nothing about" in (tmp_path / "run/report.html").read_text()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A recipe and its run: text that a small teacher wrote, with its signal."""
    home = tmp_path_factory.mktemp("written")
    recipe = home / "short.yaml"
    recipe.write_text(RECIPE.format(teacher=tiny(home / "teacher")))
    run(recipe, home / "run")
    return recipe, home / "run"


def restamped(path):
    """The file under a checksum that is right for what it holds now."""
    content = path.read_bytes()
    head = b"Attar token data, HDF5 after byte 512; SHA-256 of the rest:\n" + hashlib.sha256(content[512:]).hexdigest().encode() + b"\n"
    path.write_bytes(head.ljust(512, b"\0") + content[512:])


def replace(file, name, values):
    del file[name]
    file[name] = values


CHANGES = {
    "a negative length": lambda f: f["lengths"].__setitem__(0, -1),
    "a length past the end": lambda f: f["lengths"].__setitem__(0, 2**62),
    "tokens left over": lambda f: f["lengths"].__setitem__(0, f["lengths"][0] - 1),
    "a length too many": lambda f: replace(f, "lengths", np.append(f["lengths"], 0)),
    "another mark": lambda f: f["signal_documents"].__setitem__(0, 2),
    "a signal without a document": lambda f: f["signal_documents"].__setitem__(0, 0),
    "no entries": lambda f: f["signal_k"].__setitem__(0, 0),
    "negative entries": lambda f: f["signal_k"].__setitem__(0, -8),
    "too many entries": lambda f: f["signal_k"].__setitem__(0, 2**40),
    "other entries": lambda f: f["signal_k"].__setitem__(0, 7),
    "a token that is not there": lambda f: f["tokens"].__setitem__(3, 2048),
    "an id that is not there": lambda f: f["signal_ids"].__setitem__((40, 0), 2**31 - 1),
    "another type": lambda f: replace(f, "signal_ids", f["signal_ids"][:].astype(np.float32)),
    "a wider type": lambda f: replace(f, "tokens", f["tokens"][:].astype(np.int64)),
    "no array": lambda f: f.__delitem__("in_loss"),
    "compressed": lambda f: (f.__delitem__("tokens"), f.create_dataset("tokens", data=np.zeros(9, np.int32), compression="gzip")),
    "a link outside": lambda f: (f.__delitem__("tokens"), f.__setitem__("tokens", h5py.ExternalLink("/dev/zero", "/"))),
    "an array of another file": lambda f: (
        shutil.copy(f.filename, f.filename + ".other"),
        f.__delitem__("tokens"),
        f.__setitem__("tokens", h5py.ExternalLink(f.filename + ".other", "tokens")),
    ),
    "unknown numerics": lambda f: f.attrs.__setitem__("signal_numerics", np.bytes_("int3")),
    "a list of numerics": lambda f: f.attrs.__setitem__("signal_numerics", np.full(500, np.bytes_("fp32"))),
    "numerics that are no text": lambda f: f.attrs.__setitem__("signal_numerics", np.int32(7)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_is_right_about_its_checksum_is_not_believed(written, tmp_path, name):
    recipe, folder = written
    shutil.copytree(folder, tmp_path / "run")
    path = tmp_path / "run/data/train.h5"
    with h5py.File(path, "r+") as file:
        CHANGES[name](file)
    changed = attar("run", recipe, "--out", tmp_path / "run", "--resume", "--quiet")
    assert changed.returncode == 3 and "train.h5" in changed.stderr and "its checksum" in changed.stderr
    restamped(path)
    refused = attar("run", recipe, "--out", tmp_path / "run", "--resume", "--quiet")
    assert refused.returncode == 3 and "train.h5" in refused.stderr and "its checksum" not in refused.stderr, refused.stderr


def test_hdf5_files_are_what_other_tools_read(written):
    with h5py.File(written[1] / "data/train.h5") as file:
        assert file.userblock_size == 512 and file.attrs["signal_numerics"] == b"fp32"
        assert file["signal_ids"].shape == file["signal_log_probs"].shape and file["signal_ids"].shape[1] == 8
        assert file["lengths"][:].sum() == len(file["tokens"]) == len(file["in_loss"])


def test_the_numerics_of_a_signal_are_named_and_kept_apart(written, tmp_path):
    recipe, folder = written
    text, model = tmp_path / "text.txt", written[0].parent / "teacher"
    text.write_text((TEXT / "tiny_train.txt").read_text(encoding="utf-8")[:3000], encoding="utf-8")
    report = json.loads((folder / "report.json").read_text())["results"]["stages"]
    assert report[1]["results"]["train"]["signal_numerics"] == report[-1]["results"]["signal_numerics"] == "fp32"
    other = recipe.read_text().replace("signal_top_k: 8", "signal_top_k: 8, numerics: deployed")
    (tmp_path / "other.yaml").write_text(other)
    assert run(tmp_path / "other.yaml", tmp_path / "deployed")["results"]["stages"][-1]["results"]["signal_numerics"] == "deployed"
    refused = attar("run", tmp_path / "other.yaml", "--out", folder, "--resume", "--quiet")
    assert refused.returncode == 2 and "another recipe" in refused.stderr
    shutil.copytree(folder, tmp_path / "run")  # data of one numerics in a run of another
    shutil.copy(tmp_path / "deployed/data/train.h5", tmp_path / "run/data/train.h5")
    refused = attar("run", recipe, "--out", tmp_path / "run", "--resume", "--quiet")
    assert refused.returncode == 3 and "numerics" in refused.stderr

    command = [
        "distill",
        model,
        "--student",
        model,
        "-o",
        tmp_path / "out",
        "--data",
        text,
        "--tokens",
        300,
        "--batch-tokens",
        128,
        "--sequence-tokens",
        128,
        "--signal",
        "cached",
        "--quiet",
        "--json",
    ]
    results = {name: attar(*command, "--force", *flags) for name, flags in {"fp32": [], "deployed": ["--signal-numerics", "deployed"]}.items()}
    for name, done in results.items():
        assert done.returncode == 0 and json.loads(done.stdout)["signal_numerics"] == name, done.stderr
    assert attar(*command, "--signal-numerics", "int3").returncode == 2


HASHES = {"teacher_hash": "teacher", "text_hash": "text", "made_by": "options"}  # attributes, and what messages call them


def resumed(recipe, folder):
    return attar("run", recipe, "--out", folder, "--resume", "--quiet")


def test_what_a_signal_follows_from_is_checked_where_it_is_read(written, tmp_path):
    """By hashes in its file. One of a version that noted none is told apart, and what is deleted is made anew."""
    recipe, folder = written
    shutil.copytree(folder, tmp_path / "run")
    path = tmp_path / "run/data/train.h5"
    whole = path.read_bytes()
    for name, word in HASHES.items():
        with h5py.File(path, "r+") as file:
            assert len(file.attrs[name]) == 64
            file.attrs[name] = np.bytes_(b"0" * 64)
        restamped(path)
        refused = resumed(recipe, tmp_path / "run")
        assert refused.returncode == 3 and f"train.h5: was made of something else: {word}; delete it" in refused.stderr, refused.stderr
        path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        for name in HASHES:
            del file.attrs[name]
    restamped(path)
    refused = resumed(recipe, tmp_path / "run")
    assert refused.returncode == 3 and "train.h5: does not say what it was made of" in refused.stderr, refused.stderr
    path.unlink()
    again = run(recipe, tmp_path / "run", "--resume")
    assert path.read_bytes() == whole and again["results"] == json.loads((folder / "report.json").read_text())["results"]


def index_of(shard):
    """The file that names the shards of a signal."""
    return shard.with_name(shard.name.rsplit("-", 1)[0] + ".json")


def louder(tensors):
    tensors["model.norm.weight"] *= 1.5


def test_the_signal_of_another_teacher_is_refused(tmp_path):
    """Of one tokenizer and the same options: in the data of a run, and in its cache under the right name."""
    folders = {}
    for name, change in {"mine": None, "others": louder}.items():
        recipe = tmp_path / f"{name}.yaml"
        recipe.write_text(RECIPE.format(teacher=tiny(tmp_path / name, change)).replace("batch_tokens: 256", "batch_tokens: 256, signal: sampled"))
        folders[name] = tmp_path / f"run of {name}"
        run(recipe, folders[name])
    mine, others = folders["mine"], folders["others"]
    whole = (mine / "data/train.h5").read_bytes()
    shutil.copy(others / "data/train.h5", mine / "data/train.h5")
    refused = resumed(tmp_path / "mine.yaml", mine)
    assert refused.returncode == 3 and "train.h5: was made of something else: teacher; delete it" in refused.stderr, refused.stderr
    (mine / "data/train.h5").write_bytes(whole)

    (kept,), (other,) = ((folder / "cache").glob("signal-*.h5") for folder in (mine, others))
    with h5py.File(kept) as file, h5py.File(other) as its:
        assert all(file.attrs[name] != its.attrs[name] for name in ("teacher_hash", "text_hash")) and file.attrs["tokenizer_hash"] == its.attrs["tokenizer_hash"]
    shutil.rmtree(mine / "checkpoints/2-distill")
    whole = {path: path.read_bytes() for path in (kept, index_of(kept))}
    damaged = bytearray(whole[kept])
    damaged[-1] ^= 1
    for path, content, said in (
        (kept, other.read_bytes(), "was made of something else: teacher, text"),
        (index_of(kept), index_of(other).read_bytes(), "was made of something else: teacher, text"),
        (kept, damaged, "is damaged at its checksum"),
    ):
        path.write_bytes(content)
        refused = resumed(tmp_path / "mine.yaml", mine)
        assert refused.returncode == 3 and f"{path.name}: {said}" in refused.stderr and "made anew" in refused.stderr, refused.stderr
        path.write_bytes(whole[path])
    kept.unlink()
    run(tmp_path / "mine.yaml", mine, "--resume")
    assert whole == {path: path.read_bytes() for path in whole}

    shutil.rmtree(mine / "checkpoints/2-distill")
    flipped = bytearray(whole[index_of(kept)])
    flipped[len(flipped) // 2] ^= 1
    index_of(kept).write_bytes(flipped)
    again = resumed(tmp_path / "mine.yaml", mine)
    assert again.returncode == 0, again.stderr
    assert f"{index_of(kept).name}: is damaged at its checksum; the signal is made anew" in (mine / "log.txt").read_text()
    assert whole == {path: path.read_bytes() for path in whole}


def test_a_sampled_signal_from_the_command_line(tmp_path):
    """Kept beside OUT while it is made; the same bytes a second time; in the mean the loss of the teacher beside the student."""
    text, teacher, student = tmp_path / "text.txt", tiny(tmp_path / "teacher"), tmp_path / "student"
    text.write_text((TEXT / "tiny_train.txt").read_text(encoding="utf-8")[:6000], encoding="utf-8")
    assert attar("prune", teacher, "-o", student, "--drop-layers", 1, "--keep-vocab", 900, "--data", text).returncode == 0
    command = ["--data", text, "--tokens", 900, "--batch-tokens", 256, "--sequence-tokens", 64, "--learning-rate", 1e-9, "--json", "--quiet"]
    losses = {}
    for name, flags in {"sampled": ["--signal-samples", 24], "online": []}.items():
        done = attar("distill", teacher, "--student", student, "-o", tmp_path / f"{name}.gguf", "--signal", name, *command, *flags)
        assert done.returncode == 0, done.stderr
        losses[name] = json.loads(done.stdout)
    assert 5 < losses["sampled"]["signal_bytes_per_token"] < 60 and "signal_bytes_per_token" not in losses["online"]
    assert losses["sampled"]["dropped_mass"] > 0
    assert losses["sampled"]["final_loss"] == pytest.approx(losses["online"]["final_loss"], rel=0.2)
    again = attar("distill", teacher, "--student", student, "-o", tmp_path / "again.gguf", "--signal", "sampled", *command, "--signal-samples", 24)
    assert again.returncode == 0 and (tmp_path / "again.gguf").read_bytes() == (tmp_path / "sampled.gguf").read_bytes()
    refused = attar("distill", teacher, "--student", student, "-o", tmp_path / "x.gguf", "--signal", "sampled", *command, "--losses", "jsd=1")
    assert refused.returncode == 2 and "jsd" in refused.stderr and "right in the mean" in refused.stderr


def learned_again(folder, kept):
    """The results of a run's distill stage when that alone is made anew, from the signal that was kept."""
    before, (stage,) = kept.read_bytes(), (folder / "checkpoints").glob("*-distill")
    shutil.rmtree(stage)
    for name in ("report.json", "report.html"):
        (folder / name).unlink()
    done = attar("run", "--resume", folder, "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    assert kept.read_bytes() == before and f"read from {index_of(kept)}" in (folder / "log.txt").read_text()
    return json.loads(done.stdout)["results"]["stages"][-1]["results"]


def test_a_sampled_signal_in_a_recipe(tmp_path):
    """Of a cut student, over text that the teacher wrote with a signal of its own; kept in the run and read again."""
    recipe = RECIPE.format(teacher=tiny(tmp_path / "teacher")).replace("batch_tokens: 256", "batch_tokens: 256, signal: sampled")
    (tmp_path / "sampled.yaml").write_text(recipe)
    stage = run(tmp_path / "sampled.yaml", tmp_path / "run")["results"]["stages"][-1]["results"]
    assert stage["signal"] == "sampled" and 5 < stage["signal_bytes_per_token"] < 60
    (kept,) = (tmp_path / "run/cache").glob("signal-*.h5")
    with h5py.File(kept) as file:
        assert list(file["sampled_form"]) == [24, 11] and file["signal_k"][0] == 0
        assert file["sampled_bytes"][:].sum() == len(file["sampled_signal"]) > 5 * file["in_loss"][:].sum()
    assert stage == learned_again(tmp_path / "run", kept)


def of_a_text(teacher, text, options):
    """A recipe that distils by these options from what the teacher says of a text."""
    written = "{teacher_writes: {tokens: 600, prompt: none, max_tokens: 60, signal_top_k: 8}}"
    recipe = RECIPE.format(teacher=teacher).replace(written, str(text))
    recipe = recipe.replace(f"calibration: [{TEXT / 'tiny_train.txt'}]", "calibration: [{from_train: 500}]")
    return recipe.replace("batch_tokens: 256", f"batch_tokens: 256, sequence_tokens: 64, {options}")


@pytest.mark.parametrize("numerics", ["fp32", "training"])
def test_a_signal_of_several_shards_in_a_recipe(tmp_path, numerics):
    """Of all the words of a text; one shard that is deleted is made anew, with those behind it, to the same bytes."""
    recipe = of_a_text(tiny(tmp_path / "teacher"), TEXT / "tiny_train.txt", f"signal: sampled, signal_numerics: {numerics}")
    (tmp_path / "shards.yaml").write_text(recipe)
    stage = run(tmp_path / "shards.yaml", tmp_path / "run")["results"]["stages"][-1]["results"]
    paths = sorted((tmp_path / "run/cache").glob("signal-*.h5"))
    assert len(paths) >= 2
    index = json.loads(index_of(paths[0]).read_text())
    assert index["whole"] and len(index["shards"]) == len(paths)
    for path, shard in zip(paths, index["shards"], strict=True):
        assert hashlib.sha256(path.read_bytes()[512:]).hexdigest() == shard["sha256"]
        with h5py.File(path) as file:
            assert len(file["lengths"]) == shard["documents"] and len(file["tokens"]) == shard["tokens"]
    whole = {path: path.read_bytes() for path in [*paths, index_of(paths[0])]}
    assert stage == learned_again(tmp_path / "run", paths[0])
    paths[1].unlink()
    shutil.rmtree(tmp_path / "run/checkpoints/2-distill")
    again = run(tmp_path / "shards.yaml", tmp_path / "run", "--resume")["results"]["stages"][-1]["results"]
    assert again == stage and whole == {path: path.read_bytes() for path in whole}


@pytest.mark.parametrize("loss", [["--losses", "reverse_kl=1"], ["--losses", "forward_kl=1", "--temperature", 2]])
def test_hidden_states_from_the_command_line(tmp_path, loss):
    """Any loss at any temperature, nearly as with the teacher beside the student; the student's vocabulary is cut."""
    text, teacher, student = tmp_path / "text.txt", tiny(tmp_path / "teacher"), tmp_path / "student"
    text.write_text((TEXT / "tiny_train.txt").read_text(encoding="utf-8")[:6000], encoding="utf-8")
    assert attar("prune", teacher, "-o", student, "--drop-layers", 1, "--keep-vocab", 900, "--data", text).returncode == 0
    command = ["--data", text, "--tokens", 900, "--batch-tokens", 256, "--sequence-tokens", 64, "--unsignalled", "online", "--json", "--quiet", *loss]
    told = {}
    for name in ("hidden", "online"):
        done = attar("distill", teacher, "--student", student, "-o", tmp_path / f"{name}.gguf", "--signal", name, *command)
        assert done.returncode == 0, done.stderr
        told[name] = json.loads(done.stdout)
    width = json.loads((teacher / "config.json").read_text())["hidden_size"]
    row = width + 4 * -(-width // 64)  # of every token, also of those that are not learned
    assert row <= told["hidden"]["signal_bytes_per_token"] < 1.2 * row and "dropped_mass" not in told["hidden"]
    assert told["hidden"]["final_loss"] == pytest.approx(told["online"]["final_loss"], rel=0.02)
    again = attar("distill", teacher, "--student", student, "-o", tmp_path / "again.gguf", "--signal", "hidden", *command, "--threads", 1)
    assert again.returncode == 0 and (tmp_path / "again.gguf").read_bytes() == (tmp_path / "hidden.gguf").read_bytes()


HIDDEN = "batch_tokens: 256, sequence_tokens: 64, signal: hidden, losses: {jsd: 1}"


def test_hidden_states_in_a_recipe(tmp_path):
    """Over text that the teacher wrote with a signal of its own; kept in the run and read again."""
    (tmp_path / "hidden.yaml").write_text(RECIPE.format(teacher=tiny(tmp_path / "teacher")).replace("batch_tokens: 256", HIDDEN))
    stage = run(tmp_path / "hidden.yaml", tmp_path / "run")["results"]["stages"][-1]["results"]
    assert stage["signal"] == "hidden" and 0 < stage["unsignalled_share"] < 1
    (kept,) = (tmp_path / "run/cache").glob("signal-*.h5")
    with h5py.File(kept) as file:
        width = int(file["hidden_width"][0])
        assert len(file["hidden_codes"]) == width * len(file["tokens"]) and file["signal_k"][0] == 0
        in_loss = file["in_loss"][:] == 1
        assert ((file["hidden_scales"][:].reshape(len(in_loss), -1) > 0).any(1) == in_loss).all()
    assert stage == learned_again(tmp_path / "run", kept)


def arrays_of(folder):
    """What a run kept of its teacher, in one file."""
    (kept,) = (folder / "cache").glob("signal-*.h5")
    with h5py.File(kept) as file:
        return kept, {name: file[name][:] for name in file} | {"numerics": file.attrs["signal_numerics"].decode()}


def assert_like_top_k(ours, theirs):
    """The same log-probabilities, and the same tokens where neighbours are apart; the last entry is what the student lacks."""
    named, p, q = ours["signal_ids"] >= 0, ours["signal_log_probs"], theirs["signal_log_probs"]
    assert (named == (theirs["signal_ids"] >= 0)).all() and named.any() and not named[:, -1].any()
    assert np.abs(p[named] - q[named]).max() < 1e-4
    assert np.abs(np.exp(p[~named]) - np.exp(q[~named])).max() < 1e-5
    asked = named.any(1)
    ids, other_ids, p = ours["signal_ids"][asked][:, 1:-2], theirs["signal_ids"][asked][:, 1:-2], p[asked][:, :-1]
    gaps = -np.diff(p, axis=1)
    apart = (gaps[:, 1:] > 2e-4) & (gaps[:, :-1] > 2e-4)
    assert apart.mean() > 0.5 and (ids[apart] == other_ids[apart]).all()


def assert_like_states(ours, theirs):
    states = []
    for arrays in (ours, theirs):
        width = int(arrays["hidden_width"][0])
        scales = np.repeat(arrays["hidden_scales"].reshape(len(arrays["tokens"]), -1), 64, axis=1)[:, :width]
        states.append(arrays["hidden_codes"].reshape(-1, width) * scales.astype(float))
    lengths = [np.linalg.norm(x, axis=1) for x in states]
    asked = ours["in_loss"] == 1
    asked[np.cumsum(ours["lengths"])[:-1]] = False  # nothing stands before a document's first token
    assert asked.any() and ((lengths[0] > 0) == asked).all() and ((lengths[1] > 0) == asked).all()
    assert ((states[0] * states[1]).sum(1)[asked] / (lengths[0] * lengths[1])[asked] > 0.9999).all()


@pytest.mark.parametrize("signal, assert_like", [("cached", assert_like_top_k), ("hidden", assert_like_states)])
def test_a_signal_by_the_passes_of_a_training(tmp_path, signal, assert_like):
    """That of the runtime in fp32 but for rounding, so a student learns the same; the same bytes with another number of threads; and no signal of
    one is taken for the other's."""
    text, teacher, runs, kept, learned = tmp_path / "text.txt", tiny(tmp_path / "teacher"), {}, {}, {}
    text.write_text((TEXT / "tiny_train.txt").read_text(encoding="utf-8")[:6000], encoding="utf-8")
    for numerics in ("fp32", "training"):
        recipe, runs[numerics] = tmp_path / f"{numerics}.yaml", tmp_path / f"run in {numerics}"
        recipe.write_text(of_a_text(teacher, text, f"signal: {signal}, signal_numerics: {numerics}"))
        learned[numerics] = run(recipe, runs[numerics])["results"]["stages"][-1]["results"]
        kept[numerics] = arrays_of(runs[numerics])
        assert learned[numerics]["signal_numerics"] == kept[numerics][1]["numerics"] == numerics and learned[numerics]["signal"] == signal
    assert_like(kept["training"][1], kept["fp32"][1])
    assert learned["training"]["final_loss"] == pytest.approx(learned["fp32"]["final_loss"], rel=1e-3)
    run(tmp_path / "training.yaml", tmp_path / "again", "--threads", 1)
    (mine, _), (others, _) = kept["training"], kept["fp32"]
    assert arrays_of(tmp_path / "again")[0].read_bytes() == mine.read_bytes() and mine.name != others.name
    (tmp_path / "rounded.yaml").write_text(of_a_text(teacher, text, f"signal: {signal}, signal_numerics: training, precision: bf16"))
    run(tmp_path / "rounded.yaml", tmp_path / "rounded")
    assert arrays_of(tmp_path / "rounded")[0].name != mine.name

    shutil.rmtree(runs["training"] / "checkpoints/2-distill")
    for path, other in ((mine, others), (index_of(mine), index_of(others))):
        shutil.copy(other, path)
    refused = resumed(tmp_path / "training.yaml", runs["training"])
    said = f"{index_of(mine).name}: was made of something else: options, numerics (fp32, not training)"
    assert refused.returncode == 3 and said in refused.stderr and "made anew" in refused.stderr, refused.stderr


def test_weights_of_text_that_is_cut_are_read_again(tmp_path):
    """A turn of the user fills parts of its own, which teach nothing and have no weights."""
    chats, words = tmp_path / "chats.jsonl", (TEXT / "tiny_train.txt").read_text(encoding="utf-8").split()[:300]
    turns = [{"role": "user", "content": " ".join(words)}, {"role": "assistant", "content": "So it is."}]
    chats.write_text(json.dumps({"messages": turns, "weight": 0.5}) + "\n")
    recipe = RECIPE.format(teacher=tiny(tmp_path / "teacher")).replace("train: [", f"chat_template: {TEXT / 'classifier_template.jinja'}\n  train: [{chats}, ")
    (tmp_path / "weights.yaml").write_text(recipe.replace("batch_tokens: 256", HIDDEN))
    stage = run(tmp_path / "weights.yaml", tmp_path / "run")["results"]["stages"][-1]["results"]
    (kept,) = (tmp_path / "run/cache").glob("signal-*.h5")
    assert stage == learned_again(tmp_path / "run", kept)


def test_a_recipe_with_two_numerics_in_one_signal_is_refused(tmp_path):
    recipe = tmp_path / "two.yaml"
    writes = "{teacher_writes: {tokens: 100, prompt: none, numerics: %s}}"
    recipe.write_text(f"teacher: {tiny(tmp_path / 'teacher')}\ndata: {{train: [{writes % 'fp32'}, {writes % 'deployed'}]}}\nstages: [distill: {{tokens: 100}}]\n")
    refused = attar("run", recipe, "--dry-run")
    assert refused.returncode == 2 and "numerics" in refused.stderr
    recipe.write_text(f"teacher: {tmp_path / 'teacher'}\ndata: {{train: [{writes % 'deployed'}, {TEXT / 'tiny_train.txt'}]}}\nstages: [distill: {{tokens: 100, signal: cached}}]\n")
    refused = attar("run", recipe, "--dry-run")
    assert refused.returncode == 2 and "signal_numerics" in refused.stderr
    recipe.write_text(recipe.read_text().replace("signal: cached", "signal: cached, signal_numerics: deployed"))
    assert attar("run", recipe, "--dry-run").returncode == 0
