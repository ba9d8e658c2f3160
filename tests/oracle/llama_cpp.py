"""llama.cpp's own library through ctypes: load a GGUF, feed token ids, get logits. A peer, never a dependency.

The library is that of the npm package @node-llama-cpp/linux-x64 ('make peers' fetches it). Its parameter structs are
passed by value but change between versions, so they are treated as opaque bytes: the defaults are fetched, and the few
fields that matter are found by the values that the defaults are known to have there.
"""

import ctypes
import json
import os
import pathlib
import struct
import warnings

import numpy as np
import pytest

FOLDER = "node_modules/@node-llama-cpp/linux-x64/bins/linux-x64"
F32 = 0  # ggml type of the key/value cache: as exact as it gets
STRUCT_BYTES = 512  # more than any of the structs; what lies behind is ignored


class Opaque(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint8 * STRUCT_BYTES)]

    def ints(self):
        return struct.unpack(f"<{STRUCT_BYTES // 4}i", bytes(self.bytes))

    def set(self, index, value):
        struct.pack_into("<i", self.bytes, index * 4, value)


class Batch(ctypes.Structure):
    _fields_ = [
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    ]


LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


def find(values, wanted, start=0):
    """Where `wanted` begins in `values`; the struct is not the one we know when it is nowhere."""
    for i in range(start, len(values) - len(wanted)):
        if values[i : i + len(wanted)] == wanted:
            return i
    raise RuntimeError("llama_context_params of this llama.cpp is not laid out as expected")


class Library:
    """One loaded libllama. Use library()."""

    def __init__(self, folder):
        for name in ("libggml-base.so", *sorted(p.name for p in folder.glob("libggml.*so*")), *sorted(p.name for p in folder.glob("libllama.*so*"))):
            self.lib = ctypes.CDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL)
            if name.startswith("libggml."):
                self.lib.ggml_backend_load_all_from_path(str(folder).encode())
        lib = self.lib
        self.messages = []
        self.log = LOG(lambda level, text, _: self.messages.append(text.decode(errors="replace")))
        lib.llama_log_set(self.log, None)
        lib.llama_backend_init()
        for name, result, arguments in [
            ("llama_model_default_params", Opaque, []),
            ("llama_context_default_params", Opaque, []),
            ("llama_model_load_from_file", ctypes.c_void_p, [ctypes.c_char_p, Opaque]),
            ("llama_model_free", None, [ctypes.c_void_p]),
            ("llama_init_from_model", ctypes.c_void_p, [ctypes.c_void_p, Opaque]),
            ("llama_free", None, [ctypes.c_void_p]),
            ("llama_model_get_vocab", ctypes.c_void_p, [ctypes.c_void_p]),
            ("llama_vocab_n_tokens", ctypes.c_int32, [ctypes.c_void_p]),
            ("llama_tokenize", ctypes.c_int32, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.POINTER(ctypes.c_int32), ctypes.c_int32, ctypes.c_bool, ctypes.c_bool]),
            ("llama_detokenize", ctypes.c_int32, [ctypes.c_void_p, ctypes.POINTER(ctypes.c_int32), ctypes.c_int32, ctypes.c_char_p, ctypes.c_int32, ctypes.c_bool, ctypes.c_bool]),
            ("llama_vocab_is_eog", ctypes.c_bool, [ctypes.c_void_p, ctypes.c_int32]),
            ("llama_batch_init", Batch, [ctypes.c_int32, ctypes.c_int32, ctypes.c_int32]),
            ("llama_batch_free", None, [Batch]),
            ("llama_decode", ctypes.c_int32, [ctypes.c_void_p, Batch]),
            ("llama_get_memory", ctypes.c_void_p, [ctypes.c_void_p]),
            ("llama_memory_clear", None, [ctypes.c_void_p, ctypes.c_bool]),
            ("llama_get_logits_ith", ctypes.POINTER(ctypes.c_float), [ctypes.c_void_p, ctypes.c_int32]),
        ]:
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments

    def context_params(self, n_tokens, threads):
        params = self.lib.llama_context_default_params()
        values = params.ints()
        for i in range(3):  # n_ctx, n_batch, n_ubatch
            params.set(i, n_tokens)
        at = find(values, (4, 4))
        params.set(at, threads), params.set(at + 1, threads)
        at = find(values, (-1, -1, -1, -1))  # rope scaling, pooling, attention, flash attention: unset
        params.set(at + 3, 0)
        at = find(values, (1, 1), at + 4)  # types of keys and values: F16
        params.set(at, F32), params.set(at + 1, F32)
        return params

    def logits(self, path, tokens, threads=1):
        """Logits of every position of one sequence: (n, V) float32. RuntimeError with llama.cpp's log when it cannot load."""
        with Model(self, path, len(tokens), threads) as model:
            return model.logits(tokens)


