"""Token ids against Hugging Face `tokenizers` on real vocabularies: 6,000 real and hostile texts for each."""

import collections
import functools
import hashlib
import json
import pathlib
import random
import shutil
import subprocess
import unicodedata

import conftest
import gguf
import pytest
import tokenizer_corpus
import tokenizers
from tokenizer_oracles import compare, gemma3_oracle, npm_folder, of_known_characters, ours, smollm2_oracle, spm_oracle

pytestmark = pytest.mark.parity

TEXTS = tokenizer_corpus.texts()
# The text by which converters recognise a pre-tokenizer, and the SHA-256 of str(ids): models_and_tokenizers of the
# GGUF community. (350 characters; sha256 a36179c1...)
FINGERPRINT_TEXT = (
    "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n🚀 (normal) 😶‍🌫️ (multiple emojis concatenated) ✅ 🦙🦙 3 33 333 3333 33333 333333 3333333 33333333 3.3 3..3 3...3 "
    "កាន់តែពិសេសអាច😁 ?我想在apple工作1314151天～ ------======= нещо на Български ''''''```````\"\"\"\"......!!!!!!?????? I've been 'told he's there, 'RE you sure? "
    "'M not sure I'll make it, 'D you like some tea? We'Ve a'lL"
)


def expected_ends(oracle, text):
    """Where the oracle's tokens end, in bytes; within a character it counts it whole. A space that SPM puts in front is no part of the text."""
    byte_at = [0]
    for letter in text:
        byte_at.append(byte_at[-1] + len(letter.encode()))
    encoded = oracle.encode(text, add_special_tokens=False)
    offsets, tokens = encoded.offsets, encoded.tokens
    is_prefix = [token == "▁" and i + 1 < len(tokens) and offsets[i + 1][0] == offsets[i][0] for i, token in enumerate(tokens)]
    return [byte_at[begin if prefix else end] for (begin, end), prefix in zip(offsets, is_prefix, strict=True)], set(byte_at)


def texts_around(oracle):
    """Added tokens at the start, in words, beside white space and marks, and twice."""
    added = [token.content for token in list(oracle.get_added_tokens_decoder().values())[:20]]
    frames = ["{}", " {} ", "x{}y", "  {}  z", "{0}{0}", "hello {}world\n", "a\u0301{}\u0301b"]
    texts = [frame.format(token) for token in added for frame in frames]
    return [text for text in texts if unicodedata.is_normalized("NFC", text)]


@pytest.fixture(scope="module")
def gemma_path(tmp_path_factory):
    return conftest.gemma3(tmp_path_factory.mktemp("gemma3"))


@pytest.mark.parametrize("special", [False, True])
def test_smollm2(special):
    path = conftest.smollm2()
    oracle = smollm2_oracle(path)
    oracle.encode_special_tokens = not special
    results = compare(path, oracle, TEXTS[::3] if special else TEXTS, *(["special"] if special else []))
    if special:
        return
    # 21 bytes have no token (some control characters, some that no text holds): such text cannot come back whole
    lost = set("\x04\x06\x13\x14\x16\x1d")
    for text, result in zip(TEXTS, results, strict=True):
        if not lost & set(text) and max(text, default="a") < "\U00040000":
            assert result["text"] == text


def test_smollm2_fingerprint():
    assert hashlib.sha256(FINGERPRINT_TEXT.encode()).hexdigest().startswith("a36179c1")
    ids = ours(conftest.smollm2(), [FINGERPRINT_TEXT])[0]["ids"]
    assert hashlib.sha256(str(ids).encode()).hexdigest() == "855059429035d75a914d1eda9f10a876752e281a054a7a3d421ef0533e5b6249"


NAMES = ["llama2", "llama3", "llama3_1", "qwen3", "gemma3", "gemini", "deepseek_v3", "gpt35turbo", "gpt4o", "gptoss"]


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_tokenizer_json(name, special):
    folder, oracle = npm_folder(name)
    oracle.encode_special_tokens = not special
    if name == "deepseek_v3":  # as transformers does where tokenizer_config.json says add_bos_token
        oracle.post_processor = tokenizers.processors.TemplateProcessing(single="<｜begin▁of▁sentence｜> $A", special_tokens=[("<｜begin▁of▁sentence｜>", 0)])
    texts = of_known_characters(oracle, TEXTS[::3] if special else TEXTS) + texts_around(oracle)
    if name == "qwen3" and not special:  # it ends what the model writes, so a text does not spell it here, nor in llama.cpp
        texts = [text for text in texts if "<|fim_pad|>" not in text]
    results = compare(folder, oracle, texts, *(["special"] if special else []))
    if special:
        return
    added = {token.content for token in oracle.get_added_tokens_decoder().values()}
    for text, result in zip(texts, results, strict=True):
        if any(token in text for token in added):  # some of these take the white space beside them
            continue
        expected = unicodedata.normalize("NFC", text) if name == "qwen3" else text
        if name in ("llama2", "gemma3", "gemini"):
            expected = expected.replace("▁", " ")  # one and the same to these vocabularies
        assert result["text"] == expected


