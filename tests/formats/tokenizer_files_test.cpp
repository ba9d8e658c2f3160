// Tokenizers in GGUF files and Hugging Face directories.
#include <gtest/gtest.h>

#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/formats/model_file.h"
#include "runtime/formats/tokenizer/files/gguf_tokenizer.h"
#include "runtime/formats/tokenizer/files/padding_token.h"
#include "runtime/formats/tokenizer/models/spm.h"
#include "tests/formats/tiny_tokenizers.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

class TokenizerFiles : public testing::Test {
 protected:
  const TestFolder own_{"tokenizer"};
  const std::string folder_ = own_.path();

  TokenizerData through_gguf(const TokenizerData& data) {
    write_gguf(folder_ + "/a.gguf", gguf_tokenizer_entries(data), {});
    return read_gguf_tokenizer(GgufFile::open(folder_ + "/a.gguf"));
  }
  TokenizerData through_directory(const TokenizerData& data) {
    write_hf_tokenizer(folder_, data);
    return read_hf_tokenizer(folder_);
  }
};

TEST_F(TokenizerFiles, BothFormatsKeepEverything) {
  TokenizerData bpe = byte_level({{"a", "b"}, {" ", "ab"}, {"#", "#"}});
  bpe.pre = "smollm";
  bpe.tokens.push_back({"<think>", 0.0f, TokenKind::UserDefined});
  bpe.padding = 0;
  bpe.chat_template = "{% for m in messages %}{{ m['content'] + \"\\n\" }}{% endfor %}";
  TokenizerData llama = bpe;
  llama.pre = "llama-bpe";
  llama.ignore_merges = llama.add_bos = true;
  TokenizerData qwen = bpe;
  qwen.pre = "qwen2";
  qwen.normalize_nfc = true;
  TokenizerData spm = sentence_pieces({" a", "ab", " ", "a", "b"});
  TokenizerData gemma = sentence_pieces({" a", "ab", " ", "a", "b"});
  gemma.add_space_prefix = false;
  gemma.add_eos = true;
  for (const char* text : {"  ", "<b>"}) gemma.tokens.push_back({spm_escaped(text), -1000.0f, TokenKind::UserDefined});
  for (const TokenizerData& data : {bpe, llama, qwen, spm, gemma}) {
    const Tokenizer tokenizer(data);
    const TokenizerData from_gguf = through_gguf(data);
    EXPECT_EQ(Tokenizer(from_gguf).hash(), tokenizer.hash());
    EXPECT_EQ(from_gguf.chat_template, data.chat_template);
    const TokenizerData from_directory = through_directory(data);
    EXPECT_EQ(from_directory.chat_template, data.chat_template);
    if (data.kind == TokenizerKind::Bpe) {
      EXPECT_EQ(Tokenizer(from_directory).hash(), tokenizer.hash());
    }
    for (const std::string text : {"", "ab ab  a##", "<think>ab<b>   \n", "<|end|></s>12", "caf\xC3\xA9"})
      for (const EncodeOptions options :
           {EncodeOptions{}, EncodeOptions{.add_special = false, .parse_special = true}}) {
        EXPECT_EQ(Tokenizer(from_gguf).encode(text, options), tokenizer.encode(text, options)) << text;
        EXPECT_EQ(Tokenizer(from_directory).encode(text, options), tokenizer.encode(text, options)) << text;
      }
  }
}

TEST_F(TokenizerFiles, GgufDefaultsWhereKeysAreMissing) {
  const auto without = [&](const TokenizerData& data, std::initializer_list<const char*> keys) {
    std::vector<GgufEntry> entries = gguf_tokenizer_entries(data);
    for (const std::string key : keys)
      std::erase_if(entries, [&](const GgufEntry& e) { return e.key == "tokenizer.ggml." + key; });
    write_gguf(folder_ + "/b.gguf", entries, {});
    return read_gguf_tokenizer(GgufFile::open(folder_ + "/b.gguf"));
  };
  TokenizerData data = byte_level({{"a", "b"}});
  EXPECT_EQ(without(data, {"pre"}).pre, "default");
  EXPECT_FALSE(without(data, {"add_bos_token"}).add_bos);
  data.pre = "llama-bpe";
  data.ignore_merges = true;
  EXPECT_TRUE(without(data, {"add_bos_token"}).add_bos);
  const TokenizerData spm = without(sentence_pieces({"a"}), {"add_bos_token", "add_space_prefix"});
  EXPECT_TRUE(spm.add_bos && spm.add_space_prefix);
  EXPECT_THROW(without(data, {"merges"}), Error);
  EXPECT_THROW(without(data, {"tokens"}), Error);
  EXPECT_THROW(without(sentence_pieces({"a"}), {"scores"}), Error);
}

