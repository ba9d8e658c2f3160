"""Whole training steps (forward, losses, gradient, clipping, schedule, AdamW) against PyTorch: transformers' model in double, its
autograd and torch.optim.AdamW; Muon by its formula in double, which is torch.optim.Muon's but for the latter's bf16."""

import json
import math
import re
import sys

import pytest
import torch
import transformers
from causal_lm_test import CASES, TINY
from conftest import BIN
from gguf_oracle import tiny_tokenizer
from safetensors.torch import load_file

pytestmark = pytest.mark.parity

sys.path.insert(0, str(BIN.parent / "python"))

VOCABULARY = 300
# Of each tensor's change, as 2-norms. Gradients and weights are f32 there: 1e-6 of the change at these step sizes.
BOUND = 1e-5
# The iteration of Muon raises small singular values up to 3.4445**5 = 485-fold, and f32's rounding with them: 1.2e-5 seen.
MUON_BOUND = 1e-4
OPTIONS = {
    "temperature": 1.0,
    "learning_rate": 0.3,
    "final_learning_rate_ratio": 0.2,
    "warmup": 0.0,
    "weight_decay": 0.1,
    "beta1": 0.8,
    "beta2": 0.95,
    "epsilon": 0.004,
    "clip_norm": 0.05,
    "batch_tokens": 4096,
    "sequence_tokens": 128,
}  # an epsilon of the size of gradients: steps that show how large they are


def directory(folder, name, seed, vocabulary=VOCABULARY):
    """A random model of one family as transformers saves it."""
    config_class, changes = CASES[name]
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config_class(**{**TINY, "vocab_size": vocabulary, "max_position_embeddings": 256, "initializer_range": 0.1, **changes}))
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if parameter_name.endswith("bias") or "norm" in parameter_name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    tiny_tokenizer(folder, vocabulary)
    return folder


def recorded_attention(module, query, key, value, mask, scaling, **_):
    """Eager attention that leaves what it compares, (T, heads * D) each, with its module."""
    module.compared = [x[0].transpose(0, 1).flatten(1) for x in (query, key, value)]
    groups = query.size(1) // key.size(1)
    scores = query @ key.repeat_interleave(groups, 1).transpose(2, 3) * scaling
    weights = torch.softmax(scores + mask[..., : key.size(2)], -1)
    return (weights @ value.repeat_interleave(groups, 1)).transpose(1, 2), weights


transformers.AttentionInterface.register("recorded", recorded_attention)
transformers.AttentionMaskInterface.register("recorded", transformers.masking_utils.eager_mask)


def in_double(folder):
    """A model whose layers keep what they gave last, as `shown`."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="recorded")
    for layer in model.model.layers:
        layer.register_forward_hook(lambda module, _, given: setattr(module, "shown", given[0] if isinstance(given, tuple) else given))
    return model


def texts():
    """Without the first token: transformers takes it for Gemma's padding and gives it no gradient."""
    generator = torch.Generator().manual_seed(5)
    return ["".join(chr(34 + int(c)) for c in torch.randint(0, 90, (length,), generator=generator)) for length in (7, 19, 33, 64, 90, 21)]


def dense_loss(logits, teacher, next_tokens, weights, temperature):
    log_q, log_p = (torch.log_softmax(x / temperature, -1) for x in (logits, teacher))
    kl = temperature**2 * (log_p.exp() * (log_p - log_q)).sum()
    return weights["forward_kl"] * kl + weights["cross_entropy"] * torch.nn.functional.cross_entropy(logits, next_tokens, reduction="sum")


def top_k_loss(logits, teacher, k):
    log_q, (log_p, ids) = torch.log_softmax(logits, -1), torch.log_softmax(teacher, -1).topk(k)
    kept = log_q.gather(1, ids)
    tail_p = -torch.expm1(torch.logsumexp(log_p, 1))
    tail_q = torch.logsumexp(log_q.scatter(1, ids, -torch.inf), 1)
    return ((log_p.exp() * (log_p - kept)).sum(1) + tail_p * (tail_p.log() - tail_q)).sum()


def orthogonal(x):
    """Newton-Schulz with Jordan's coefficients (https://kellerjordan.github.io/posts/muon), in x's own precision."""
    tall = x.size(0) > x.size(1)
    x = (x.T if tall else x) / x.norm()
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x


