"""What is learned of a chat, beside transformers and jinja2: ids of the whole rendered text, and which of them the assistant says."""

import json
import subprocess

import pytest
from chat_template_test import environment_of, real_template
from conftest import program, shared
from gguf import GGUFReader
from tokenizer_oracles import npm_folder, spm_oracle

pytestmark = pytest.mark.parity

DAY = "01 Jan 2025"  # of texts in files
CHATS = [
    [{"role": "user", "content": "Once upon a time"}, {"role": "assistant", "content": "there was a dog"}],
    [
        {"role": "user", "content": "Once upon a time"},
        {"role": "assistant", "content": "there was a dog"},
        {"role": "user", "content": "and then"},
        {"role": "assistant", "content": "he was happy"},
    ],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": " Hi \n"},
        {"role": "assistant", "content": "<think>\nA greeting.\n</think>\n\nHello!"},
        {"role": "user", "content": "é 日本 🚀?"},
        {"role": "assistant", "content": "\nüñí 日本 🚀\n\n"},
    ],
]


def learned(model, chats, tmp_path, *template):
    """[[{"ids", "counted"}, ...] a chat] as training reads them."""
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    done = subprocess.run([program("tokenizer_dump"), model, "chats", path, *template], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def common_prefix(a, b):
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def expected_texts(template, oracle, chat, special, ends):
    """[(ids, counted)]: turns by rendering what stood before them and what they made of it; learned to the first token that ends a reply."""
    environment = environment_of("any")
    environment.globals["strftime_now"] = lambda format: DAY
    compiled = environment.from_string(template)

    def render(messages, prompt):
        return compiled.render(messages=messages, tools=None, documents=None, add_generation_prompt=prompt, date_string=DAY, **special)

    turns = []
    for i, message in enumerate(chat):
        if message["role"] == "assistant":
            text = render(chat[: i + 1], False)
            begin = common_prefix(render(chat[:i], True), text)
            encoded = oracle.encode(text, add_special_tokens=False)
            end = next((end for token, (_, end) in zip(encoded.tokens, encoded.offsets, strict=True) if end > begin and token in ends), len(text))
            turns.append((text, begin, end))
    whole = render(chat, False)
    if all(whole.startswith(text[:end]) for text, _, end in turns):
        texts = [(whole, [(begin, end) for _, begin, end in turns])]
    else:
        texts = [(text, [(begin, end)]) for text, begin, end in turns]
    out = []
    for text, spans in texts:
        encoded = oracle.encode(text, add_special_tokens=False)
        counted = [int(i > 0 and any(b < end and e > begin for begin, end in spans)) for i, (b, e) in enumerate(encoded.offsets)]
        out.append((encoded.ids, counted))
    return out


REAL = {
    "llama3": ({"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}, {"<|eot_id|>", "<|eom_id|>"}),
    "qwen3": ({"eos_token": "<|im_end|>"}, {"<|im_end|>", "<|endoftext|>"}),
    "gemma3": ({"bos_token": "<bos>", "eos_token": "<eos>"}, {"<end_of_turn>", "<eos>"}),
}


@pytest.mark.parametrize("name", REAL)
def test_real_templates(name, tmp_path):
    folder, oracle = npm_folder(name)
    special, ends = REAL[name]
    got = learned(folder, CHATS, tmp_path)
    for chat, texts in zip(CHATS, got, strict=True):
        expected = expected_texts(real_template(name), oracle, chat, special, ends)
        assert [(text["ids"], text["counted"]) for text in texts] == expected, oracle.decode(texts[0]["ids"], skip_special_tokens=False)
    assert len(got[1]) == (2 if name == "qwen3" else 1), "Qwen3 shows earlier turns without their thoughts"


ZEPHYR = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
MISTRAL = "{{ bos_token }}{% for m in messages %}{% if m.role != 'assistant' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
LLAMA2 = "{% for m in messages %}{% if m.role != 'assistant' %}{{ bos_token }}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}"
# as QwQ and R1-Distill: the prompt opens a thought that no finished turn shows
THINKING = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<a>{{ m.content.split('</think>')[-1] }}{{ eos_token }}{% else %}<u>{{ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<a><think>\n{% endif %}"
)
# as Phi-3.5: what is not to be answered ends with EOS once more
ENDED = ZEPHYR + "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}"


def spm_with(template, folder):
    """A Hugging Face directory of the 512 pieces of stories260K, and its oracle."""
    fields = GGUFReader(str(shared("models/stories260K.f32.gguf"))).fields
    oracle = spm_oracle(fields["tokenizer.ggml.tokens"].contents(), fields["tokenizer.ggml.scores"].contents())
    oracle.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "chat_template": template}))
    return str(folder), oracle


@pytest.mark.parametrize("template", [ZEPHYR, MISTRAL, LLAMA2, THINKING, ENDED])
def test_spm(template, tmp_path):
    model, oracle = spm_with(template, tmp_path)
    got = learned(model, CHATS[:2], tmp_path)
    for chat, texts in zip(CHATS[:2], got, strict=True):
        expected = expected_texts(template, oracle, chat, {"bos_token": "<s>", "eos_token": "</s>"}, {"</s>"})
        assert [(text["ids"], text["counted"]) for text in texts] == expected
        # what is learned begins as inference sees it: the ids of the prompt come first
        prompt = environment_of("any").from_string(template).render(messages=chat[:1], add_generation_prompt=True, bos_token="<s>", eos_token="</s>")
        ids = oracle.encode(prompt, add_special_tokens=False).ids
        if template != THINKING:
            assert texts[0]["ids"][: len(ids) - 1] == ids[:-1]


GENERATION = (
    "{% for m in messages %}<|{{ m.role }}|>\n{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}{% else %}"
    "{{ m.content }}{% endif %}\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


@pytest.mark.parametrize("name", ["spm", "llama3"])
def test_generation_blocks_as_transformers(name, tmp_path):
    transformers = pytest.importorskip("transformers")
    model = spm_with(GENERATION, tmp_path)[0] if name == "spm" else npm_folder(name)[0]
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=f"{model}/tokenizer.json", bos_token="<s>" if name == "spm" else "<|begin_of_text|>", eos_token="</s>" if name == "spm" else "<|end_of_text|>"
    )
    (tmp_path / "generation.jinja").write_text(GENERATION)
    got = learned(model, CHATS, tmp_path, tmp_path / "generation.jinja")
    for chat, texts in zip(CHATS, got, strict=True):
        expected = tokenizer.apply_chat_template(chat, chat_template=GENERATION, return_dict=True, return_assistant_tokens_mask=True)
        assert [text["ids"] for text in texts] == [expected["input_ids"]]
        assert texts[0]["counted"] == expected["assistant_masks"]