TEST_F(TokenizerFiles, GgufRefusesWhatItCannotSay) {
  TokenizerData data = byte_level({{"a", "b"}});
  data.ignore_merges = true;
  EXPECT_NO_THROW(gguf_tokenizer_entries(data));  // merging arrives at every token: the same either way
  data.tokens.push_back({"abc"});                 // which no merge makes
  EXPECT_THROW(gguf_tokenizer_entries(data), Error);
  data.pre = "llama-bpe";
  EXPECT_NO_THROW(gguf_tokenizer_entries(data));
  data.ignore_merges = false;  // a name with the same expressions says so
  EXPECT_FALSE(through_gguf(data).ignore_merges);
  EXPECT_EQ(Tokenizer(through_gguf(data)).hash(), Tokenizer(data).hash());
}

TEST_F(TokenizerFiles, AddedTokensBehindTheEmbeddingAreLeftOut) {
  TokenizerData data = byte_level({{"a", "b"}});
  data.tokens.push_back({"<image>", 0.0f, TokenKind::Control});
  write_hf_tokenizer(folder_, data);
  EXPECT_EQ(read_hf_tokenizer(folder_).tokens.size(), 259u);
  for (const char* config : {R"({"vocab_size": 258})", R"({"text_config": {"vocab_size": 258}})"}) {
    write_file_atomically(folder_ + "/config.json", config);
    EXPECT_EQ(read_hf_tokenizer(folder_).tokens.size(), 258u);
  }
  write_file_atomically(folder_ + "/config.json", R"({"vocab_size": 100})");
  EXPECT_EQ(read_hf_tokenizer(folder_).tokens.size(), 258u);  // a real token is not: the model does not fit
}

// What stands for an id without a token is none when it is read again: a student written as a directory reads as its
// teacher does.
TEST_F(TokenizerFiles, PaddingIsNotWrittenAsAToken) {
  TokenizerData data = byte_level({{"t", "h"}});
  const size_t hole = data.tokens.size();
  data.tokens.push_back(padding_token(hole));
  data.tokens.push_back({"word", 0.0f, TokenKind::Normal});
  data.tokens.push_back(padding_token(data.tokens.size()));
  write_hf_tokenizer(folder_, data);
  const TokenizerData again = read_hf_tokenizer(folder_);
  ASSERT_EQ(again.tokens.size(), data.tokens.size() - 1) << "behind the last token the embedding's rows say how many";
  for (size_t id = 0; id < again.tokens.size(); ++id) {
    EXPECT_EQ(again.tokens[id].text, data.tokens[id].text);
    EXPECT_EQ(again.tokens[id].kind, data.tokens[id].kind) << data.tokens[id].text;
  }
}

TEST_F(TokenizerFiles, UnknownTokenizerJsonIsRefusedByName) {
  const std::string head = R"({"model": {"type": ")",
                    tail = R"("vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]})";
  const auto refusal = [&](const std::string& json) -> std::string {
    write_file_atomically(folder_ + "/tokenizer.json", json);
    try {
      read_hf_tokenizer(folder_);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const std::string byte_level_step = R"({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true})";
  const auto json = [&](const std::string& steps, const std::string& model = "BPE\", ") {
    return head + model + tail + ", " + steps + "}";
  };
  EXPECT_EQ(refusal(json(R"("pre_tokenizer": )" + byte_level_step)), "");
  EXPECT_NE(refusal(json(R"("pre_tokenizer": {"type": "Whitespace"})")).find("Whitespace"), std::string::npos);
  EXPECT_NE(
      refusal(
          json(
              R"("pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "\\w+"}, "behavior": "Isolated"}, )" +
              byte_level_step + "]}"))
          .find("\\w+"),
      std::string::npos);
  EXPECT_NE(
      refusal(json(R"("normalizer": {"type": "Lowercase"}, "pre_tokenizer": )" + byte_level_step)).find("Lowercase"),
      std::string::npos);
  EXPECT_NE(refusal(json(R"("pre_tokenizer": )" + byte_level_step, "WordPiece\", ")).find("WordPiece"),
            std::string::npos);
  EXPECT_NE(refusal(json(R"("added_tokens": [{"id": 7000000, "content": "x"}], "pre_tokenizer": )" + byte_level_step))
                .find("impossible id"),
            std::string::npos);
  EXPECT_NE(refusal(json(R"("added_tokens": [{"id": 1, "content": "x"}], "pre_tokenizer": )" + byte_level_step))
                .find("given twice"),
            std::string::npos);
  EXPECT_NE(refusal("{}").find("lacks a part"), std::string::npos);
  EXPECT_NE(refusal("[1]").find("not a JSON object"), std::string::npos);
  const auto expect = [&](const std::string& text, const char* problem) {
    EXPECT_NE(refusal(text).find(problem), std::string::npos) << refusal(text);
    EXPECT_NE(refusal(text).find("tokenizer.json"), std::string::npos) << refusal(text);
  };
  const std::string byte_level = R"("pre_tokenizer": )" + byte_level_step;
  expect(R"({"model": 5})", "key model has another type");
  expect(R"({"model": {"vocab": [], "merges": []}, )" + byte_level + "}", "key model.vocab has another type");
  expect(R"({"model": {"vocab": {}, "merges": 3}, )" + byte_level + "}", "key merges has another type");
  expect(json(R"("added_tokens": 5, )" + byte_level), "key added_tokens has another type");
  expect(json(byte_level, R"(BPE", "ignore_merges": "yes", )"), "key ignore_merges has another type");
  expect(json(R"("x": )" + std::string(100000, '[') + std::string(100000, ']') + ", " + byte_level),
         "JSON nests too deeply");
  expect(R"({"model": {"vocab": {")" + std::string(1000000, 'a') + R"(": 0}, "merges": []}, "normalizer":)" +
             R"({"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}})",
         "a token is too long");
}

