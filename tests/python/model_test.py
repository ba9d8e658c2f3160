"""Model, Tokenizer and what they return."""

import concurrent.futures
import copy
import json
import os
import pathlib
import pickle
import re
import shutil
import threading

import numpy as np
import pytest
import torch
from package_test import ROOT, attar, model, teacher, tiny, usage  # noqa: F401


def test_generate_gives_text_tokens_and_why_it_ended(model):  # noqa: F811
    said = model.generate("The", max_tokens=5, temperature=0)
    assert len(said.tokens) == 5 and said.stop_reason == "max_tokens" and said.prompt_tokens == len(model.tokenize("The"))
    assert str(said) == said.text == said["text"] == model.detokenize(said.tokens) and json.loads(json.dumps(said)) == said
    word = said.text.split()[-1]
    stopped = model.generate("The", max_tokens=5, temperature=0, stop=word)
    assert stopped.stop_reason == "stop_string" and stopped.text == said.text[: said.text.index(word)]
    room = model.config.context_length
    full = model.generate("The sea is wide. " * 60, max_tokens=room, temperature=1, seed=1)
    assert full.stop_reason in ("context_full", "end_of_text") and full.prompt_tokens + len(full.tokens) <= room + 1


def test_generate_continues_many_prompts_at_once(model, tiny):  # noqa: F811
    prompts = ["The", "A cat", "The sea is wide and blue", "The", ""]
    options = {"max_tokens": 12, "temperature": 1.0, "seed": 3, "lookup": 2}
    texts = model.generate(prompts, **options)
    assert [text.text for text in texts] == [model.generate(prompt, **options).text for prompt in prompts]
    assert texts[0] == texts[3] and texts[2].stop_reason and len(texts[1].tokens) <= 12
    drafted = attar.Model(tiny["gguf"], numerics="fp32", draft=tiny["gguf"]).generate(prompts, **options)
    assert [text.text for text in drafted] == [text.text for text in texts] and any(text.accepted_tokens for text in drafted)
    assert model.generate(tuple(prompts[:1]), **options) == texts[:1] and model.generate([], **options) == []
    with usage("prompt"):
        model.generate(["The", 3], **options)


def test_a_prompt_cache_changes_no_text(model, tiny, tmp_path):  # noqa: F811
    options = {"max_tokens": 6, "temperature": 1.0, "seed": 3}
    file = tmp_path / "said"
    first = model.generate("The sea is", **options, prompt_cache=file)
    assert first == model.generate("The sea is", **options) and file.stat().st_size > 100
    longer = f"The sea is{first.text}"
    assert model.generate(longer, **options, prompt_cache=file) == model.generate(longer, **options)
    assert "".join(attar.Model(tiny["gguf"], numerics="fp32").stream("The sea is", **options, prompt_cache=file)) == first.text, "opened anew"
    with pytest.raises(attar.Error, match="of another model"):
        attar.Model(tiny["gguf"]).generate("The", **options, prompt_cache=file)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(attar.Error, match="damaged"):
        model.generate("The", **options, prompt_cache=file)
    with usage("prompt_cache"):
        model.generate(["The"], prompt_cache=file)


def test_a_stream_is_the_same_text_piece_by_piece(model):  # noqa: F811
    options = {"max_tokens": 30, "temperature": 1.0, "seed": 7}
    stream = model.stream("The", **options)
    first = next(stream)
    assert first and stream.result.stop_reason is None and stream.result.text == first
    pieces = [first, *stream]
    whole = model.generate("The", **options)
    assert "".join(pieces) == whole.text and stream.result == whole and len(pieces) > 3
    assert list(stream) == [] and all(piece.encode() for piece in pieces)


