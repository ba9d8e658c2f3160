"""Token ids against Hugging Face `tokenizers` on real and hostile texts, with the real vocabularies."""
import gzip
import json
import random
import subprocess

import pytest
from conftest import SHARED, peer, program, smollm2
from tokenizers import Tokenizer, models, pre_tokenizers

TEXTS = 5000


def real_texts():
    texts = []
    for name in ("wikipedia/wiki_paragraphs.txt.gz", "tinystories/valid.txt.gz"):
        path = SHARED / name
        if path.exists():
            texts += gzip.open(path, "rt", encoding="utf-8").read().split("\n")
    path = SHARED / "instruct" / "glaive_toolcall_en_demo.jsonl"
    if path.exists():
        texts += path.read_text(encoding="utf-8").splitlines()
    path = SHARED / "robustness" / "blns.json"
    if path.exists():
        texts += json.loads(path.read_text(encoding="utf-8"))
    return [text for text in texts if text]


def hostile_texts(count):
    """Random mixtures of scripts, spaces, digits, contractions, emoji, combining marks and special tokens."""
    rng = random.Random(7)
    parts = ["'s", "'LL", "'Ve", "don't", " ", "  ", "\t", "\n", "\r\n", "\n\n ", "0", "12", "3456", "٣٤", "²", "½", "é", "e\u0301", "ß", "İ",
             "日本語", "한국어", "العربية", "हिन्दी", "👩‍👩‍👧", "🇩🇪", "\u00a0", "\u2003", "\u3000", "…", "—", "<|im_start|>", "<|endoftext|>", "</s>", "<s>",
             "_", "__init__", "http://a.b/c?d=e&f", "{\"a\": [1, 2]}", "#include <x>", "\\n", "\u200b", "\ufeff", "ſ", "Ω", "'", "\"", "A", "the", "The", "ing"]
    return ["".join(rng.choice(parts) for _ in range(rng.randint(1, 24))) for _ in range(count)]


def texts():
    real = real_texts()
    return real + hostile_texts(max(1000, TEXTS - len(real)))


def attar_ids(tmp_path, model, samples):
    (tmp_path / "in.json").write_text(json.dumps(samples), encoding="utf-8")
    done = subprocess.run([program("tokenize_dump"), model, tmp_path / "in.json", tmp_path / "out.json"], check=True, stderr=subprocess.PIPE, text=True)
    return json.loads((tmp_path / "out.json").read_text()), done.stderr


def compare(tmp_path, model, oracle):
    samples = texts()
    got, complaints = attar_ids(tmp_path, model, samples)
    expected = [encoding.ids for encoding in oracle.encode_batch(samples, add_special_tokens=False)]
    wrong = [(text, e, g) for text, e, g in zip(samples, expected, got) if e != g]
    assert len(samples) >= TEXTS or not SHARED.exists()
    assert not wrong, f"{len(wrong)} of {len(samples)} differ, first: {wrong[0]}"
    return complaints


@pytest.mark.parametrize("name", ["llama2", "llama3", "llama3_1", "qwen3", "gemma3"])
def test_real_vocabularies(tmp_path, name):
    folder = peer(f"tokenizers/{name}/models")
    compare(tmp_path, str(folder), Tokenizer.from_file(str(folder / "tokenizer.json")))


def test_smollm2(tmp_path):
    """The vocabulary of the packaged GGUF, put into a `tokenizers` model by hand."""
    from gguf import GGUFReader
    from tokenizers import AddedToken

    reader = GGUFReader(smollm2())
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    kinds = reader.fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(merge.split(" ")) for merge in reader.fields["tokenizer.ggml.merges"].contents()]
    oracle = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    oracle.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    oracle.add_special_tokens([AddedToken(token, special=True, normalized=False) for token, kind in zip(tokens, kinds) if kind == 3])
    oracle.add_tokens([AddedToken(token, normalized=False) for token, kind in zip(tokens, kinds) if kind == 4])
    assert compare(tmp_path, smollm2(), oracle) == ""
