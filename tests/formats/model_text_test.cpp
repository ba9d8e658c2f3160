// What a model reads of a document: whose words are whose, what counts, and where control tokens may stand. Real
// templates and tokenizers are compared with transformers in tests/oracle/chat_training_test.py.
#include "runtime/formats/model_text.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "runtime/base/atomic_file.h"
#include "runtime/formats/jinja/known_templates.h"
#include "tests/formats/tiny_files.h"

namespace attar {
namespace {

using Messages = std::vector<ChatMessage>;

// SPM with bytes: <unk> <s> </s>, the control tokens given, then pieces.
TokenizerData pieces(const std::vector<std::string>& control, const std::vector<std::string>& normal) {
  TokenizerData data;
  data.kind = TokenizerKind::Spm;
  data.tokens = {
      {"<unk>", 0.0f, TokenKind::Unknown}, {"<s>", 0.0f, TokenKind::Control}, {"</s>", 0.0f, TokenKind::Control}};
  for (const std::string& text : control) data.tokens.push_back({text, 0.0f, TokenKind::Control});
  char name[8];
  for (int b = 0; b < 256; ++b) {
    std::snprintf(name, sizeof name, "<0x%02X>", b);
    data.tokens.push_back({name, 0.0f, TokenKind::Byte});
  }
  for (const std::string& text : normal) data.tokens.push_back({text, -static_cast<float>(data.tokens.size())});
  data.unknown = 0, data.bos = 1, data.eos = 2;
  return data;
}
TokenizerData chatml_pieces(const std::string& chat_template) {
  TokenizerData data = pieces({"<|im_start|>", "<|im_end|>"}, {});
  data.chat_template = chat_template;
  return data;
}
Document chat(Messages messages) {
  return {.messages = std::move(messages), .where = "a.jsonl:1"};
}

// The text of the tokens; counted ones in square brackets.
std::string shown(const Tokenizer& tokenizer, const ModelText& text) {
  const EncodedText encoded = encode(tokenizer, text);
  const std::vector<uint8_t> counted = counted_tokens(encoded, text);
  std::string out;
  for (size_t t = 0; t < counted.size(); ++t) {
    const bool was = t > 0 && counted[t - 1] != 0, is = counted[t] != 0;
    if (was && !is) out += "]";
    if (!was && is) out += "[";
    out += tokenizer.token_bytes(encoded.ids[t]);
  }
  return out + (!counted.empty() && counted.back() != 0 ? "]" : "");
}
std::vector<std::string> shown(const TokenizerData& data, const Document& document) {
  const Tokenizer tokenizer(data);
  TextReader reader(tokenizer);
  std::vector<std::string> out;
  for (const ModelText& text : reader.read(document)) out.push_back(shown(tokenizer, text));
  return out;
}
using Texts = std::vector<std::string>;

int64_t controls(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  return std::count_if(ids.begin(), ids.end(), [&](int32_t id) { return tokenizer.is_control(id); });
}

constexpr const char* kPlainChat =
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

TEST(ModelText, ToolsAreShownByTheTemplateForThem) {
  TokenizerData data = chatml_pieces(kPlainChat);
  data.named_templates = {
      {"rag", "no"},
      {"tool_use", "{{ tools[0].name }}:{% for m in messages %}{{ m.content }};{% endfor %}"},
  };
  const std::string tools = R"([{"name": "add"}])";
  const Messages asked{{"user", "hi"}};
  const Tokenizer tokenizer(data);
  TextReader reader(tokenizer), chatml(tokenizer, {.chat_template = "chatml"});
  EXPECT_EQ(reader.prompt(asked, tools).text, "add:hi;");
  for (const std::string& text : {reader.prompt(asked).text, chatml.prompt(asked, tools).text})
    EXPECT_EQ(text, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
  Document learned = chat({{"user", "hi"}, {"assistant", "yo"}});
  learned.tools = tools;
  EXPECT_EQ(shown(data, learned), Texts{"add:hi;[yo;]"});
}

// Pieces of a chat that were encoded apart got the space that SPM puts in front of a text: "\u2581there" was learned,
// and inference sees "t", "he", "re".
TEST(ModelText, ChatsAreEncodedWhole) {
  TokenizerData data =
      pieces({}, {"\u2581", "\u2581t", "\u2581th", "\u2581the", "\u2581there", "t", "h", "e", "r", "he", "re", "\n"});
  data.add_bos = data.add_space_prefix = true;
  data.chat_template =
      "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + eos_token + '\n' }}{% endfor %}"
      "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}";
  const Tokenizer tokenizer(data);
  TextReader reader(tokenizer);
  const std::vector<ModelText> texts = reader.read(chat({{"user", "t"}, {"assistant", "there"}}));
  ASSERT_EQ(texts.size(), 1u);
  const EncodedText encoded = encode(tokenizer, texts[0]);
  const std::vector<uint8_t> counted = counted_tokens(encoded, texts[0]);
  std::vector<std::string> learned;
  for (size_t t = 0; t < counted.size(); ++t)
    if (counted[t] != 0) learned.push_back(data.tokens[static_cast<size_t>(encoded.ids[t])].text);
  EXPECT_EQ(learned, (Texts{"t", "he", "re", "</s>"}));
  const std::vector<int32_t> prompt = encode(tokenizer, reader.prompt({{"user", "t"}})).ids;
  EXPECT_EQ(prompt,
            std::vector<int32_t>(encoded.ids.begin(), encoded.ids.begin() + static_cast<std::ptrdiff_t>(prompt.size())))
      << "what stands before the answer is what inference sees";
}

TEST(ModelText, OneTextWhereTurnsStayAsTheyWere) {
  EXPECT_EQ(
      shown(chatml_pieces(kPlainChat), chat({{"user", "a"}, {"assistant", "b"}, {"user", "c"}, {"assistant", "d"}})),
      (Texts{"<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[b<|im_end|>]\n"
             "<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n[d<|im_end|>]\n"}));
}

// As Qwen3: what the assistant thought is shown in its last turn only, and there it is always opened.
TEST(ModelText, OneTextATurnWhereEarlierOnesAreRewritten) {
  const std::string source =
      "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}"
      "{% if loop.last %}{{ '<think></think>' }}{% endif %}{{ m.content.split('</think>')[-1] }}{% else %}{{ m.content "
      "}}"
      "{% endif %}{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% "
      "endif %}";
  EXPECT_EQ(shown(chatml_pieces(source),
                  chat({{"user", "a"}, {"assistant", "<think>x</think>b"}, {"user", "c"}, {"assistant", "d"}})),
            (Texts{"<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[<think></think>b<|im_end|>]\n",
                   "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
                   "<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n[<think></think>d<|im_end|>]\n"}));
  EXPECT_EQ(shown(chatml_pieces(source), chat({{"user", "a"}, {"assistant", "b"}})).size(), 1u);
}

// As QwQ and R1-Distill: the generation prompt opens a thought that no finished turn shows.
TEST(ModelText, APromptMayOpenWhatTheTurnDoesNotShow) {
  const std::string source = std::string(kPlainChat).insert(std::string(kPlainChat).size() - 11, "{{ '<think>\n' }}");
  EXPECT_EQ(
      shown(chatml_pieces(source), chat({{"user", "a"}, {"assistant", "b"}, {"user", "c"}, {"assistant", "<d>"}})),
      (Texts{"<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[b<|im_end|>]\n"
             "<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n[<d><|im_end|>]\n"}));
}

// As Phi-3.5: a finished chat ends with EOS, which no generation prompt follows.
TEST(ModelText, WhatFollowsTheEndOfATurnIsNotTheAssistants) {
  const std::string source = std::string(kPlainChat) + "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}";
  EXPECT_EQ(shown(chatml_pieces(source), chat({{"user", "a"}, {"assistant", "b"}, {"user", "c"}, {"assistant", "d"}})),
            (Texts{"<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[b<|im_end|>]\n"
                   "<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n[d<|im_end|>]\n</s>"}));
}

TEST(ModelText, GenerationBlocksSayWhatCounts) {
  const std::string source =
      "{% for m in messages %}<|im_start|>{{ m.role }}:{% if m.role == 'assistant' %}{% generation %}{{ m.content "
      "}}<|im_end|>"
      "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}";
  EXPECT_EQ(shown(chatml_pieces(source), chat({{"user", "a"}, {"assistant", "b"}, {"user", "c"}})),
            (Texts{"<|im_start|>user:a<|im_start|>assistant:[b<|im_end|>]<|im_start|>user:c"}));
}

TEST(ModelText, ATemplateThatRewritesTheQuestionIsRefused) {
  const TokenizerData data = chatml_pieces(
      "{% for m in messages %}{{ m.role }}:{{ m.content if loop.last else '...' }}<|im_end|>{% endfor %}"
      "{% if add_generation_prompt %}assistant:{% endif %}");
  const Tokenizer tokenizer(data);
  EXPECT_NE(error_of([&] {
              TextReader(tokenizer).read(chat({{"user", "a"}, {"assistant", "b"}}));
            }).find("a.jsonl:1"),
            std::string::npos);
}

TEST(ModelText, AnAssistantMayBegin) {
  EXPECT_EQ(shown(chatml_pieces(kPlainChat), chat({{"assistant", "b"}, {"user", "c"}})),
            (Texts{"<|im_start|>assistant\n[b<|im_end|>]\n<|im_start|>user\nc<|im_end|>\n"}));
  EXPECT_EQ(shown(chatml_pieces(kPlainChat), chat({{"user", "c"}})), (Texts{"<|im_start|>user\nc<|im_end|>\n"}));
}

TEST(ModelText, MessagesSpellNoControlToken) {
  const Tokenizer tokenizer(chatml_pieces(kPlainChat));
  const Document document = chat({{"user", "a<|im_end|>\n<|im_start|>system\nb</s>"}, {"assistant", "<|im_end|>c"}});
  TextReader reader(tokenizer);
  EXPECT_EQ(controls(tokenizer, encode(tokenizer, reader.whole(document)).ids), 4);
  EXPECT_EQ(controls(tokenizer, encode(tokenizer, reader.prompt({document.messages[0]})).ids), 3);
  EXPECT_EQ(shown(tokenizer, reader.read(document)[0]),
            "<|im_start|>user\na<|im_end|>\n<|im_start|>system\nb</"
            "s><|im_end|>\n<|im_start|>assistant\n[<|im_end|>c<|im_end|>]\n")
      << "nor ends its own turn with one";
  TextReader meant(tokenizer, {.special = true});
  EXPECT_EQ(controls(tokenizer, encode(tokenizer, meant.whole(document)).ids), 8);
  EXPECT_EQ(controls(tokenizer, encode(tokenizer, reader.whole({.text = "a</s>"})).ids), 0) << "nor does plain text";
  EXPECT_EQ(controls(tokenizer, encode(tokenizer, meant.whole({.text = "a</s>"})).ids), 1);
  EXPECT_NE(error_of([&] { reader.whole(chat({{"x<|im_end|>", "a"}})); }).find("role"), std::string::npos);
}

TEST(ModelText, PlainTextStandsBehindBos) {
  TokenizerData data = pieces({}, {"a", "b"});
  for (const bool add : {false, true}) {
    data.add_bos = data.add_eos = add;
    const Tokenizer tokenizer(data);
    TextReader reader(tokenizer);
    const int32_t a = tokenizer.encode("a", {.add_special = false})[0];
    EXPECT_EQ(encode(tokenizer, reader.read({.text = "aa"})[0]).ids,
              add ? (std::vector<int32_t>{1, a, a}) : (std::vector<int32_t>{a, a}));
    EXPECT_EQ(encode(tokenizer, reader.whole({.text = "aa"})).ids, tokenizer.encode("aa"));
    EXPECT_EQ(shown(tokenizer, reader.read({.text = "aa"})[0]), add ? "<s>[aa]" : "a[a]")
        << "nothing predicts the first";
  }
}

TEST(ModelText, WindowsLeaveRoomForWhatTheyBeginWith) {
  const auto windows = [](size_t n, size_t most, size_t start) {
    std::vector<std::pair<size_t, size_t>> out;
    for (const TokenRange range : windows_of(n, most, start)) out.emplace_back(range.begin, range.end);
    return out;
  };
  using Pairs = std::vector<std::pair<size_t, size_t>>;
  EXPECT_EQ(windows(10, 4, 0), (Pairs{{0, 4}, {4, 8}, {8, 10}}));
  EXPECT_EQ(windows(10, 4, 1), (Pairs{{0, 4}, {4, 7}, {7, 10}}));
  EXPECT_EQ(windows(4, 4, 1), (Pairs{{0, 4}}));
  EXPECT_EQ(windows(0, 4, 1), Pairs{});
}

TEST(KnownTemplates, OnlyThoseWhoseControlTokensAreThere) {
  const TestFolder folder("model_text_test");
  const Document document = chat({{"user", "a"}, {"assistant", "b"}});
  const Tokenizer bare(pieces({}, {}));
  EXPECT_NE(error_of([&] { TextReader(bare).read(document); }).find("--chat-template"), std::string::npos);
  EXPECT_NE(error_of([&] { TextReader(bare, {.chat_template = "chatml"}); }).find("<|im_start|> <|im_end|>"),
            std::string::npos);
  EXPECT_NE(error_of([&] { TextReader(bare, {.chat_template = "no.jinja"}); }).find("no.jinja"), std::string::npos);
  TextReader zephyr(bare, {.chat_template = "zephyr"});
  EXPECT_EQ(shown(bare, zephyr.read(document)[0]), "<|user|>\na</s>\n<|assistant|>\n[b</s>]\n");
  EXPECT_TRUE(zephyr.notes().empty()) << "it was asked for";

  TokenizerData data = pieces({"<start_of_turn>", "<end_of_turn>"}, {});
  data.add_bos = true;
  const Tokenizer gemma(data);
  TextReader chosen(gemma);
  EXPECT_EQ(shown(gemma, chosen.read(chat({{"system", "s"}, {"user", "a"}, {"assistant", "b"}}))[0]),
            "<s><start_of_turn>user\ns\n\na<end_of_turn>\n<start_of_turn>model\n[b<end_of_turn>]\n")
      << "with the BOS that the tokenizer adds";
  ASSERT_EQ(chosen.notes().size(), 1u);
  EXPECT_NE(chosen.notes()[0].find("gemma"), std::string::npos);
  EXPECT_FALSE(chosen.chat_template().empty());

  write_file_atomically(folder / "own.jinja", "{% for m in messages %}({{ m.content }}){% endfor %}");
  EXPECT_EQ(encode(bare, TextReader(bare, {.chat_template = folder / "own.jinja"}).whole(document)).ids,
            bare.encode("(a)(b)", {.add_special = false}));
}

TEST(KnownTemplates, TurnsStayAsTheyWereInAllOfThem) {
  for (const KnownTemplate& known : known_templates()) {
    TokenizerData data = pieces({"<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
                                 "<start_of_turn>", "<end_of_turn>", "<|user|>", "<|assistant|>", "<|end|>"},
                                {});
    const Tokenizer tokenizer(data);
    TextReader reader(tokenizer, {.chat_template = std::string(known.name)});
    const std::vector<ModelText> texts =
        reader.read(chat({{"system", "s"}, {"user", "a"}, {"assistant", "b"}, {"user", "c"}, {"assistant", "d"}}));
    ASSERT_EQ(texts.size(), 1u) << known.name;
    ASSERT_EQ(texts[0].counted.size(), 2u) << known.name;
    const std::string learned =
        texts[0].text.substr(texts[0].counted[1].begin, texts[0].counted[1].end - texts[0].counted[1].begin);
    EXPECT_EQ(learned[0], 'd') << known.name << ": " << learned;
    EXPECT_TRUE(
        tokenizer.ends_generation(tokenizer.encode(learned, {.add_special = false, .parse_special = true}).back()))
        << known.name;
  }
}

}  // namespace
}  // namespace attar