def test_a_text_keeps_to_a_grammar_or_a_schema(model, tmp_path):  # noqa: F811
    options = {"max_tokens": 60, "temperature": 1.0}
    for seed in range(3):
        said = model.generate("The", grammar='root ::= [a-z]{2,5} " " ("sea" | "cat")', seed=seed, **options)
        assert re.fullmatch("[a-z]{2,5} (sea|cat)", said.text) and said.stop_reason == "end_of_text"
        schema = {"type": "object", "properties": {"a": {"enum": [1, "é"]}, "b": {"type": "boolean"}}, "required": ["a", "b"]}
        answer = model.generate("The", json_schema=schema, seed=seed, **options)
        assert json.loads(answer.text)["a"] in (1, "é") and model.generate("The", json_schema=json.dumps(schema), seed=seed, **options) == answer
        assert "".join(model.stream("The", json_schema=schema, seed=seed, **options)) == answer.text
    path = tmp_path / "yes.gbnf"
    path.write_text('root ::= "yes"')
    assert model.generate("The", grammar=path).text == "yes"
    with usage("grammar:1:10", "the rule `yse` is not defined", "did you mean `yes`?"):
        model.generate("The", grammar='root ::= yse\nyes ::= "y"')
    with usage("json_schema at #/items", "the keyword tpye cannot be honoured", "did you mean `type`?"):
        model.generate("The", json_schema={"items": {"tpye": "string"}})
    with usage("json_schema", "is given beside a grammar"):
        model.generate("The", json_schema={}, grammar="root ::= [a]")


def test_biases_are_added_to_tokens_by_id_or_text(model):  # noqa: F811
    first = model.generate("The", max_tokens=1, temperature=0).tokens[0]
    second = model.generate("The", max_tokens=1, temperature=0, logit_bias={first: -1000}).tokens[0]
    assert second != first
    name = model.detokenize([second])
    assert model.generate("The", max_tokens=1, temperature=0, logit_bias={name: 1000}).tokens == [second]
    assert model.generate("The", max_tokens=1, temperature=0, logit_bias={first: float("-inf")}).tokens == [second]
    for wrong, said in [({10**8: 1}, "outside the vocabulary"), ({"no such token": 1}, "is not one token"), ({first: 2000}, "at most 1000"), ({first: "x"}, "another type")]:
        with usage("logit_bias", said):
            model.generate("The", max_tokens=1, logit_bias=wrong)


