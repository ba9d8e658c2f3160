"""What the rows of fidelity measure, by KL divergence a token: what int8 keys and values lose, and what rounding activations loses, beside llama.cpp."""

import numpy as np
from bench_models import ROOT
from llama_peer import BATCH, NoPeer, llama_cpp, open_peer
from table_row import Measured

DEEP = {"context": 2048, "tokens": 4096}
SHALLOW_TOKENS = BATCH


def one_text(bench):
    """The pieces of held_out.txt as one document: none is long."""
    path = bench.models.folder / "one_text.txt"
    path.write_text((ROOT / "recipes/text/held_out.txt").read_text(encoding="utf-8").replace("<|endoftext|>\n", ""), encoding="utf-8")
    return path


def verified(bench, context, tokens, *words):
    """Mean KL of the packaged file, as it is deployed, to the same weights with f32 activations."""
    exact, packed = bench.models.quantized("smollm2", "F32"), bench.models.original("smollm2")
    words = [packed, "--data", one_text(bench), "--numerics", "deployed", "--context", context, "--max-tokens", tokens, "--no-bench", *words]
    return bench.own.document("verify", exact, *words, "--threads", bench.threads)["results"]["deployed"]["kl"]["mean"]


def int8_kv(bench):
    """How much more than with f16."""
    f16, int8 = (verified(bench, DEEP["context"], DEEP["tokens"], "--kv", kv) for kv in ("f16", "int8"))
    return Measured(int8 - f16, f"{int8:.5f}", f"{f16:.5f} of f16")


def kl(reference, logits):
    """Mean of KL(reference || logits) over rows."""
    total = 0.0
    for a, b in zip(reference, logits, strict=True):
        a, b = (row.astype(np.float64) - row.max() for row in (a, b))
        a, b = a - np.log(np.exp(a).sum()), b - np.log(np.exp(b).sum())
        total += float((np.exp(a) * (a - b)).sum())
    return total / len(reference)


def peer_rounding(bench, tokens):
    """llama.cpp's KL between the same two files; NoPeer."""
    exact, packed = bench.models.quantized("smollm2", "F32"), bench.models.original("smollm2")
    with open_peer(packed, len(tokens), bench.threads) as peer:
        rounded = peer.logits(tokens)
    with llama_cpp.Model(llama_cpp.library(), exact, len(tokens), bench.threads) as reference:
        return kl(reference.logits(tokens)[:-1], rounded[:-1])


def rounding(bench):
    tokens = bench.own.document("tokenize", bench.models.original("smollm2"), "--data", one_text(bench))["documents"][0]["tokens"][:SHALLOW_TOKENS]
    ours = verified(bench, SHALLOW_TOKENS, SHALLOW_TOKENS - 1)  # every token is scored but the first
    try:
        theirs = peer_rounding(bench, tokens)
    except NoPeer as reason:
        return Measured(None, f"{ours:.5f}", note=str(reason))
    return Measured(ours / theirs, f"{ours:.5f}", f"{theirs:.5f}")
