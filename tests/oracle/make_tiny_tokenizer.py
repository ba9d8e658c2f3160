"""Makes recipes/text/tiny_tokenizer/ from recipes/text/tiny_train.txt.

python tests/oracle/make_tiny_tokenizer.py recipes/text
"""

import json
import pathlib
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

TOKENS = 1024


def main(folder):
    documents = (folder / "tiny_train.txt").read_text(encoding="utf-8").split("\n<|endoftext|>\n")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=TOKENS, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(documents, trainer)
    target = folder / "tiny_tokenizer"
    target.mkdir(exist_ok=True)
    tokenizer.save(str(target / "tokenizer.json"))
    (target / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}, indent=1) + "\n"
    )
    print(len(documents), "texts", sum(len(tokenizer.encode(text).ids) for text in documents), "tokens of", tokenizer.get_vocab_size())


main(pathlib.Path(sys.argv[1]))