def test_a_model_serves_others_between_two_pieces(model):  # noqa: F811
    alone = model.generate("A", max_tokens=4, temperature=0).text
    expected = model.generate("The", max_tokens=8, temperature=0).text
    pieces = []
    for piece in model.stream("The", max_tokens=8, temperature=0):
        pieces.append(piece)
        assert model.generate("A", max_tokens=4, temperature=0).text == alone
    assert "".join(pieces) == expected
    texts = {}
    threads = [threading.Thread(target=lambda name=name: texts.update({name: "".join(model.stream("The", max_tokens=8, temperature=0))})) for name in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(texts.values()) == {expected}


def test_a_stream_outlives_the_name_of_its_model(tiny):  # noqa: F811
    stream = attar.Model(tiny["gguf"], threads=1).stream("The", max_tokens=4, temperature=0)
    assert "".join(stream)


def test_embed_gives_a_vector_for_each_text(model):  # noqa: F811
    texts = ["The sea is wide and blue", "A", "The sea is calm. " * 9]
    vectors = model.embed(texts)
    assert vectors.shape == (3, model.config.width) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.array_equal(model.embed(texts[2]), vectors[2]) and model.embed([]).shape == (0, model.config.width)
    own, last = model.embed(texts, normalize=False), model.embed(texts, pooling="last")
    assert np.allclose(own / np.linalg.norm(own, axis=1, keepdims=True), vectors, atol=1e-6) and not np.allclose(own, vectors)
    assert not np.allclose(last[0], vectors[0])
    with usage("pooling", "is unknown", "mean or last"):
        model.embed(texts, pooling="max")


def test_logits_keep_the_last_position_and_take_batches(model):  # noqa: F811
    ids = model.tokenize("The sea is wide and blue")
    logits = model.logits(ids)
    assert logits.shape == (len(ids), model.config.vocab_size) and logits.dtype == np.float32
    assert np.array_equal(model.logits([*ids, 5])[:-1], logits), "what follows changes nothing before it"
    assert int(logits[-1].argmax()) == model.generate("The sea is wide and blue", max_tokens=1, temperature=0).tokens[0]
    batch = np.array([ids, ids[::-1]])
    assert np.array_equal(model.logits(batch), np.stack([logits, model.logits(ids[::-1])]))
    assert np.array_equal(model.logits(torch.tensor(batch)), model.logits(batch.tolist())) and model.score(batch).shape == batch.shape
    assert np.array_equal(model.logits("The sea is wide and blue"), logits) and model.logits([]).shape == (0, model.config.vocab_size)
    assert model.logits([3] * model.config.context_length).shape[0] == model.config.context_length
    with usage("tokens", "several lengths", "pad them"):
        model.logits([[1, 2], [3]])
    with usage("tokens", "one or two dimensions", "3"):
        model.logits([[[1]]])


def test_a_tokenizer_alone(model, tiny):  # noqa: F811
    tokenizer = attar.Tokenizer(tiny["gguf"])
    ids = tokenizer.encode("The sea is wide")
    assert ids == model.tokenizer.encode("The sea is wide") == model.tokenize("The sea is wide") and tokenizer.decode(ids) == "The sea is wide"
    assert len(tokenizer) == tokenizer.vocab_size == model.config.vocab_size and repr(tokenizer) == "Tokenizer(BPE, 982 tokens)"
    (end,) = tokenizer.encode("<|endoftext|>", special=True, start=False)
    assert tokenizer.decode([end]) == "" and tokenizer.decode([end], special=True) == "<|endoftext|>" and end in (tokenizer.bos, tokenizer.eos)
    with usage("tokens", "outside the vocabulary", "982"):
        tokenizer.decode([982])
    with usage("model", "a str or a path", "5"):
        attar.Tokenizer(5)


def test_a_chat_through_a_template(tiny, tmp_path):  # noqa: F811
    (tmp_path / "own.jinja").write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    tokenizer = attar.Tokenizer(tiny["gguf"])
    ids = tokenizer.chat([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}], chat_template=tmp_path / "own.jinja")
    assert tokenizer.decode(ids) == "system: Be brief.\nuser: Hi\n"
    with usage("messages", "role", "content"):
        tokenizer.chat([{"role": "user", "words": "Hi"}], chat_template=tmp_path / "own.jinja")


def test_inspect_says_what_the_program_says(tiny):  # noqa: F811
    found = attar.inspect(tiny["gguf"])
    assert found.family == "llama" and found.types and len(found.layers) == attar.Model(tiny["gguf"]).config.layers
    assert found.layers[0].n_heads >= 1 and found.content_sha256


def test_bench(tiny):  # noqa: F811
    rows = attar.bench(tiny["gguf"], n_prompt=[8, 16], n_gen=4, threads=1, repetitions=2).rows
    assert [(row.n_prompt, row.n_gen) for row in rows] == [(8, 0), (16, 0), (0, 4)] and all(len(row.samples_ts) == 2 for row in rows)
    assert attar.bench(tiny["gguf"], n_prompt=8, n_gen=0, threads=1, repetitions=1, numerics="fp32").rows[0].n_prompt == 8
    with usage("numerics", "fp32 or deployed", "int8"):
        attar.bench(tiny["gguf"], numerics="int8")
    for wrong in ({"n_prompt": "many"}, {"n_gen": -1}, {"n_depth": [1, 2.5]}, {"threads": None}, {"repetitions": []}):
        with usage(next(iter(wrong)), "whole number"):
            attar.bench(tiny["gguf"], **wrong)
    with usage("attar.bench: n_depth and n_prompt: go past the model's context"):
        attar.bench(tiny["gguf"], n_prompt=10**6)
    with pytest.raises(attar.Error, match="does not exist", check=lambda error: error.kind == "input"):
        attar.bench("missing.gguf")


def test_how_things_look(model, tiny):  # noqa: F811
    assert repr(model).startswith(f"Model({tiny['gguf']!r}, llama, ") and "M parameters" in repr(model) and "numerics='fp32'" in repr(model)
    assert repr(tiny).startswith("Run(folder=") and "verify=Verification(kl=" in repr(tiny) and len(repr(tiny)) < 1000
    assert repr(attar.inspect(tiny["gguf"])).startswith("Result(schema_version=1, name=")