class Muon:
    """In double. Scaled as in Liu et al. 2025, arXiv 2502.16982, section 2.2. `matrices`: each with the rows that step by themselves."""

    def __init__(self, matrices, momentum, weight_decay):
        self.momenta, self.momentum, self.weight_decay = [(m, rows, torch.zeros_like(m)) for m, rows in matrices], momentum, weight_decay

    @torch.no_grad()
    def step(self, rate):
        for matrix, rows, momentum in self.momenta:
            momentum.mul_(self.momentum).add_(matrix.grad)
            update = torch.cat([orthogonal(part) for part in (matrix.grad + self.momentum * momentum).split(rows)])
            matrix.mul_(1 - rate * self.weight_decay).sub_(update, alpha=rate * 0.2 * math.sqrt(max(rows, matrix.shape[1])))


def of_the_layers(model):
    """Its matrices, each with the rows of a head where it has heads."""
    named = [(name, p) for name, p in model.named_parameters() if p.dim() == 2 and ".layers." in name]
    return [(p, model.config.head_dim if re.search(r"\.[qkv]_proj\.", name) else len(p)) for name, p in named]


def torch_steps(student, teacher, documents, steps, loss_of, optimizer="adamw"):
    """The named weights after `steps` steps, each over all documents; also the loss before each. `loss_of`: of logits,
    the teacher's and the next tokens, or where it has a part `inside`, also of both models as they have just run;
    `teacher_ids`: what the teacher reads in place of these tokens."""
    muon = Muon(of_the_layers(student) if optimizer == "muon" else [], 0.9, OPTIONS["weight_decay"])
    by_adamw = [p for p in student.parameters() if all(p is not m for m, *_ in muon.momenta)]
    groups = [
        {"params": [p for p in by_adamw if p.dim() == 2], "weight_decay": OPTIONS["weight_decay"]},
        {"params": [p for p in by_adamw if p.dim() != 2], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, betas=(OPTIONS["beta1"], OPTIONS["beta2"]), eps=OPTIONS["epsilon"])
    count, losses = sum(len(tokens) - 1 for tokens in documents), []
    for step in range(steps):
        loss = 0
        for tokens in documents:
            ids = torch.tensor([tokens])
            read = torch.tensor([loss_of.teacher_ids(tokens)]) if hasattr(loss_of, "teacher_ids") else ids
            with torch.no_grad():
                taught = teacher(read).logits[0, :-1]
            loss = loss + loss_of(student(ids).logits[0, :-1], taught, ids[0, 1:])
            if hasattr(loss_of, "inside"):
                loss = loss + loss_of.inside(student.model.layers, teacher.model.layers)
        loss = loss / count
        student.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), OPTIONS["clip_norm"])
        ratio = OPTIONS["final_learning_rate_ratio"]
        for group in adamw.param_groups:
            group["lr"] = OPTIONS["learning_rate"] * (ratio + (1 - ratio) * 0.5 * (1 + math.cos(math.pi * step / steps)))
        adamw.step()
        muon.step(adamw.param_groups[0]["lr"])
        losses.append(loss.item())
    return losses


def check(tmp_path, name, steps, loss_of, bound, **options):
    import attar

    teacher, student = directory(tmp_path / "teacher", name, 1), directory(tmp_path / "student", name, 2)
    (tmp_path / "text.txt").write_text("\n<|endoftext|>\n".join(texts()))
    tokenize = attar.Model(student, numerics="fp32").tokenize
    documents = [list(tokenize(text)) for text in texts()]
    count = sum(len(tokens) - 1 for tokens in documents)
    taught = attar.distill(teacher, student, tmp_path / "taught", data=tmp_path / "text.txt", tokens=steps * count, **OPTIONS, **options)
    assert (taught["steps"], taught["tokens"]) == (steps, steps * count)
    model = in_double(student)
    losses = torch_steps(model, in_double(teacher), documents, steps, loss_of, options.get("optimizer", "adamw"))
    assert taught["final_loss"] == pytest.approx(losses[-1], rel=bound)
    assert_moved_alike(student, tmp_path / "taught", model, bound)


def assert_moved_alike(student, taught, model, bound):
    """Every tensor of `taught` changed from what it is in the folder `student` as it did in `model`."""
    before, after = (load_file(folder / "model.safetensors") for folder in (student, taught))
    expected, wrong = dict(model.named_parameters()), {}
    assert set(before) == set(after) and len(before) >= 20
    for tensor, old in before.items():
        change = expected[tensor].detach() - old.double()
        error = (after[tensor].double() - old.double() - change).norm() / change.norm()
        assert change.norm() > 1e-3, tensor
        # What moves the norms of queries and keys all but cancels (attention sees differences alone): f32 keeps less of it.
        if not error < (2 * bound if "_norm" in tensor and "self_attn" in tensor else bound):
            wrong[tensor] = float(error)
    assert not wrong, json.dumps(wrong, indent=1)


