"""Token ids and ends of replies against llama.cpp's, on the vocabularies that it is tested with."""

import json
import subprocess
import unicodedata

import conftest
import gguf
import llama_cpp
import pytest
import tokenizer_corpus
from tokenizer_oracles import ours

pytestmark = pytest.mark.parity

TEXTS = tokenizer_corpus.texts()


def vocabularies():
    """GGUF files that hold a tokenizer: those the packages carry, and whatever lies in peers/vocabularies."""
    return sorted(path.name for path in (conftest.PEERS / "vocabularies").glob("*.gguf")) or ["none"]


def differs_by_rule(path, text):
    """Where llama.cpp's expressions stand in for the model's own, or its list of ends overrides what a token is."""
    ideographic_space = "deepseek-llm" in path and "\u3000" in text  # its stand-in for \\s is no sign
    strike_out = ("phi-3" in path or "qwen" in path) and "</s>" in text  # text in the file, a control token to llama.cpp
    uncomposed = "qwen" in path and not unicodedata.is_normalized("NFC", text)  # which Qwen's own tokenizer composes
    return ideographic_space or strike_out or uncomposed


@pytest.mark.parametrize("name", vocabularies())
def test_vocabulary_of_a_gguf(name):
    path = str(conftest.peer(f"vocabularies/{name}"))
    if (model := gguf.GGUFReader(path).fields["tokenizer.ggml.model"].contents()) not in ("gpt2", "llama"):
        refused = subprocess.run([conftest.program("tokenizer_dump"), path, "ids"], input="", capture_output=True, text=True)
        assert refused.returncode == 3 and f"the tokenizer `{model}` is not supported" in refused.stderr
        return
    peer = llama_cpp.Vocabulary(llama_cpp.library(), path)
    texts = [text for text in TEXTS[::3] if "\0" not in text and not differs_by_rule(path, text)]
    for special in (False, True):
        for text, result in zip(texts, ours(path, texts, *(["special"] if special else [])), strict=True):
            assert result["ids"] == peer.encode(text, special), text
    ends = json.loads(subprocess.run([conftest.program("tokenizer_dump"), path, "ends"], capture_output=True, text=True, check=True).stdout)
    fields = gguf.GGUFReader(path).fields
    kinds = fields["tokenizer.ggml.token_type"].contents()
    assert ends == [end for end in peer.ends() if kinds[end] == 3 or end in ends]
    peer.close()