def test_results_are_dicts_with_attributes(tiny):  # noqa: F811
    report = tiny.report
    stage = report["results"]["stages"][-1]["results"]
    mode = stage["deployed"] or stage["fp32"]
    assert report.verify.kl == tiny.verify.kl == mode["kl"]["mean"] and report.verify.top1 == mode["top1_agreement"]
    assert report.verify.passed is tiny.gates_passed and report.verify.results.scored_tokens == stage["scored_tokens"]
    assert json.loads(json.dumps(tiny)) == tiny and isinstance(tiny, dict) and tiny.gguf == tiny["gguf"]
    assert pickle.loads(pickle.dumps(report.results)) == copy.deepcopy(report.results) == report.results
    assert "gguf" in dir(tiny)
    with pytest.raises(AttributeError, match="did you mean `folder`"):
        tiny.foldr  # noqa: B018
    with pytest.raises(AttributeError, match="it has text, tokens"):
        attar.Generated({"text": "", "tokens": []}).nonsense  # noqa: B018


def test_what_is_no_text_is_refused(model, tiny):  # noqa: F811
    """None was no text at all, a dict the names in it, and a path a list of one."""
    for wrong in (None, {"role": "user", "content": "x"}, pathlib.Path("x"), b"x"):
        with usage("prompt", "a str"):
            model.generate(wrong, max_tokens=1)
        with usage("texts", "a str"):
            model.embed(wrong)
    for messages in ({"role": "user", "content": "x"}, [{"role": "user", "content": None}], ["x"]):
        with usage("messages", "role"):
            model.tokenizer.chat(messages, chat_template="chatml")
    with usage("data", "list of str"):
        attar.evaluate(tiny["gguf"], data={str(ROOT / "recipes/text/held_out.txt"): 0.5})
    with usage("tokenize", "spcial", "did you mean `special`"):
        model.tokenize("a", spcial=True)
    with pytest.raises(attar.Error, match="is not UTF-8", check=lambda error: error.kind == "input"):
        model.tokenize("half a \ud83d")


def test_no_rows_of_tokens_are_no_rows(model):  # noqa: F811
    none = np.zeros((0, 3), int)
    assert model.score(none).shape == (0, 3) and model.logits(none).shape == (0, 3, model.config.vocab_size)
    assert model.score([]).shape == (0,) and model.logits([]).shape == (0, model.config.vocab_size)


def test_a_file_whose_name_is_not_utf8(tiny, tmp_path):  # noqa: F811
    path = tmp_path / os.fsdecode(b"caf\xe9.gguf")
    shutil.copy(tiny["gguf"], path)
    assert attar.Model(path).config == attar.Model(tiny["gguf"]).config
    assert attar.inspect(str(path)).content_sha256 == attar.inspect(tiny["gguf"]).content_sha256
    with pytest.raises(attar.Error, match=r"caf\\xe9-2\.gguf: does not exist"):
        attar.inspect(tmp_path / os.fsdecode(b"caf\xe9-2.gguf"))


def test_numbers_of_numpy_are_numbers(model, tiny):  # noqa: F811
    assert attar.bench(tiny["gguf"], n_prompt=np.array([8]), n_gen=np.int64(0), threads=np.int32(1), repetitions=np.int8(1)).rows[0].n_prompt == 8
    assert len(model.generate("The", max_tokens=np.int64(2), temperature=np.float32(0)).tokens) == 2


def test_another_thread_may_ask_what_there_is_of_a_text(model):  # noqa: F811
    stream = model.stream("The", max_tokens=200, temperature=0)
    with concurrent.futures.ThreadPoolExecutor() as others:
        asked = [others.submit(lambda: [stream.result.tokens for _ in range(300)]) for _ in range(2)]
        for _ in stream:
            pass
    whole = stream.result.tokens
    assert all(tokens == whole[: len(tokens)] for one in asked for tokens in one.result())
