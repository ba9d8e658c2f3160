"""What quantization loses, beside llama.cpp's: `attar quantize` against `llama_model_quantize` with an importance matrix, from the same teacher and
the same calibration text, judged by llama.cpp (mean KL divergence and the share of same first tokens over the second halves of windows of 512 tokens,
as llama-perplexity scores them).

    quantize.py build/bin/attar TEACHER.gguf --calibration TEXT ... --evaluation TEXT ... [--presets Q4_K_M ...] [--windows 20] [--tokens 65536]
        [--kinds types bytes learned] [--learn-from TEXT]

Prints a Markdown table, for each preset the stock file, Attar's of the same types, and Attar's best within the bytes of the stock file. The teacher is
F16 or F32 and off any grid: quantizing weights that were quantized before proves nothing. Needs 'make peers'.
"""

import argparse
import collections
import ctypes
import gzip
import json
import os
import pathlib
import struct
import subprocess
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
import llama_cpp
from gguf import LlamaFileType

WINDOW = 512
THREADS = os.cpu_count()
PRESETS = ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_K_S", "Q4_0", "IQ4_NL"]


def text_of(path):
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    text = raw.decode()
    if ".jsonl" in path.name:
        return "\n\n".join(json.loads(line)["text"] for line in text.splitlines() if line)
    return text.replace("<|endoftext|>", "\n\n")


def windows_of(teacher, paths, count):
    """`count` windows of tokens, spread over the texts; the same number from each."""
    vocabulary = llama_cpp.Vocabulary(llama_cpp.library(), teacher)
    windows = []
    for path in paths:
        tokens = np.array(vocabulary.encode(text_of(path)[: 8 * WINDOW * count], False))
        windows += [part for part in tokens[: len(tokens) // WINDOW * WINDOW].reshape(-1, WINDOW)[: count // len(paths)]]
    vocabulary.close()
    return windows


class Tensor(ctypes.Structure):
    """ggml_tensor of ggml.h."""

    _fields_ = [
        ("type", ctypes.c_int32),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
        ("op", ctypes.c_int32),
        ("op_params", ctypes.c_int32 * 16),
        ("flags", ctypes.c_int32),
        ("src", ctypes.c_void_p * 10),
        ("view_src", ctypes.c_void_p),
        ("view_offset", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("name", ctypes.c_char * 64),
        ("extra", ctypes.c_void_p),
    ]


def importance(teacher, windows):
    """Mean squares of the inputs of each matrix but the head's, as llama-imatrix takes them: while llama.cpp computes. -> {name: (in)}"""
    library = llama_cpp.library()
    library.lib.ggml_op_name.restype, library.lib.ggml_op_name.argtypes = ctypes.c_char_p, [ctypes.c_int]
    sums, counts = collections.defaultdict(float), collections.Counter()

    @ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.POINTER(Tensor), ctypes.c_bool, ctypes.c_void_p)
    def look(node, ask, _):
        node = node.contents
        if library.lib.ggml_op_name(node.op) != b"MUL_MAT":
            return not ask
        weight, given = (ctypes.cast(node.src[i], ctypes.POINTER(Tensor)).contents for i in (0, 1))
        name = weight.name.decode()
        if not (name.startswith("blk.") and name.endswith(".weight")):
            return not ask
        if not ask:
            rows = np.ctypeslib.as_array(ctypes.cast(given.data, ctypes.POINTER(ctypes.c_float)), (given.ne[1], given.ne[0]))
            sums[name] = sums[name] + np.square(rows, dtype=np.float64).sum(0)
            counts[name] += len(rows)
        return True

    plain = library.context_params
    defaults = library.lib.llama_context_default_params().ints()
    types = llama_cpp.find(defaults, (1, 1), llama_cpp.find(defaults, (-1, -1, -1, -1)) + 4)  # behind cb_eval and its argument
    assert defaults[types - 4 : types] == (0, 0, 0, 0), "llama_context_params of this llama.cpp is not laid out as expected"

    def watched(n_tokens, threads):
        params = plain(n_tokens, threads)
        struct.pack_into("<q", params.bytes, 4 * types - 16, ctypes.cast(look, ctypes.c_void_p).value)
        return params

    library.context_params = watched
    with llama_cpp.Model(library, teacher, WINDOW, THREADS) as model:
        for tokens in windows:
            model.logits(tokens)
    del library.context_params
    return {name: (sums[name] / counts[name]).astype(np.float32) for name in sums}


class MatrixEntry(ctypes.Structure):
    """llama_model_imatrix_data of llama.h; a list of them ends with one without a name."""

    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.POINTER(ctypes.c_float)), ("size", ctypes.c_size_t)]