@pytest.mark.parametrize("name", ["llama_tied", "llama_untied_odd_heads", "qwen2", "qwen3", "gemma3_short_window"])
@pytest.mark.parametrize("steps", [1, 3])
def test_steps_are_pytorchs(tmp_path, name, steps):
    weights = {"forward_kl": 0.7, "cross_entropy": 0.3}
    check(tmp_path, name, steps, lambda z, y, ids: dense_loss(z, y, ids, weights, OPTIONS["temperature"]), BOUND, losses=weights, signal="online")


def test_the_formula_of_muon_is_torchs():
    """Which multiplies in bf16: eight bits, through five products of products."""
    generator = torch.Generator().manual_seed(1)
    ours = [torch.nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64)) for shape in [(24, 40), (40, 24), (30, 30)]]
    theirs = [torch.nn.Parameter(p.detach().float()) for p in ours]
    muon = Muon([(p, len(p)) for p in ours], 0.9, 0.1)
    torchs = torch.optim.Muon(theirs, lr=0.03, weight_decay=0.1, momentum=0.9, nesterov=True, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        before = [p.detach().clone() for p in ours]
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator, dtype=torch.float64)
            b.grad = a.grad.float()
        muon.step(0.03)
        torchs.step()
    for a, b, old in zip(ours, theirs, before, strict=True):
        assert (a - b).norm() < 0.03 * (a - old).norm()


@pytest.mark.parametrize("name", ["llama_tied", "llama_untied_odd_heads", "gemma3_short_window"])
@pytest.mark.parametrize("steps", [1, 3])
def test_steps_of_muon_are_its_formula(tmp_path, name, steps):
    weights = {"forward_kl": 0.7, "cross_entropy": 0.3}
    check(tmp_path, name, steps, lambda z, y, ids: dense_loss(z, y, ids, weights, 1.0), MUON_BOUND, losses=weights, signal="online", optimizer="muon", muon_momentum=0.9)


def test_a_step_at_another_temperature(tmp_path, monkeypatch):
    monkeypatch.setitem(OPTIONS, "temperature", 2.5)
    weights = {"forward_kl": 1.0, "cross_entropy": 0.0}
    check(tmp_path, "qwen3_tied", 1, lambda z, y, ids: dense_loss(z, y, ids, weights, 2.5), BOUND, losses=weights, signal="online")


@pytest.mark.parametrize("numerics", ["fp32", "training"])
def test_a_step_from_a_cached_signal(tmp_path, numerics):
    """Of eight tokens of 300: the tail is most of the mass. The signal is the runtime's in f32 or the training's, kept as f32."""
    kept = {"signal": "cached", "signal_top_k": 8, "signal_numerics": numerics}
    check(tmp_path, "llama_tied", 2, lambda z, y, _: top_k_loss(z, y, 8), BOUND, losses={"forward_kl": 1.0}, **kept)


def relation_loss(student, teacher, heads):
    """MiniLMv2's KL for one kind, causal, of all tokens but the last; x (T, heads * D)."""

    def log_relations(x):
        parts = x.unflatten(1, (heads, -1)).transpose(0, 1)
        scores = parts @ parts.transpose(1, 2) / math.sqrt(parts.size(2))
        ahead = torch.ones(scores.shape[1:], dtype=torch.bool).triu(1)
        return torch.log_softmax(scores.masked_fill(ahead, -1e30), -1)

    log_p, log_q = log_relations(teacher), log_relations(student)
    return (log_p.exp() * (log_p - log_q))[:, :-1].sum() / heads


def feature_loss(student, teacher):
    """Hidden states of each layer, and the relations of the last: half, .3 and .4 of each."""
    loss = 0
    for mine, its in zip(student, teacher, strict=True):
        x, t = mine.shown.flatten(0, -2)[:-1], its.shown.flatten(0, -2)[:-1].detach()
        distance = (x - t).square().sum(1) / t.square().sum(1)
        cosine = torch.nn.functional.cosine_similarity(x, t, 1)
        loss = loss + (0.5 * distance + 0.3 * (1 - cosine)).sum() / len(student)
    for mine, its in zip(student[-1].self_attn.compared, teacher[-1].self_attn.compared, strict=True):
        loss = loss + 0.4 / 3 * relation_loss(mine, its.detach(), student[-1].self_attn.config.num_key_value_heads)
    return loss


