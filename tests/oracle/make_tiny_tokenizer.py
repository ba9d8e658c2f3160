"""Makes recipes/text/tiny_train.txt and recipes/text/tiny_tokenizer/ from text that Attar sampled from SmolLM2-135M-Instruct.

attar run RECIPE        # whose train split the teacher writes: runs/NAME/data/train.h5
make_tiny_tokenizer.py runs/NAME/data/train.h5 recipes/text
"""

import json
import pathlib
import sys

import h5py
import numpy as np
from conftest import smollm2
from gguf import GGUFReader
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

HEADER = "The texts below were sampled by Attar from SmolLM2-135M-Instruct (recipes/smollm2-nano.yaml, data.train)."


def texts(path):
    vocabulary = GGUFReader(smollm2()).fields["tokenizer.ggml.tokens"].contents()
    decoder = decoders.ByteLevel()
    with h5py.File(path) as file:
        tokens, in_loss, ends = file["tokens"][:], file["in_loss"][:], np.cumsum(file["lengths"][:])
    begin = 0
    for end in ends:
        own = [vocabulary[t] for t, wanted in zip(tokens[begin:end], in_loss[begin:end], strict=True) if wanted and not vocabulary[t].startswith("<|")]
        begin = end
        yield decoder.decode(own).strip()


def main():
    source, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    documents = [text for text in texts(source) if text and "\ufffd" not in text]
    (folder / "tiny_train.txt").write_text("\n<|endoftext|>\n".join([HEADER, *documents]) + "\n", encoding="utf-8")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=2048, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(documents, trainer)
    target = folder / "tiny_tokenizer"
    target.mkdir(exist_ok=True)
    tokenizer.save(str(target / "tokenizer.json"))
    (target / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}, indent=1) + "\n"
    )
    print(len(documents), "texts", sum(map(len, documents)), "characters")


main()