TEST_F(TokenizerFiles, NonsenseBesideTokenizerJsonIsNamed) {
  const TokenizerData data = sentence_pieces({"a"});
  const auto refusal = [&](const std::string& file, const std::string& json) -> std::string {
    write_hf_tokenizer(folder_, data);
    write_file_atomically(folder_ + "/" + file, json);
    try {
      read_hf_tokenizer(folder_);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const std::pair<const char*, const char*> wrong[] = {
      {"tokenizer_config.json", R"({"bos_token": 5})"},
      {"special_tokens_map.json", R"({"pad_token": {"content": 5}})"},
      {"tokenizer_config.json", R"({"add_bos_token": "yes", "bos_token": "<s>"})"},
      {"tokenizer_config.json", R"({"chat_template": 5})"},
      {"tokenizer_config.json", R"({"chat_template": [{"name": "default", "template": []}]})"},
      {"generation_config.json", R"({"eos_token_id": "x"})"},
      {"config.json", R"({"eos_token_id": [2, 100000]})"},
      {"config.json", R"({"eos_token_id": -1})"}};
  for (const auto& [file, json] : wrong) {
    const std::string message = refusal(file, json);
    EXPECT_NE(message.find(std::string(file) + ": key "), std::string::npos) << json << "\n" << message;
  }
  for (const char* json :
       {"{}", R"({"eos_token_id": null})", R"({"eos_token_id": [2]})", R"({"vocab_size": 1000, "eos_token_id": 999})"})
    EXPECT_EQ(refusal("config.json", json), "") << json;
}

// Expected ids are those of `tokenizers` (tests/oracle/tokenizer_test.py compares them on many texts).
TEST_F(TokenizerFiles, MetaspaceAddsASpaceWhereTheTextBeginsWithNone) {
  TokenizerData data = sentence_pieces({std::string(kSpmSpace), "a"});
  const auto pieces = [](const TokenizerData& d, const char* text) {
    const Tokenizer tokenizer(d);
    std::string out;
    for (const int32_t id : tokenizer.encode(text, {.add_special = false, .parse_special = true}))
      out += (out.empty() ? "" : ",") + d.tokens[static_cast<size_t>(id)].text;
    return out;
  };
  for (const bool gguf : {false, true}) {
    const auto through = [&](SpacePrefix rule) {
      data.space_prefix = rule;
      const TokenizerData back = gguf ? through_gguf(data) : through_directory(data);
      EXPECT_EQ(back.space_prefix, rule);
      return back;
    };
    const TokenizerData always = through(SpacePrefix::Always), unless = through(SpacePrefix::UnlessSpace),
                        first = through(SpacePrefix::FirstUnlessSpace);
    EXPECT_EQ(pieces(always, " a"), "▁,▁,a");
    EXPECT_EQ(pieces(unless, " a"), "▁,a");
    EXPECT_EQ(pieces(unless,
                     "▁"
                     "a"),
              "▁,a");
    EXPECT_EQ(pieces(unless, "a</s>a"), "▁,a,</s>,▁,a");
    EXPECT_EQ(pieces(first, "a</s>a"), "▁,a,</s>,a");
    EXPECT_EQ(pieces(first, "</s>a"), "</s>,a");
    EXPECT_EQ(Tokenizer(first).decode(Tokenizer(first).encode("a</s> a", {.parse_special = true})), "a a");
    EXPECT_NE(Tokenizer(unless).hash(), Tokenizer(always).hash());
  }
}

}  // namespace
}  // namespace attar