class Vocabulary:
    """The tokenizer of a GGUF, which may hold nothing else."""

    def __init__(self, library_, path):
        self.lib = library_.lib
        params = self.lib.llama_model_default_params()
        # Behind the pointers come five booleans and more, vocab_only first; one that is true by default is among them.
        groups = [bytes(params.bytes)[i : i + 8] for i in range(40, 104, 8)]
        first = next(i for i, group in enumerate(groups) if set(group[:5]) == {0, 1})
        params.bytes[40 + 8 * first] = 1
        library_.messages.clear()
        self.model = self.lib.llama_model_load_from_file(str(path).encode(), params)
        if not self.model:
            raise RuntimeError("llama.cpp cannot load the vocabulary:\n" + "".join(library_.messages)[-2000:])
        self.vocabulary = self.lib.llama_model_get_vocab(self.model)
        self.size = self.lib.llama_vocab_n_tokens(self.vocabulary)

    def encode(self, text, special):
        """Ids; with `special`, BOS and EOS as the file says and control tokens that are written out."""
        raw = text.encode()
        room = len(raw) + 16
        tokens = (ctypes.c_int32 * room)()
        n = self.lib.llama_tokenize(self.vocabulary, raw, len(raw), tokens, room, special, special)
        assert n >= 0
        return tokens[:n]

    def decode(self, ids):
        """The bytes of plain tokens, as llama_detokenize joins them."""
        room = 64 * len(ids) + 64
        text = ctypes.create_string_buffer(room)
        n = self.lib.llama_detokenize(self.vocabulary, (ctypes.c_int32 * len(ids))(*ids), len(ids), text, room, False, False)
        assert n >= 0
        return text.raw[:n]

    def ends(self):
        return [id for id in range(self.size) if self.lib.llama_vocab_is_eog(self.vocabulary, id)]

    def close(self):
        self.lib.llama_model_free(self.model)


class Model:
    """A file that stays open, for sequences of at most `n_tokens` tokens."""

    def __init__(self, library_, path, n_tokens, threads=2):
        self.library, self.lib = library_, library_.lib
        self.model = self.context = self.batch = None
        self.library.messages.clear()
        self.model = self.lib.llama_model_load_from_file(str(path).encode(), self.lib.llama_model_default_params())
        if not self.model:
            raise self.failure("load the file")
        self.context = self.lib.llama_init_from_model(self.model, library_.context_params(max(n_tokens, 32), threads))
        if not self.context:
            error = self.failure("make a context")
            self.close()
            raise error
        self.vocabulary = self.lib.llama_vocab_n_tokens(self.lib.llama_model_get_vocab(self.model))
        self.batch = self.lib.llama_batch_init(n_tokens, 0, 1)

    def failure(self, action):
        return RuntimeError(f"llama.cpp cannot {action}:\n" + "".join(self.library.messages)[-2000:])

    def logits(self, tokens):
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)
        self.batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            self.batch.token[i], self.batch.pos[i], self.batch.n_seq_id[i], self.batch.logits[i] = int(token), i, 1, 1
            self.batch.seq_id[i][0] = 0
        if self.lib.llama_decode(self.context, self.batch) != 0:
            raise self.failure("run the file")
        rows = [np.ctypeslib.as_array(self.lib.llama_get_logits_ith(self.context, i), (self.vocabulary,)) for i in range(len(tokens))]
        return np.stack(rows)

    def close(self):
        if self.batch is not None:
            self.lib.llama_batch_free(self.batch)
        if self.context:
            self.lib.llama_free(self.context)
        if self.model:
            self.lib.llama_model_free(self.model)
        self.model = self.context = self.batch = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


_loaded = {}


def library_folder():
    root = pathlib.Path(os.environ.get("ATTAR_PEERS", pathlib.Path(__file__).resolve().parents[2] / "peers"))
    return root / FOLDER


def library():
    """The library, loaded once; the test is skipped, and says so, where it is missing."""
    folder = library_folder()
    if not folder.exists():
        pytest.skip(f"{folder} is missing; run 'make peers' to compare with llama.cpp")
    if folder not in _loaded:
        _loaded[folder] = Library(folder)
    return _loaded[folder]


GOLDEN = pathlib.Path(__file__).with_name("llama_cpp_golden.json")


def answer(key, ask, tolerance=1e-3):
    """What llama.cpp says, as numbers: asked now where the library is, and then the committed answer must still be that; else the
    committed one. ATTAR_RECORD_GOLDEN=1 commits what it says now."""
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if not library_folder().exists():
        warnings.warn(f"llama.cpp is not here: {key} is compared with its committed answer ('make peers' fetches it)", stacklevel=2)
        return np.array(golden[key])
    now = np.array(ask(), np.float64)
    if os.environ.get("ATTAR_RECORD_GOLDEN"):
        golden[key] = [float(f"{value:.6g}") for value in now]
        lines = [f"{json.dumps(name)}: {json.dumps(golden[name])}" for name in sorted(golden)]
        GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    np.testing.assert_allclose(now, golden[key], atol=tolerance * np.abs(now).max(), rtol=0)
    return now


def last_logits(key, path, tokens):
    """llama.cpp's logits of the last position: (V)."""
    return answer(key, lambda: library().logits(path, tokens)[-1])


def perplexity(path, tokens, window, threads=2):
    """exp of the mean negative log likelihood over windows of `window` tokens, every position but each first scored."""
    total, scored = 0.0, 0
    with Model(library(), path, window, threads) as model:
        for start in range(0, len(tokens) - 1, window):
            part = np.asarray(tokens[start : start + window])
            if len(part) < 2:
                break
            rows = model.logits(part)[:-1].astype(np.float64)
            peak = rows.max(axis=1, keepdims=True)
            log_sum = (peak + np.log(np.exp(rows - peak).sum(axis=1, keepdims=True)))[:, 0]
            total += float((log_sum - rows[np.arange(len(part) - 1), part[1:]]).sum())
            scored += len(part) - 1
    return float(np.exp(total / scored))