@pytest.mark.parametrize("name", ["llama_tied", "llama_untied_odd_heads", "qwen2", "qwen3", "gemma3_short_window"])
def test_a_step_with_features(tmp_path, name):
    def loss(z, y, ids):
        return dense_loss(z, y, ids, {"forward_kl": 0.7, "cross_entropy": 0.3}, 1.0)

    loss.inside = feature_loss
    features = {"hidden_mse": 0.5, "hidden_cosine": 0.3, "attention_relation": 0.4}
    check(tmp_path, name, 2, loss, BOUND, losses={"forward_kl": 0.7, "cross_entropy": 0.3}, signal="online", features=features)


def mixed(log_p, log_q, share):
    """log of share * p + (1 - share) * q"""
    return torch.logsumexp(torch.stack([log_p + math.log(share), log_q + math.log1p(-share)]), 0)


def kl(log_a, log_b):
    return torch.nn.functional.kl_div(log_b, log_a, reduction="none", log_target=True).sum(-1)


def jsd(log_p, log_q):
    m = mixed(log_p, log_q, 0.3)
    return 0.3 * kl(log_p, m) + 0.7 * kl(log_q, m)


def adaptive(log_p, log_q):
    """Head: the likeliest tokens of the teacher until half of its mass is reached."""
    p, order = log_p.exp().sort(-1, descending=True)
    gap = (log_p.exp() - log_q.exp()).abs().detach().gather(-1, order)
    head = (gap * (p.cumsum(-1) - p < 0.5)).sum(-1) / gap.sum(-1)
    return head * kl(log_p, log_q) + (1 - head) * kl(log_q, log_p)


def taid(log_p, log_q, share=0.4):
    return kl(torch.log_softmax((1 - share) * log_q.detach() + share * log_p, -1), log_q)


DIVERGENCES = {
    "reverse_kl": (lambda log_p, log_q: kl(log_q, log_p), {}),
    "symmetric_kl": (lambda log_p, log_q: (kl(log_p, log_q) + kl(log_q, log_p)) / 2, {}),
    "jsd": (jsd, {"jsd_beta": 0.3}),
    "skew_forward_kl": (lambda log_p, log_q: kl(log_p, mixed(log_p, log_q, 0.2)), {"skew_alpha": 0.2}),
    "skew_reverse_kl": (lambda log_p, log_q: kl(log_q, mixed(log_p, log_q, 0.8)), {"skew_alpha": 0.2}),
    "total_variation": (lambda log_p, log_q: (log_p.exp() - log_q.exp()).abs().sum(-1) / 2, {}),
    "adaptive_kl": (adaptive, {}),
    "taid": (taid, {}),
}


def bucketed(logits, teacher, k):
    """Log-probabilities of the teacher's k likeliest tokens and of all others together."""
    log_p, ids = torch.log_softmax(teacher, -1).topk(k)
    log_q = torch.log_softmax(logits, -1)
    tail = torch.logsumexp(log_q.scatter(1, ids, -torch.inf), 1, keepdim=True)
    return torch.cat([log_p, torch.log(-torch.expm1(torch.logsumexp(log_p, 1, keepdim=True)))], 1), torch.cat([log_q.gather(1, ids), tail], 1)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_a_step_of_each_divergence(tmp_path, name):
    """At a temperature of its own, beside the text with smoothed labels."""
    divergence, settings = DIVERGENCES[name]

    def loss(z, y, ids):
        log_p, log_q = torch.log_softmax(y / 1.5, -1), torch.log_softmax(z / 1.5, -1)
        text = torch.nn.functional.cross_entropy(z, ids, reduction="sum", label_smoothing=0.1) + 0.01 * (torch.logsumexp(z, -1) ** 2).sum()
        return 2.25 * divergence(log_p, log_q).sum() + 0.25 * text

    settings = settings | {f"{name}_temperature": 1.5, "label_smoothing": 0.1, "z_loss": 0.01}
    check(tmp_path, "llama_tied", 1, loss, BOUND, losses={name: 1.0, "cross_entropy": 0.25}, loss_settings=settings, signal="online")


@pytest.mark.parametrize("name", DIVERGENCES)
def test_a_step_of_each_divergence_from_a_cached_signal(tmp_path, name):
    """Where a gradient is q log(q / p), the runtime's rounding of the teacher's logits stands beside the small differences of two random models."""
    divergence, settings = DIVERGENCES[name]
    check(tmp_path, "llama_tied", 1, lambda z, y, _: divergence(*bucketed(z, y, 8)).sum(), 5 * BOUND, losses={name: 1.0}, loss_settings=settings, signal="cached", signal_top_k=8)
