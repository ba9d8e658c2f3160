// What a tokenizer's file says beside texts and merges, through GGUF and through a Hugging Face directory and back.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "runtime/base/atomic_file.h"
#include "runtime/base/input_file.h"
#include "runtime/formats/tokenizer/files/gguf_tokenizer.h"
#include "runtime/formats/tokenizer/models/bpe.h"
#include "runtime/formats/tokenizer/split.h"
#include "runtime/formats/tokenizer/unicode.h"
#include "tests/formats/tiny_files.h"

namespace attar {
namespace {

using Ids = std::vector<int32_t>;

// The bytes at 0 to 255, then these control tokens.
TokenizerData with_control(const std::vector<std::string>& texts) {
  TokenizerData data;
  for (int b = 0; b < 256; ++b) data.tokens.push_back({byte_mapped(std::string(1, static_cast<char>(b)))});
  for (const std::string& text : texts) data.tokens.push_back({text, 0.0f, TokenKind::Control});
  return data;
}
constexpr int32_t kFirst = 256;

class Conversions : public testing::Test {
 protected:
  TestFolder folder_{"conversions_test"};

  TokenizerData through_gguf(const TokenizerData& data) {
    write_gguf(folder_ / "a.gguf", gguf_tokenizer_entries(data), {});
    return read_gguf_tokenizer(GgufFile::open(folder_ / "a.gguf"));
  }
  TokenizerData through_directory(const TokenizerData& data) {
    write_hf_tokenizer(folder_.path(), data);
    return read_hf_tokenizer(folder_.path());
  }
  static Ids ends(const TokenizerData& data) {
    const Tokenizer tokenizer(data);
    Ids ids;
    for (int32_t id = 0; id < tokenizer.vocab_size(); ++id)
      if (tokenizer.ends_generation(id)) ids.push_back(id);
    return ids;
  }
};

TEST_F(Conversions, EveryEndSurvives) {
  TokenizerData data = with_control({"<a>", "<b>", "<c>", "<d>", "<e>", "<f>"});
  data.eos = kFirst;
  for (int32_t n = 1; n <= 5; ++n) {
    data.end_of_generation.push_back(kFirst + n);
    Ids expected;
    for (int32_t id = kFirst; id <= kFirst + n; ++id) expected.push_back(id);
    EXPECT_EQ(ends(through_gguf(data)), expected);
    EXPECT_EQ(ends(through_directory(data)), expected);
    EXPECT_EQ(ends(through_directory(through_gguf(through_directory(data)))), expected);
    EXPECT_EQ(Tokenizer(through_gguf(data)).hash(), Tokenizer(data).hash());
    // eos, eot and eom are GGUF's; other runtimes know no more
    EXPECT_EQ(gguf_tokenizer_notes(data).size(), n <= 2 ? 0u : 1u);
  }
  EXPECT_EQ(through_gguf(data).eot, kFirst + 1);
  EXPECT_EQ(token_of(through_gguf(data), "eom"), kFirst + 2);
}

TEST_F(Conversions, EndsAreKnownByTheirText) {
  for (const char* text : {"<|eot_id|>",
                           "<|im_end|>",
                           "<|end|>",
                           "<|return|>",
                           "<|call|>",
                           "<|flush|>",
                           "<|calls|>",
                           "<end_of_turn>",
                           "<|endoftext|>",
                           "</s>",
                           "<|eom_id|>",
                           "<EOT>",
                           "_<EOT>",
                           "[EOT]",
                           "[EOS]",
                           "<|end_of_text|>",
                           "<end_of_utterance>",
                           "<eos>",
                           "<turn|>",
                           "<|tool_response>",
                           "<\uFF5Cend\u2581of\u2581sentence\uFF5C>",
                           "[e~[",
                           "<|fim_pad|>",
                           "<|file_sep|>",
                           "<|repo_name|>"})
    EXPECT_EQ(ends(with_control({text, "<|x|>"})), Ids{kFirst}) << text;
  // gpt-oss closes parts of a reply with <|end|>
  EXPECT_EQ(ends(with_control({"<|end|>", "<|return|>", "<|call|>"})), (Ids{kFirst + 1, kFirst + 2}));
  TokenizerData html = with_control({"</s>"});
  html.tokens.back().kind = TokenKind::UserDefined;
  EXPECT_EQ(ends(html), Ids{});
  html.tokens.back().text = "<end_of_turn>";
  EXPECT_EQ(ends(html), Ids{kFirst});
}

TEST_F(Conversions, RolesTemplatesAndAdviceSurvive) {
  TokenizerData data = with_control({"<pre>", "<suf>", "<mid>", "<m>", "<eom>", "<rep>"});
  data.roles = {{"eom", kFirst + 4},     {"fim_pre", kFirst},     {"fim_suf", kFirst + 1},
                {"fim_mid", kFirst + 2}, {"fim_rep", kFirst + 5}, {"mask", kFirst + 3}};
  data.chat_template = "{{ messages }}";
  data.named_templates = {{"rag", "{{ documents }}"}, {"tool_use", "{{ tools }}"}};
  data.sampling = {{"temp", 0.6}, {"top_k", 20.0}};
  for (const TokenizerData& back :
       {through_gguf(data), through_directory(data), through_gguf(through_directory(data))}) {
    ASSERT_EQ(back.roles.size(), data.roles.size());
    for (const TokenRole& role : data.roles) EXPECT_EQ(token_of(back, role.name), role.id) << role.name;
    EXPECT_EQ(back.chat_template, data.chat_template);
    ASSERT_EQ(back.named_templates.size(), 2u);
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(back.named_templates[i].name, data.named_templates[i].name);
      EXPECT_EQ(back.named_templates[i].source, data.named_templates[i].source);
    }
    EXPECT_NEAR(back.sampling.at("temp"), 0.6, 1e-7);  // a float32 in GGUF
    EXPECT_EQ(back.sampling.at("top_k"), 20.0);
    EXPECT_EQ(ends(back), (Ids{kFirst + 4, kFirst + 5}));
  }
  EXPECT_NE(read_file(folder_ / "generation_config.json").find("\"temperature\": 0.6"), std::string::npos);
  data.named_templates[0].name = "../outside";
  EXPECT_NE(error_of([&] { through_directory(data); }).find("is no file name"), std::string::npos);
}

TEST_F(Conversions, OldNamesOfRolesAreRead) {
  write_gguf(folder_ / "old.gguf",
             [&] {
               std::vector<GgufEntry> entries = gguf_tokenizer_entries(with_control({"<pre>"}));
               entries.push_back({"tokenizer.ggml.prefix_token_id", GgufValue::u32(kFirst)});
               return entries;
             }(),
             {});
  EXPECT_EQ(token_of(read_gguf_tokenizer(GgufFile::open(folder_ / "old.gguf")), "fim_pre"), kFirst);
}

TEST_F(Conversions, CompositionNeitherAppearsNorDisappears) {
  const std::string apart = "e\u0301";
  for (const char* pre : {"gpt-2", "llama-bpe", "qwen2", "smollm"})
    for (const bool composes : {false, true}) {
      TokenizerData data = with_control({});
      data.pre = pre;
      data.ignore_merges = std::string(pre) == "llama-bpe";
      data.normalize_nfc = composes;
      const Ids ids = Tokenizer(data).encode(apart);
      EXPECT_EQ(ids.size(), composes ? 2u : 3u);
      for (const TokenizerData& back :
           {through_gguf(data), through_directory(data), through_gguf(through_directory(data))})
        EXPECT_EQ(Tokenizer(back).encode(apart), ids) << pre << composes;
    }
}

TEST_F(Conversions, AddedRulesSurvive) {
  TokenizerData data = with_control({"<a>", "<b>"});
  data.tokens[kFirst].rule = {.single_word = true, .strips_right = true};
  data.tokens[kFirst + 1].rule = {.strips_left = true, .normalized = true};
  for (const TokenizerData& back : {through_gguf(data), through_directory(data)})
    for (size_t id = kFirst; id < data.tokens.size(); ++id) EXPECT_EQ(back.tokens[id].rule, data.tokens[id].rule);
  EXPECT_EQ(gguf_tokenizer_notes(data).size(), 1u);
  const EncodeOptions parse{.add_special = false, .parse_special = true};
  EXPECT_EQ(Tokenizer(data).encode("x  <b> <a>  y", parse), (Ids{'x', kFirst + 1, ' ', kFirst, 'y'}));
  EXPECT_EQ(Tokenizer(data).encode("x<a>", parse), (Ids{'x', '<', 'a', '>'}));
}

// tokenizer.ggml.pre, and what llama.cpp takes from it beside the expressions.
TEST(PreTokenizers, NamesOfTheRules) {
  struct Row {
    const char *name, *rule;
    bool ignores_merges, adds_bos;
  };
  const Row rows[] = {{"deepseek-r1-qwen", "qwen2", false, false},
                      {"megrez", "qwen2", false, false},
                      {"stablelm2", "qwen2", false, false},
                      {"falcon3", "llama-bpe", true, true},
                      {"lfm2", "llama-bpe", true, true},
                      {"pixtral", "llama-bpe", true, true},
                      {"smaug-bpe", "llama-bpe", false, false},
                      {"dbrx", "llama-bpe", false, false},
                      {"glm4", "llama-bpe", false, false},
                      {"tekken", "tekken", true, true},
                      {"llama4", "gpt-4o", false, false},
                      {"deepseek-llm", "deepseek-llm", false, false},
                      {"deepseek-v3", "deepseek-v3", false, false},
                      {"phi-2", "gpt-2", false, false},
                      {"minerva-7b", "smollm", false, false},
                      {"command-r", "smollm", false, false}};
  for (const Row& row : rows) {
    EXPECT_EQ(canonical_pre(row.name), row.rule);
    EXPECT_NE(find_split(row.name), nullptr) << row.name;
    EXPECT_EQ(traits_of_pre(row.name).ignores_merges, row.ignores_merges) << row.name;
    EXPECT_EQ(traits_of_pre(row.name).adds_bos, row.adds_bos) << row.name;
  }
  EXPECT_EQ(find_pre_tokenizer("viking"), nullptr);
}

TEST_F(Conversions, ABpeFileWithoutAPreTokenizerIsNoted) {
  std::vector<GgufEntry> entries = gguf_tokenizer_entries(with_control({}));
  EXPECT_TRUE(through_gguf(with_control({})).notes.empty());
  std::erase_if(entries, [](const GgufEntry& entry) { return entry.key == "tokenizer.ggml.pre"; });
  write_gguf(folder_ / "a.gguf", entries, {});
  const TokenizerData data = read_gguf_tokenizer(GgufFile::open(folder_ / "a.gguf"));
  ASSERT_EQ(data.notes.size(), 1u);
  EXPECT_NE(data.notes[0].find("names no pre-tokenizer"), std::string::npos);
}

TEST(Composition, OfMarksInAnyNumber) {
  EXPECT_EQ(to_nfc("e\u0301 \u1100\u1161\u11a8 \u212b"), "\u00e9 \uac01 \u00c5");
  EXPECT_EQ(to_nfc("a\u0315\u0300\u05ae"), "\u00e0\u05ae\u0315");
  std::string marks = "a";
  for (int i = 0; i < 20000; ++i) marks += i % 2 == 0 ? "\u0315" : "\u0300";  // 80 KB, each pair out of order
  const auto begin = std::chrono::steady_clock::now();
  const std::string composed = to_nfc(marks);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  EXPECT_EQ(composed.substr(0, 4), "\u00e0\u0300");
  EXPECT_EQ(composed.size(), marks.size() - 1);
  EXPECT_LT(seconds.count(), 1.0);  // by the square of the run: some seconds; by its length: milliseconds
}

TEST(Visible, ControlCharactersOfAFile) {
  EXPECT_EQ(visible("na\u00efve \x1b[31mred\n"), "na\u00efve \\x1b[31mred\\x0a");
  EXPECT_EQ(visible("\u009b\u202e\xff"), "\\xc2\\x9b\\xe2\\x80\\xae\\xff");
}

}  // namespace
}  // namespace attar