def compare_saved(folder):
    """Ids of a saved directory's tokenizer, as plain text and with the special tokens that are written out."""
    for special in (False, True):
        oracle = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        oracle.encode_special_tokens = not special
        texts = of_known_characters(oracle, TEXTS[::5])
        options = ["special"] if special else []
        compare(str(folder), oracle, [*texts, " a", "  a", "▁a", "<s>a</s> b</s>c", " <s> a", "</s>a"], *options)


@pytest.mark.parametrize("name", ["llama2", "llama3", "qwen3", "gemma3", "gpt4o", "deepseek_v3"])
def test_saved_again_by_transformers(name, tmp_path):
    """transformers 5 writes Llama 2's tokenizer with Metaspace in place of the two normalizers."""
    transformers = pytest.importorskip("transformers")
    transformers.AutoTokenizer.from_pretrained(npm_folder(name)[0]).save_pretrained(tmp_path)
    compare_saved(tmp_path)


@pytest.mark.parametrize("scheme", ["always", "first", "never"])
def test_metaspace(scheme, tmp_path):
    """SPM as BPE with Metaspace, on a vocabulary of the commonest pieces of the texts."""
    pieces = collections.Counter(text[i : i + n] for text in (t.replace(" ", "▁") for t in TEXTS[:1000]) for n in range(2, 7) for i in range(len(text) - n))
    for special in ("<unk>", "<s>", "</s>"):  # nor do texts that spell them make them of pieces
        pieces = collections.Counter({piece: n for piece, n in pieces.items() if special not in piece and piece not in special})
    letters = sorted({letter for piece, _ in pieces.most_common(600) for letter in piece} | {"▁"})
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *(piece for piece, _ in pieces.most_common(600)), *letters]
    tokenizer = spm_oracle(tokens, [-float(i) for i in range(len(tokens))])
    tokenizer.normalizer = None
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace("▁", prepend_scheme=scheme, split=False)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}))
    compare_saved(tmp_path)
    written = tmp_path / "written"
    written.mkdir()
    subprocess.run([conftest.program("tokenizer_dump"), str(tmp_path), "hf", str(written)], check=True)
    compare_saved(written)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("llama3", "0ef9807a4087ebef797fc749390439009c3b9eda9ad1a097abbe738f486c01e5"),
        ("qwen3", "e636dc30a262dcc0d8c323492e32ae2b70728f4df7dfe9737d9f920a282b8aea"),
    ],
)
def test_fingerprint(name, expected):
    folder, _ = npm_folder(name)
    ids = ours(folder, [FINGERPRINT_TEXT])[0]["ids"]
    ids = [128000, *ids] if name == "llama3" else ids
    assert hashlib.sha256(str(ids).encode()).hexdigest() == expected


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("name", ["smollm2", "stories260k", "llama2", "llama3", "qwen3", "gemma3"])
def test_where_tokens_end(name, special):
    if name == "smollm2":
        model, oracle = conftest.smollm2(), smollm2_oracle(conftest.smollm2())
    elif name == "stories260k":
        model = str(conftest.shared("models/stories260K.f32.gguf"))
        fields = gguf.GGUFReader(model).fields
        oracle = spm_oracle(fields["tokenizer.ggml.tokens"].contents(), fields["tokenizer.ggml.scores"].contents())
    else:
        model, oracle = npm_folder(name)
    oracle.encode_special_tokens = not special
    texts = of_known_characters(oracle, TEXTS[::4])
    if name == "qwen3":  # in characters that NFC changes the two count otherwise; tokenizer_test.cpp has those
        texts = [text for text in texts if unicodedata.normalize("NFC", text) == text]
    # SmolLM2 has no token for some bytes; SPM's Llama 2 calls U+2581 and a space one and the same
    lost = set("\x04\x06\x13\x14\x16\x1d\u2581") if name in ("smollm2", "llama2", "stories260k") else set()
    compared = 0
    for text, result in zip(texts, ours(model, texts, *(["special"] if special else [])), strict=True):
        if lost & set(text) or max(text, default="a") >= "\U00040000":
            continue
        expected, borders = expected_ends(oracle, text)
        got = result["ends"][len(result["ends"]) - len(expected) :]  # without BOS
        assert [next(border for border in range(end, end + 4) if border in borders) for end in got] == expected, text
        compared += 1
    assert compared > 1000