def stock(teacher, target, preset, matrix):
    lib = llama_cpp.library().lib
    lib.llama_model_quantize_default_params.restype, lib.llama_model_quantize.restype = llama_cpp.Opaque, ctypes.c_uint32
    params = lib.llama_model_quantize_default_params()
    params.set(0, THREADS), params.set(1, int(LlamaFileType[f"MOSTLY_{preset}"]))
    entries = (MatrixEntry * (len(matrix) + 1))()
    for entry, (name, values) in zip(entries, matrix.items(), strict=False):  # the entry that ends the list is left
        entry.name, entry.data, entry.size = name.encode(), values.ctypes.data_as(ctypes.POINTER(ctypes.c_float)), values.size
    struct.pack_into("<q", params.bytes, 24, ctypes.addressof(entries))  # behind four integers and six booleans
    assert lib.llama_model_quantize(str(teacher).encode(), str(target).encode(), ctypes.byref(params)) == 0


def log_probabilities(logits):
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def judged(teacher, files, windows):
    """Mean KL divergence from the teacher and share of same first tokens, by file."""
    library = llama_cpp.library()
    scored = slice(WINDOW // 2, WINDOW - 1)
    models = {path: llama_cpp.Model(library, path, WINDOW, THREADS) for path in [teacher, *files]}
    divergence, same = collections.defaultdict(list), collections.defaultdict(list)
    for tokens in windows:
        truth = log_probabilities(models[teacher].logits(tokens)[scored])
        for path in files:
            own = log_probabilities(models[path].logits(tokens)[scored])
            divergence[path].append(float((np.exp(truth) * (truth - own)).sum(-1).mean()))
            same[path].append(float((truth.argmax(-1) == own.argmax(-1)).mean()))
    for model in models.values():
        model.close()
    return {path: (np.mean(divergence[path]), np.mean(same[path])) for path in files}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("attar")
    parser.add_argument("teacher", type=pathlib.Path)
    parser.add_argument("--calibration", type=pathlib.Path, nargs="+", required=True)
    parser.add_argument("--evaluation", type=pathlib.Path, nargs="+", required=True)
    parser.add_argument("--presets", nargs="+", default=PRESETS, help="of llama-quantize")
    parser.add_argument("--windows", type=int, default=20, help="of 512 tokens to judge by")
    parser.add_argument("--tokens", type=int, default=65536, help="to calibrate with")
    parser.add_argument("--preset", default="best", help="of attar quantize")
    parser.add_argument("--kinds", nargs="+", default=["types", "bytes"], choices=["types", "bytes", "learned"])
    parser.add_argument("--learn-from", type=pathlib.Path, help="training text of the kind learned, which is of the stock file's bytes too")
    parser.add_argument("--learn", nargs="*", default=[], metavar="FLAG", help="more of attar quantize for it, such as qad-tokens=100000")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("runs/bench-quantize"))
    args = parser.parse_args()
    if "learned" in args.kinds and args.learn_from is None:
        parser.error("--kinds learned wants --learn-from TEXT")
    args.folder.mkdir(parents=True, exist_ok=True)
    calibration = windows_of(args.teacher, args.calibration, args.tokens // WINDOW)
    text = args.folder / "calibration.txt"  # what both tools see
    vocabulary = llama_cpp.Vocabulary(llama_cpp.library(), args.teacher)
    text.write_bytes(b"".join(vocabulary.decode(window.tolist()) for window in calibration))
    vocabulary.close()
    matrix = importance(args.teacher, calibration)
    rows = []
    for preset in args.presets:
        path = {kind: args.folder / f"{args.teacher.stem}.{preset}.{kind}.gguf" for kind in ("stock", *args.kinds)}
        stock(args.teacher, path["stock"], preset, matrix)
        sized = ["--target-size", f"{path['stock'].stat().st_size}B", "--cache", args.folder / "cache"]  # other budgets measure nothing
        wanted = {
            "types": ["--to", preset if "_K_" in preset else f"MOSTLY_{preset}", "--preset", args.preset],
            "bytes": [*sized, "--preset", args.preset],
            "learned": [*sized, "--preset", "learned", "--train", args.learn_from, *(f"--{flag}" for flag in args.learn)],
        }
        for kind in args.kinds:
            options = [*wanted[kind], "--data", text, "--calibration-tokens", str(args.tokens), "--quiet"]
            subprocess.run([args.attar, "quantize", args.teacher, "-o", path[kind], *options], check=True, stdout=subprocess.DEVNULL)
        rows.append((preset, path))
    found = judged(args.teacher, [file for _, path in rows for file in path.values()], windows_of(args.teacher, args.evaluation, args.windows))
    print(f"{args.teacher.name}, {len(calibration) * WINDOW} calibration tokens, {args.windows} windows of {WINDOW}, preset {args.preset}\n")
    print("| llama.cpp's preset | file | bytes | KL | top-1 % | KL over stock's |")
    print("|---|---|---|---|---|---|")
    for preset, path in rows:
        for kind, file in path.items():
            kl, top = found[file]
            print(f"| {preset} | {kind} | {file.stat().st_size:,} | {kl:.5f} | {100 * top:.1f} | {kl / found[path['stock']][0]:.2f} |")


main()
