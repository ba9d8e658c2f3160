"""Attar's token ids beside those of Hugging Face `tokenizers`, whose tokenizers are read from files or built from the vocabulary of a GGUF."""

import functools
import json
import subprocess
import unicodedata

import conftest
import gguf
import tokenizers


def ours(model, texts, *options):
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    done = subprocess.run([conftest.program("tokenizer_dump"), model, "ids", *options], input=lines, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.split("\n")[:-1]]


def compare(model, oracle, texts, *options, **encode_options):
    results = ours(model, texts, *options)
    assert len(results) == len(texts)
    wrong = []
    for text, result in zip(texts, results, strict=True):
        expected = oracle.encode(text, add_special_tokens=bool(options)).ids
        if result["ids"] != expected:
            wrong.append((text, result["ids"], expected))
    for text, got, expected in wrong[:5]:
        print(f"{text!r}\n  ours   {got}\n  oracle {expected}\n  {[oracle.id_to_token(i) for i in expected]}")
    assert not wrong, f"{len(wrong)} of {len(texts)} texts differ"
    return results


def of_known_characters(oracle, texts):
    """Without the texts that hold characters newer than the oracle's own normalization tables."""
    if oracle.normalizer is None or "NFC" not in repr(oracle.normalizer):
        return texts
    known = [text for text in texts if oracle.normalizer.normalize_str(text) == unicodedata.normalize("NFC", text)]
    assert len(known) > 0.99 * len(texts)
    return known


def npm_folder(name):
    folder = conftest.peer(f"tokenizers/{name}") / "models"
    return str(folder), tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


def smollm2_oracle(path):
    """SmolLM2's tokenizer built from the vocabulary and merges of its GGUF, by hand."""
    fields = gguf.GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    kinds = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    oracle = tokenizers.Tokenizer(tokenizers.models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    oracle.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [tokenizers.pre_tokenizers.Digits(individual_digits=True), tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    oracle.decoder = tokenizers.decoders.ByteLevel()
    oracle.add_special_tokens([tokenizers.AddedToken(t, normalized=False, special=True) for t, kind in zip(tokens, kinds, strict=True) if kind == 3])
    assert oracle.get_vocab_size() == len(tokens)
    return oracle


def merges_of(tokens, scores):
    """The merges that SPM's scores stand for: both halves are tokens; the best score first, then the longest left half."""
    score = dict(zip(tokens, scores, strict=True))
    pairs = [(token[:i], token[i:]) for token in tokens if not token.startswith("<0x") for i in range(1, len(token)) if token[:i] in score and token[i:] in score]
    return sorted(pairs, key=lambda pair: (-score[pair[0] + pair[1]], -len(pair[0])))


@functools.cache
def gemma3_oracle(path):
    """Gemma-3's tokenizer built from the vocabulary, scores and kinds of its GGUF, by hand."""
    fields = gguf.GGUFReader(path).fields
    tokens, scores, kinds = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "scores", "token_type"))
    tokens = [token.replace(" ", "▁") for token in tokens]  # the GGUF writes the runs of them as spaces
    # pieces that the vocabulary's makers defined (4) come before all merges
    plain = [(token, score if kind == 1 else 0.0) for token, score, kind in zip(tokens, scores, kinds, strict=True) if kind in (1, 4)]
    merges = merges_of([token for token, _ in plain], [score for _, score in plain])
    oracle = tokenizers.Tokenizer(tokenizers.models.BPE({token: i for i, token in enumerate(tokens)}, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    oracle.normalizer = tokenizers.normalizers.Replace(" ", "▁")
    oracle.pre_tokenizer = tokenizers.pre_tokenizers.Split(" ", "merged_with_previous")
    oracle.add_special_tokens([tokenizers.AddedToken(token, normalized=False, special=True) for token, kind in zip(tokens, kinds, strict=True) if kind in (2, 3)])
    oracle.add_tokens([tokenizers.AddedToken(token, normalized=False) for token, kind in zip(tokens, kinds, strict=True) if kind == 4])
    oracle.post_processor = tokenizers.processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    assert oracle.get_vocab_size() == len(tokens)
    return oracle


def spm_oracle(tokens, scores):
    """SPM as BPE: the scores say what merges are best, and the oracle's merges are made from them here."""
    ids = {token: id for id, token in enumerate(tokens)}
    oracle = tokenizers.Tokenizer(tokenizers.models.BPE(ids, merges_of(tokens, scores), unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    oracle.normalizer = tokenizers.normalizers.Sequence([tokenizers.normalizers.Prepend("▁"), tokenizers.normalizers.Replace(" ", "▁")])
    oracle.add_special_tokens([tokenizers.AddedToken(token, normalized=False, special=True) for token in tokens[:3]])
    oracle.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return oracle