def test_attar_run_tokenize(tmp_path):
    path = conftest.smollm2()
    oracle = smollm2_oracle(path)
    oracle.encode_special_tokens = True
    texts = [text for text in TEXTS if text]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    done = subprocess.run([conftest.program("attar-run"), "tokenize", path, "--data", tmp_path / "texts.jsonl"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == [oracle.encode(text).ids for text in texts]


@pytest.mark.parametrize("special", [False, True])
def test_stories260k(special):
    path = str(conftest.shared("models/stories260K.f32.gguf"))
    fields = gguf.GGUFReader(path).fields
    oracle = spm_oracle(fields["tokenizer.ggml.tokens"].contents(), fields["tokenizer.ggml.scores"].contents())
    oracle.encode_special_tokens = not special
    results = compare(path, oracle, TEXTS, *(["special"] if special else []))
    if not special:
        assert all(result["text"] == text.replace("▁", " ") for text, result in zip(TEXTS, results, strict=True))


@pytest.mark.parametrize("special", [False, True])
def test_gemma3_gguf(gemma_path, special):
    oracle = gemma3_oracle(gemma_path)
    oracle.encode_special_tokens = not special
    results = compare(gemma_path, oracle, TEXTS[::3] if special else TEXTS, *(["special"] if special else []))
    if not special:
        assert all(result["text"] == text.replace("▁", " ") for text, result in zip(TEXTS, results, strict=True))


def test_gemma3_gguf_gives_the_ids_of_googles_file(gemma_path):
    _, oracle = npm_folder("gemma3")
    oracle.encode_special_tokens = True
    # The GGUF calls <mask> and <unused..> control tokens, tokenizer.json calls them text to be cut out.
    compare(gemma_path, oracle, [text for text in TEXTS if "<unused" not in text and "<mask>" not in text])


@pytest.mark.parametrize("name", ["smollm2", "gemma3-gguf", "llama2", "llama3", "qwen3", "gemma3", "gemini", "deepseek_v3", "gptoss"])
def test_written_directory(name, tmp_path, request):
    """What Attar writes loads in `tokenizers` and in transformers, and gives Attar's ids, on both sides."""
    transformers = pytest.importorskip("transformers")
    model = conftest.smollm2() if name == "smollm2" else request.getfixturevalue("gemma_path") if name == "gemma3-gguf" else npm_folder(name)[0]
    subprocess.run([conftest.program("tokenizer_dump"), model, "hf", str(tmp_path)], check=True)
    written = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    texts = of_known_characters(written, TEXTS[:500] + TEXTS[-500:])
    written.encode_special_tokens = True
    compare(model, written, texts)
    written.encode_special_tokens = False
    compare(model, written, texts, "special")
    assert ours(str(tmp_path), texts) == ours(model, texts)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    auto = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    for text, result in zip(texts[:300], ours(model, texts[:300], "special"), strict=True):
        assert auto(text)["input_ids"] == result["ids"], text
    shutil.rmtree(tmp_path)


def test_a_vocabulary_of_another_normalizer_is_refused_by_name():
    folder, _ = npm_folder("claude")
    done = subprocess.run([conftest.program("tokenizer_dump"), folder, "ids"], input="", capture_output=True, text=True)
    assert done.returncode == 3 and "the normalizer `NFKC` is not supported" in done.stderr


# Added tokens with every mixture of flags, on small vocabularies.
WORDS = ["do", "dog", "<a>", "<a>b", "b>", " x", "end ", "<|e|>", "\u2581q", "n\u0303", "e\u0301", "a b", "  ", "\n", "\u4e16", "_u", "\u0301"]


@functools.cache
def small_spm():
    pieces = collections.Counter(text[i : i + n] for text in (t.replace(" ", "▁") for t in TEXTS[:500]) for n in (2, 3, 4) for i in range(len(text) - n))
    plain = [piece for piece, _ in pieces.most_common(300) if not {"<", ">"} & set(piece)] + ["do", "og", "end"]
    letters = sorted({letter for piece in plain for letter in piece} | set("▁doge"))
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *dict.fromkeys(plain), *letters]
    return json.loads(spm_oracle(tokens, [-float(i) for i in range(len(tokens))]).to_str())


def random_tokenizer(draw):
    """A tokenizer.json as a dictionary, and whether it is SPM."""
    spm = draw.random() < 0.5
    if spm:
        out = json.loads(json.dumps(small_spm()))
        if draw.random() < 0.4:
            out["normalizer"] = None
            out["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": draw.choice(["first", "always", "never"]), "split": False}
        elif draw.random() < 0.4:
            out["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
        if draw.random() < 0.2:
            out["model"] |= {"byte_fallback": False, "fuse_unk": draw.random() < 0.5}
    else:
        out = json.loads((pathlib.Path(__file__).parents[2] / "recipes/text/tiny_tokenizer/tokenizer.json").read_text())
        out["normalizer"] = draw.choice([None, {"type": "NFC"}])
    vocabulary = out["model"]["vocab"]
    fresh = max([*vocabulary.values(), *(token["id"] for token in out["added_tokens"])]) + 1
    for word in draw.sample(WORDS, draw.randint(1, 5)):
        flags = {flag: draw.random() < share for flag, share in (("single_word", 0.3), ("lstrip", 0.3), ("rstrip", 0.3), ("normalized", 0.5), ("special", 0.5))}
        if word in vocabulary:  # the library lets a text's own letters make a control token; here they never do
            flags["special"] = False
        out["added_tokens"].append({"id": vocabulary.get(word, fresh), "content": word, **flags})
        fresh += word not in vocabulary  # it numbers them without gaps, whatever the file says
    return out, spm


@pytest.mark.parametrize("seed", range(40))
def test_added_tokens_of_every_kind(seed, tmp_path):
    draw = random.Random(seed)
    written, spm = random_tokenizer(draw)
    (tmp_path / "tokenizer.json").write_text(json.dumps(written))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "unk_token": "<unk>"} if spm else {}))
    oracle = tokenizers.Tokenizer.from_str(json.dumps(written))
    parts = [*WORDS, "the ", "went", " ", "  ", "a", "b", "q", "x", "d", "og", "window", "\t", "!", "1", "é", "̃"]
    texts = ["".join(draw.choice(parts) for _ in range(draw.randint(1, 9))) for _ in range(150)]
    for special in (False, True):
        oracle.encode_special_tokens = not special
        known = []
        for text in texts:
            try:  # the library itself stumbles over tokens that take each other's white space
                oracle.encode(text)
                known.append(text)
            except BaseException as error:
                assert "PanicException" in type(error).__name__
        compare(str(tmp_path), oracle, known, *(["special"] if special else []))
    again = tmp_path / "again"
    again.mkdir()
    subprocess.run([conftest.program("tokenizer_dump"), str(tmp_path), "hf", str(again)], check=True)
    assert ours(str(again), texts, "special") == ours(str(tmp_path), texts, "special")


def test_composition_is_that_of_unicode():
    assigned = [chr(c) for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF and unicodedata.category(chr(c)) != "Cn"]
    marks = [c for c in assigned if unicodedata.combining(c)]
    composed = [c for c in assigned if unicodedata.decomposition(c) and "<" not in unicodedata.decomposition(c)]
    draw = random.Random(1)
    texts = [f"a{c}\u0301" for c in assigned]
    texts += ["".join(draw.choice(marks if draw.random() < 0.6 else assigned) for _ in range(draw.randint(1, 30))) for _ in range(20000)]
    texts += ["".join(unicodedata.normalize("NFD", draw.choice(composed)) + draw.choice(["", draw.choice(marks)]) for _ in range(6)) for _ in range(20000)]
    texts.append("a" + "".join(draw.choice(marks) for _ in range(40000)))
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    done = subprocess.run([conftest.program("tokenizer_dump"), "-", "nfc"], input=lines, capture_output=True, text=True, check=True, timeout=60)
    for text, line in zip(texts, done.stdout.split("\n")[:-1], strict=True):
        assert json.loads(line) == unicodedata.normalize("NFC", text)
