"""Real and hostile texts for comparing tokenizers: the same list on every machine that has the shared data."""

import gzip
import json
import random
import unicodedata

import conftest

# What real text is made of when it is not plain English.
SAMPLES = [
    "",
    " ",
    "  ",
    "\n",
    "\n\n\n",
    "\t",
    " \n \n",
    "\r\n\r\n",
    "a",
    " a",
    "a ",
    "  a  b   c    d",
    "\u00a0",
    "\u3000全角",
    "\ufeffBOM",
    "I'll we've IT'S 'S 'T 'RE 'Ve don't o'clock ''' 'ſ 'ſabc k'K",
    "x=1+2; y='a'*3 // note\n\tfor(;;){}\n",
    "<table><tr><td>1</td></tr></table>",
    "1234567890 3.14159 1,000,000 ١٢٣ १२३ Ⅷ ½ ²³ 𝟙𝟚𝟛",
    "Straße naïve café ÀÉÎÕÜ œuvre ŁÓDŹ İstanbul",
    "Привет, мир! Как дела? ЁЖИК",
    "Γειά σου Κόσμε",
    "שלום עולם",
    "مرحبا بالعالم، كيف الحال؟",
    "नमस्ते दुनिया क्षत्रिय",
    "สวัสดีชาวโลก",
    "你好,世界!我们去吃饭吧。",
    "こんにちは世界、カタカナひらがな",
    "안녕하세요 세계",
    "ხალხი მსოფლიო",
    "👍🏽👨‍👩‍👧‍👦🇩🇪🏳️‍🌈 ok",
    "e\u0301 a\u030a \u1100\u1161\u11a8 \u0041\u0300\u0301 \u212b \u2126 ﬁ ﷺ",
    "\u200b\u200c\u200d\u2060\u00ad\u202e",
    "\x00\x01\x02\x7f\x80",
    "\u180e \u2028 \u2029 \u0085",
    "<|endoftext|> <|im_start|>user\n<s></s><unk><bos><eos><start_of_turn><0x0A><0x41>",
    "▁ ▁▁ ▁a a▁b ▁▁▁▁",
    "<|im_start",
    "<unused1><unused10><unused",
    "[multimodal][toxicity]<mask>",
    "=" * 100,
    "-=" * 60,
    "ab" * 80,
    "a" * 300,
    "aaaaab" * 40,
    "0" * 200,
    "\n" * 70,
    " " * 70,
    "\t" * 70,
    "\n \n  \n   " * 9,
    "!?" * 50,
    "ſ" * 20,
    "字" * 150,
    "👍" * 60,
    "https://example.org/a/b?c=d&e=f#g user@example.com C:\\path\\file.txt",
    "camelCase snake_case SCREAMING_CASE kebab-case",
    "\ud7a3\ue000\ufffd\uffff\U0001f9ff\U000e0001\U0010ffff",
]
ALPHABETS = [
    "ab c",
    "aA'sStTrReEvVmMlLdD ",
    "01234 a",
    " \n\t\r\u00a0\u3000x",
    "=-_*#~.,:;!?()[]{}<>/\\|\"'` ",
    "▁ <>0xAF|a",
    "éèêëàüößçñ e\u0301\u0300",
    "的一是不了人我在有他这",
    "абвгдежзиклмн ",
    "👍🏽👩‍💻🇩🇪\u200d\ufe0f",
    "<|>imstarend_oftx",
    "\x00\x01\x04\x1f\x7f\u0080\u0099",
]


def _documents():
    """Real text of the shared data folder, in pieces of 40 to 2000 characters."""
    random_ = random.Random(5)
    for name, key in [
        ("c4_sample/c4_demo.jsonl", "text"),
        ("instruct/alpaca_en_demo.jsonl", "output"),
        ("instruct/glaive_toolcall_en_demo.jsonl", None),
        ("wikitext2/wiki.valid.tokens.gz", None),
        ("tinyshakespeare/train.txt", None),
        ("books/valid.txt.gz", None),
    ]:
        path = conftest.SHARED / name
        if not path.exists():
            continue
        data = path.read_bytes()
        text = (gzip.decompress(data) if name.endswith(".gz") else data).decode("utf-8", errors="ignore")
        if key:
            text = "\n".join(json.loads(line)[key] for line in text.splitlines() if line.strip()) if name.endswith("l") else text
        at = 0
        for _ in range(250):
            length = random_.choice([40, 90, 200, 400, 800, 2000])
            yield text[at : at + length]
            at += length
            if at >= len(text):
                break
    blns = conftest.SHARED / "robustness" / "blns.json"
    if blns.exists():
        yield from json.loads(blns.read_text())


def _random_text(random_):
    kind = random_.randrange(4)
    length = random_.choice([1, 2, 3, 5, 8, 13, 30, 80])
    if kind == 0:  # one small alphabet: long runs, self-overlapping repeats
        alphabet = random_.choice(ALPHABETS)
        return "".join(random_.choice(alphabet) for _ in range(length * 2))
    if kind == 1:  # samples glued together, cut anywhere
        text = "".join(random_.choice(SAMPLES) for _ in range(3))
        begin = random_.randrange(len(text) + 1)
        return text[begin : begin + 4 * length]
    if kind == 2:  # any assigned characters of Unicode 14 and older
        out = []
        while len(out) < length:
            c = chr(random_.randrange(0x30000) if random_.random() < 0.3 else random_.randrange(0x3000))
            if unicodedata.category(c) not in ("Cn", "Cs"):
                out.append(c)
        return "".join(out)
    words = [random_.choice(["the", "Tokenizer", " of", "naïve", "12", "::", "\n", " ", "  ", "don't", "ÀB", "世界", "▁", "</b>", "=="]) for _ in range(length)]
    return "".join(words)


def texts(count=6000):
    random_ = random.Random(7)
    found = list(SAMPLES) + list(_documents())
    while len(found) < count:
        found.append(_random_text(random_))
    return found
