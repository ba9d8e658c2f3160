"""Whole training steps of a student whose tokenizer is not its teacher's, against PyTorch: models of transformers in double, tokens and
their offsets by `tokenizers`, the chunks found by sets of offsets, losses by their formulas under autograd."""

import sys

import pytest
import torch
from conftest import BIN
from gguf_oracle import tiny_tokenizer
from train_step_test import BOUND, OPTIONS, assert_moved_alike, directory, in_double, torch_steps

pytestmark = pytest.mark.parity

sys.path.insert(0, str(BIN.parent / "python"))

# Neither cuts as the other does: chunks of one token and of several on either side.
TEACHER = [("a", "b"), ("ab", "c"), ("Ġ", "d"), ("e", "f"), ("ef", "ab")]
STUDENT = [("b", "c"), ("bc", "d"), ("Ġ", "d"), ("Ġd", "a"), ("f", "e")]


def documents():
    generator = torch.Generator().manual_seed(11)
    return ["".join("abcdef "[int(c)] for c in torch.randint(0, 7, (length,), generator=generator)).strip() for length in (9, 24, 60, 101, 33)]


def tokenizer_of(folder, size, merges):
    """Byte-level, with merges. -> `tokenizers` itself, from the file."""
    from tokenizers import Tokenizer

    tiny_tokenizer(folder, size, merges)
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def chunks_of(own, other):
    """Tokens [begin, end) of both readings between offsets where both end a token; those are predicted whose first token is not the
    first of its text."""
    ends = [[end for _, end in encoding.offsets] for encoding in (own, other)]
    shared, begin, chunks = sorted(set(ends[0]) & set(ends[1])), (0, 0), []
    for place in shared:
        end = (ends[0].index(place) + 1, ends[1].index(place) + 1)
        if min(begin) > 0:
            chunks.append((begin, end))
        begin = end
    return chunks


class AlignedLoss:
    """Of logits of both models and the student's next tokens. `teacher_ids` is asked first."""

    def __init__(self, teacher, student, weights, temperature=100.0, uld_temperature=1.0):
        self.weights, self.temperature, self.uld_temperature = weights, temperature, uld_temperature
        self.readings = {tuple(own.ids): (own, teacher.encode(text)) for text in documents() for own in [student.encode(text)]}

    def teacher_ids(self, tokens):
        own, other = self.readings[tuple(tokens)]
        self.chunks, self.other = chunks_of(own, other), other.ids
        return self.other

    def likelihoods(self, logits, tokens, side):
        next_ids = torch.tensor(tokens[1:])
        log_probs = torch.log_softmax(logits, -1).gather(1, next_ids[:, None])[:, 0]
        return torch.stack([log_probs[begin[side] - 1 : end[side] - 1].sum() for begin, end in self.chunks])

    def __call__(self, z, y, ids):
        loss = self.weights.get("cross_entropy", 0) * torch.nn.functional.cross_entropy(z, ids, reduction="sum")
        if "aligned_likelihood" in self.weights:
            log_q, log_p = self.likelihoods(z, [-1, *ids], 0) / self.temperature, self.likelihoods(y, self.other, 1) / self.temperature
            p, not_p = log_p.exp(), -torch.expm1(log_p)
            divergence = p * (log_p - log_q) + not_p * (not_p.log() - torch.log(-torch.expm1(log_q)))
            loss = loss + self.weights["aligned_likelihood"] * self.temperature * divergence.sum()
        if "uld" in self.weights:
            t = self.uld_temperature
            q, p = (torch.softmax(x[[begin[side] - 1 for begin, _ in self.chunks]] / t, -1).sort(-1, descending=True).values for side, x in enumerate((z, y)))
            wide = max(q.size(1), p.size(1))
            q, p = (torch.nn.functional.pad(x, (0, wide - x.size(1))) for x in (q, p))
            loss = loss + self.weights["uld"] * t**2 * (q - p).abs().sum()
        return loss


CASES = [
    ("llama_tied", "qwen3", 1, {"aligned_likelihood": 1.0}, {}),
    ("qwen2", "llama_tied", 3, {"aligned_likelihood": 0.8, "cross_entropy": 0.2}, {"aligned_likelihood_temperature": 3.0}),
    ("llama_untied_odd_heads", "qwen2", 1, {"aligned_likelihood": 1.0}, {"aligned_likelihood_temperature": 10.0}),
    # At 0.3 two sorted probabilities are equal but for rounding, and the loss has a corner there.
    ("llama_tied", "llama_untied_odd_heads", 1, {"uld": 1.0}, {"uld_temperature": 0.35}),
    ("qwen3", "llama_tied", 1, {"uld": 0.5, "aligned_likelihood": 0.5, "cross_entropy": 0.1}, {"uld_temperature": 2.0}),
]


@pytest.mark.parametrize(("student_name", "teacher_name", "steps", "weights", "settings"), CASES)
def test_steps_are_pytorchs(tmp_path, student_name, teacher_name, steps, weights, settings):
    import attar

    teacher, student = directory(tmp_path / "teacher", teacher_name, 1, 331), directory(tmp_path / "student", student_name, 2)
    readers = tokenizer_of(teacher, 331, TEACHER), tokenizer_of(student, 300, STUDENT)
    loss = AlignedLoss(*readers, weights, settings.get("aligned_likelihood_temperature", 100.0), settings.get("uld_temperature", 1.0))
    chunks = [chunk for own, other in loss.readings.values() for chunk in chunks_of(own, other)]
    sizes = {(end[0] - begin[0], end[1] - begin[1]) for begin, end in chunks}
    assert {(1, 1), (1, 2), (2, 1)} <= sizes and any(min(size) > 1 for size in sizes)
    (tmp_path / "text.txt").write_text("\n<|endoftext|>\n".join(documents()))
    tokens = [list(ids) for ids in loss.readings]
    count = sum(len(ids) - 1 for ids in tokens)
    told = attar.distill(teacher, student, tmp_path / "taught", data=tmp_path / "text.txt", tokens=steps * count, losses=weights, loss_settings=settings, **OPTIONS)
    assert (told["steps"], told["tokens"]) == (steps, steps * count)
    assert any(f"{len(chunks)} chunks" in note for note in told["notes"])
    model = in_double(student)
    losses = torch_steps(model, in_double(teacher), tokens, steps, loss)
    assert told["final_loss"] == pytest.approx(losses[-1], rel=BOUND)
    assert_moved_alike(student, tmp_path / "taught", model, BOUND)
