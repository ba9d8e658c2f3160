"""Whole training steps from a kept signal, against PyTorch: hidden states and samples are read from their HDF5 files by h5py and decoded
here by the format's description, the losses are their formulas in double under autograd. Also tokens that the signal says nothing about,
and lines that have a weight."""

import json
import math
import subprocess
import types

import h5py
import numpy as np
import pytest
import torch
from aligned_step_test import TEACHER as MERGES
from aligned_step_test import tokenizer_of
from causal_lm_test import CASES
from conftest import program
from train_step_test import BOUND, DIVERGENCES, OPTIONS, assert_moved_alike, directory, in_double, kl, texts, torch_steps

pytestmark = pytest.mark.parity

LOSSES = {"forward_kl": 0.7, "cross_entropy": 0.3}
WIDE = "llama_of_two_groups"  # the groups of 64 that share a scale: the second is of 16


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setitem(CASES, WIDE, (CASES["llama_tied"][0], {"tie_word_embeddings": False, "hidden_size": 80}))


class Bits:
    """A stream of numbers of a few bits each, the lowest first."""

    def __init__(self, data):
        self.value, self.size, self.at = int.from_bytes(data, "little"), 8 * len(data), 0

    def take(self, count):
        taken = self.value >> self.at & ((1 << count) - 1)
        self.at += count
        assert self.at <= self.size
        return taken

    def unary(self):
        count = 0
        while self.take(1):
            count += 1
        return count

    def gamma(self):
        count = self.unary()
        return 1 << count | self.take(count)

    def end_row(self):
        self.at = -(-self.at // 8) * 8


def sampled_row(bits, id_bits):
    """-> ({id: probability} of what is kept as it is, {id: draws} of the rest, entropy); None where the teacher says nothing."""
    entries, cut = bits.take(3), bits.take(1)
    if cut:
        bits.take(12)  # the teacher's mass on tokens that the student lacks
    row = None
    if entries:
        kept, draws, after = {}, {}, 0
        for _ in range(entries):
            token = bits.take(id_bits)
            kept[token] = math.exp(-bits.take(10) / 32)
        entropy = bits.take(10) / 64
        drawn = bits.gamma() - 1
        low = max(0, id_bits - drawn.bit_length())
        for _ in range(drawn):
            high = bits.unary()
            token = after + (high << low | bits.take(low))
            draws[token] = bits.unary() + 1
            after = token + 1
        row = kept, draws, entropy
    bits.end_row()
    return row


def shares(kept, draws):
    """The draws share what is left of 1."""
    known, count = sum(kept.values()), sum(draws.values())
    rest = max(0.0, 1 - known) if draws else 0.0
    return {token: p / (known + rest) for token, p in kept.items()} | {token: rest * n / count / (known + rest) for token, n in draws.items()}


def in_other_ids(row, new_id):
    """The row written again where no token of it is cut away."""
    if row is None:
        return None
    kept, draws, entropy = row
    share = shares(kept, draws)
    rounded = {new_id[token]: math.exp(-math.floor(-32 * math.log(share[token]) + 0.5) / 32) for token in kept}
    return rounded, {new_id[token]: n for token, n in draws.items()}, entropy


def kept_documents(path):
    """Tokens, which of them are learned, their weights, and of each token the teacher's state or sampled row, or None."""
    with h5py.File(path) as file:
        arrays = {name: file[name][:] for name in file}
    ends = np.cumsum(arrays["lengths"])
    of_tokens = {"tokens": arrays["tokens"], "in_loss": arrays["in_loss"] == 1, "weights": arrays.get("weights", np.ones(ends[-1], np.float32)).astype(float)}
    if "hidden_width" in arrays:
        width = int(arrays["hidden_width"][0])
        assert (arrays["hidden_documents"] == 1).all()
        codes, scales = arrays["hidden_codes"].reshape(-1, width), arrays["hidden_scales"].reshape(len(of_tokens["tokens"]), -1)
        of_tokens["states"] = codes * np.repeat(scales.astype(float), 64, axis=1)[:, :width]
    parts = zip(*(np.split(values, ends[:-1]) for values in of_tokens.values()), strict=True)
    documents = [types.SimpleNamespace(**dict(zip(of_tokens, values, strict=True))) for values in parts]
    for document in documents:
        if not document.weights.any():  # it has none
            document.weights[:] = 1
    if "hidden_width" in arrays:
        for document in documents:
            document.rows = [state if state.any() else None for state in document.states]
    else:
        at, (samples, id_bits) = 0, map(int, arrays["sampled_form"])
        assert samples == 24
        for document, size in zip(documents, arrays["sampled_bytes"], strict=True):
            bits = Bits(arrays["sampled_signal"][at : at + size].tobytes())
            document.rows = [sampled_row(bits, id_bits) for _ in document.tokens]
            assert bits.at == bits.size
            at += size
    return documents


def trained(tmp_path, teacher, student, text, **options):
    """A recipe with one distillation is run. -> the lines of its steps, the file of its signal"""
    recipe = {"teacher": str(teacher), "student": str(student), "data": {"train": [str(text)]}, "stages": [{"distill": OPTIONS | options}]}
    (tmp_path / "step.yaml").write_text(json.dumps(recipe))
    done = subprocess.run([program("attar"), "run", tmp_path / "step.yaml", "--out", tmp_path / "run", "--quiet"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (kept,) = (tmp_path / "run/cache").glob("signal-*.h5")
    return [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()], kept


class KeptLoss:
    """For torch_steps: tokens of the loss, each by its document's row, or where there is none by `without`, of the student's logits, the
    teacher's beside it and the next tokens. `of_rows`: of the student's logits, a document and the next tokens. Both give a loss a token."""

    def __init__(self, documents, of_rows, without=None, to_teacher=None):
        self.of = {tuple(document.tokens.tolist()): document for document in documents}
        self.of_rows, self.without, self.to_teacher = of_rows, without, to_teacher
        learned = float(sum((document.weights * document.in_loss)[1:].sum() for document in documents))
        self.per_token = sum(len(document.tokens) - 1 for document in documents) / learned  # torch_steps divides by all tokens

    def teacher_ids(self, tokens):
        self.now = self.of[tuple(tokens)]
        return tokens if self.to_teacher is None else [self.to_teacher[token] for token in tokens]

    def __call__(self, z, y, ids):
        loss = self.of_rows(z, self.now, ids)
        known = torch.tensor([row is not None for row in self.now.rows[1:]])
        if self.without is not None:
            loss = torch.where(known, loss, self.without(z, y, ids))
        else:
            assert known[torch.from_numpy(self.now.in_loss[1:])].all()
        counts = torch.from_numpy((self.now.weights * self.now.in_loss)[1:])
        return self.per_token * (counts * loss).sum()


def text_loss(z, ids):
    return torch.nn.functional.cross_entropy(z, ids, reduction="none")


def by_states(head, loss):
    """`loss`: of the student's logits, the teacher's and the next tokens. What has no state gets one of 0, which nothing looks at."""

    def of_rows(z, document, ids):
        return loss(z, torch.from_numpy(document.states[1:]) @ head.T, ids)

    return of_rows


def mixed_loss(z, y, ids):
    return LOSSES["forward_kl"] * kl(torch.log_softmax(y, -1), torch.log_softmax(z, -1)) + LOSSES["cross_entropy"] * text_loss(z, ids)


def by_samples(z, document, ids):
    """Forward KL: the cross-entropy against what was kept, less the entropy of the teacher."""
    target, entropies = torch.zeros_like(z), torch.zeros(len(z), dtype=z.dtype)
    for i, row in enumerate(document.rows[1:]):
        if row is not None:
            kept, draws, entropies[i] = row
            for token, share in shares(kept, draws).items():
                target[i, token] = share
    forward_kl = -(target * torch.log_softmax(z, -1)).sum(-1) - entropies
    return LOSSES["forward_kl"] * forward_kl + LOSSES["cross_entropy"] * text_loss(z, ids)


def head_of(model):
    return model.get_output_embeddings().weight.detach()


def check(tmp_path, signal, steps, text, loss_of, **options):
    """`loss_of`: the KeptLoss of the kept documents. Every step's loss, and what it moved."""
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    count = options.pop("count")
    lines, kept = trained(tmp_path, teacher, student, text, tokens=steps * count, signal=signal, **options)
    assert [line["tokens"] for line in lines] == [count * (step + 1) for step in range(steps)]
    loss, model = loss_of(kept_documents(kept)), in_double(student)
    losses = torch_steps(model, in_double(teacher), [list(tokens) for tokens in loss.of], steps, loss)
    # A sample's value is a difference of two entropies of 5 nats, and may be next to nothing.
    assert [line["loss"] for line in lines] == pytest.approx(losses, rel=BOUND, abs=BOUND)
    assert_moved_alike(student, tmp_path / "run/checkpoints/1-distill/final", model, BOUND)
    return lines


def plain(tmp_path, name):
    """Two models and a text. -> the text, its tokens that are learned"""
    for seed, who in enumerate(("teacher", "student"), 1):
        directory(tmp_path / who, name, seed)
    (tmp_path / "text.txt").write_text("\n<|endoftext|>\n".join(texts()))
    return tmp_path / "text.txt", sum(len(text) - 1 for text in texts())


@pytest.mark.parametrize("name", ["llama_tied", "qwen3", WIDE])
def test_steps_from_hidden_states(tmp_path, name):
    text, count = plain(tmp_path, name)
    head = head_of(in_double(tmp_path / "teacher"))
    check(tmp_path, "hidden", 2, text, lambda documents: KeptLoss(documents, by_states(head, mixed_loss)), count=count, losses=LOSSES)


@pytest.mark.parametrize("name", ["reverse_kl", "jsd", "skew_reverse_kl"])
def test_a_step_from_hidden_states_by_any_loss(tmp_path, name):
    """At a temperature of its own."""
    text, count = plain(tmp_path, WIDE)
    head = head_of(in_double(tmp_path / "teacher"))
    divergence, settings = DIVERGENCES[name]

    def loss(z, y, _):
        return 2.25 * divergence(torch.log_softmax(y / 1.5, -1), torch.log_softmax(z / 1.5, -1))

    settings = settings | {f"{name}_temperature": 1.5}
    check(tmp_path, "hidden", 1, text, lambda documents: KeptLoss(documents, by_states(head, loss)), count=count, losses={name: 1.0}, loss_settings=settings)


@pytest.mark.parametrize("numerics", ["fp32", "training"])
def test_hidden_states_are_the_teachers(tmp_path, numerics):
    """Each number within half a step of its group, which is the group's largest over 127."""
    text, count = plain(tmp_path, WIDE)
    _, kept = trained(tmp_path, tmp_path / "teacher", tmp_path / "student", text, tokens=count, signal="hidden", signal_numerics=numerics, losses=LOSSES)
    teacher = in_double(tmp_path / "teacher")
    for document in kept_documents(kept):
        with torch.no_grad():
            states = teacher.model(torch.tensor([document.tokens.tolist()])).last_hidden_state[0, :-1].numpy()
        steps = [np.abs(states[:, group]).max(1, keepdims=True) / 127 for group in (slice(64), slice(64, 80))]
        off = np.abs(document.states[1:] - states)
        assert (off[:, :64] <= 0.501 * steps[0]).all() and (off[:, 64:] <= 0.501 * steps[1]).all()


@pytest.mark.parametrize("name", ["llama_tied", "qwen3"])
@pytest.mark.parametrize("steps", [1, 2])
def test_steps_from_a_sample(tmp_path, name, steps):
    text, count = plain(tmp_path, name)
    check(tmp_path, "sampled", steps, text, lambda documents: KeptLoss(documents, by_samples), count=count, losses=LOSSES)


@pytest.mark.parametrize("numerics", ["fp32", "training"])
def test_a_sample_is_the_teachers(tmp_path, numerics):
    """What is kept as it is: the likeliest token and all above 1/8, within half a step of 1/32 of their logarithms; the entropy within
    half a step of 1/64; as many draws as the rest's share of 24, of other tokens."""
    text, count = plain(tmp_path, "llama_tied")
    _, kept = trained(tmp_path, tmp_path / "teacher", tmp_path / "student", text, tokens=count, signal="sampled", signal_numerics=numerics, losses=LOSSES)
    teacher = in_double(tmp_path / "teacher")
    rounding = 1e-4  # of f32 logits
    for document in kept_documents(kept):
        with torch.no_grad():
            log_p = torch.log_softmax(teacher(torch.tensor([document.tokens.tolist()])).logits[0, :-1], -1).numpy()
        assert document.rows[0] is None
        for (exact, draws, entropy), row in zip(document.rows[1:], log_p, strict=True):
            assert next(iter(exact)) == row.argmax() and {token for token, p in enumerate(np.exp(row)) if p > 0.126} <= set(exact)
            for token, p in exact.items():
                assert math.log(p) == pytest.approx(row[token], abs=1 / 64 + rounding)
            assert entropy == pytest.approx(-(np.exp(row) * row).sum(), abs=1 / 128 + rounding)
            assert sum(draws.values()) == math.ceil(24 * (1 - sum(exact.values()))) and not set(draws) & set(exact)


@pytest.mark.parametrize("signal", ["hidden", "sampled"])
def test_a_line_counts_by_its_weight(tmp_path, signal):
    _, count = plain(tmp_path, "llama_tied")
    weights = [2.0, 0.5, 1.0, 3.0, 0.25, 1.0]
    lines = tmp_path / "text.jsonl"
    lines.write_text("".join(json.dumps({"text": text, "weight": weight}) + "\n" for text, weight in zip(texts(), weights, strict=True)))
    head = head_of(in_double(tmp_path / "teacher"))

    def loss_of(documents):
        assert [set(document.weights[1:].tolist()) for document in documents] == [{weight} for weight in weights]
        return KeptLoss(documents, by_states(head, mixed_loss) if signal == "hidden" else by_samples)

    check(tmp_path, signal, 1, lines, loss_of, count=count, losses=LOSSES)


def spelled_texts():
    generator = torch.Generator().manual_seed(12)
    pieces = ["abc", "ef", "efab", " d", "ab", "c", "e", "f", "a", "b"]
    return ["".join(pieces[int(p)] for p in torch.randint(0, len(pieces), (count,), generator=generator)).strip() for count in (4, 10, 24, 32, 15)]


def byte_spans(reading):
    """[(begin, end)] of the tokens of a text of single bytes."""
    ends = np.cumsum([len(token) for token in reading.tokens]).tolist()
    return list(zip([0, *ends], ends, strict=False))


def spelled_anew(documents, teacher, student):
    """The documents in the student's tokens: the signal stays where both have the same bytes, and what begins within a token of the teacher
    is learned as that is. Both byte-level."""
    ids, own = teacher.get_vocab(), student.get_vocab()
    new_id, out = {ids[token]: number for token, number in own.items()}, []
    for document, text in zip(documents, spelled_texts(), strict=True):
        old, new = teacher.encode(text), student.encode(text)
        assert old.ids == document.tokens.tolist()
        before, now = byte_spans(old), byte_spans(new)
        under = [next(t for t, (begin, end) in enumerate(before) if begin <= span[0] < end) for span in now]
        same = [before[t] == span for t, span in zip(under, now, strict=True)]
        again = types.SimpleNamespace(tokens=np.array(new.ids), in_loss=document.in_loss[under], weights=document.weights[under])
        if hasattr(document, "states"):
            again.states = document.states[under] * np.array(same)[:, None]
            again.rows = [state if state.any() else None for state in again.states]
        else:
            again.rows = [in_other_ids(document.rows[t], new_id) if is_same else None for t, is_same in zip(under, same, strict=True)]
        out.append(again)
    return out


@pytest.mark.parametrize("signal, unsignalled", [("hidden", "cross_entropy"), ("hidden", "online"), ("sampled", "cross_entropy"), ("sampled", "online")])
def test_what_the_signal_says_nothing_about(tmp_path, signal, unsignalled):
    """The student lacks four of the teacher's tokens: what they spell is learned by the text, at the weight of all losses, or from the
    teacher beside it, over the tokens that the student has."""
    teacher, student = directory(tmp_path / "teacher", "llama_tied", 1, 331), directory(tmp_path / "student", "llama_tied", 2, 257)
    readers = tokenizer_of(teacher, 331, MERGES), tokenizer_of(student, 257, MERGES[:1])
    kept = [token for _, token in sorted((number, readers[0].get_vocab()[token]) for token, number in readers[1].get_vocab().items())]
    (tmp_path / "text.txt").write_text("\n<|endoftext|>\n".join(spelled_texts()))
    head = head_of(in_double(teacher))[kept]

    def without(z, y, ids):
        return text_loss(z, ids) if unsignalled == "cross_entropy" else mixed_loss(z, y[:, kept], ids)

    seen = []

    def loss_of(documents):
        seen.extend(spelled_anew(documents, *readers))
        return KeptLoss(seen, by_states(head, mixed_loss) if signal == "hidden" else by_samples, without, kept)

    count = sum(learned_tokens(text, *readers) for text in spelled_texts())
    (line,) = check(tmp_path, signal, 1, tmp_path / "text.txt", loss_of, count=count, losses=LOSSES, unsignalled=unsignalled)
    silent = sum(row is None for document in seen for row, learned in zip(document.rows[1:], document.in_loss[1:], strict=True) if learned)
    assert 0.05 < silent / count < 0.9 and line["unsignalled"] == pytest.approx(silent / count)


def learned_tokens(text, teacher, student):
    """Of the student's reading: all but what its first token of the teacher's spells."""
    first = byte_spans(teacher.encode(text))[0]
    return sum(begin >= first[1] for begin, _ in byte_spans(student.encode(text)))
