#include "runtime/formats/tokenizer/gguf_tokenizer.h"

#include <algorithm>

#include "runtime/base/error.h"
#include "runtime/formats/tokenizer/split.h"
#include "runtime/formats/tokenizer/spm.h"

namespace attar {
namespace {

const GgufValue& array(const GgufFile& file, const char* key, size_t length) {
  const GgufValue* value = file.find(key);
  if (value == nullptr) throw input_error(file.path(), std::string("key ") + key + " is missing");
  const size_t got = std::max({value->integers.size(), value->reals.size(), value->strings.size()});
  if (!value->is_array || (length != 0 && got != length))
    throw input_error(file.path(), std::string("key ") + key + " has a wrong length",
                      length == 0 ? "an array" : std::to_string(length), std::to_string(got));
  return *value;
}

// A merge splits at the first space that is not its first character.
std::pair<std::string, std::string> split_merge(const GgufFile& file, const std::string& merge) {
  const size_t space = merge.find(' ', 1);
  if (space == std::string::npos || space + 1 == merge.size())
    throw input_error(file.path(), "tokenizer.ggml.merges has an entry that is no pair", "\"left right\"",
                      printable(merge));
  return {merge.substr(0, space), merge.substr(space + 1)};
}

int32_t special_id(const GgufFile& file, const std::string& name) {
  const int64_t id = file.integer("tokenizer.ggml." + name + "_token_id", -1);
  if (id < -1 || id > INT32_MAX)
    throw input_error(file.path(), "key tokenizer.ggml." + name + "_token_id is impossible", "a token id",
                      std::to_string(id));
  return static_cast<int32_t>(id);
}

bool implies_ignore_merges(const std::string& pre) {
  return canonical_pre(pre) == "llama-bpe";
}

// Attar's own key, absent for the first: llama.cpp knows no other and puts a space before every text, also before one
// that begins with a space.
constexpr const char* kSpacePrefixKey = "attar.tokenizer.space_prefix";
constexpr const char* kSpacePrefixes[] = {"always", "unless_space", "first_unless_space"};

SpacePrefix space_prefix_of(const GgufFile& file) {
  const std::string name = file.string(kSpacePrefixKey, kSpacePrefixes[0]);
  for (size_t i = 0; i < std::size(kSpacePrefixes); ++i)
    if (name == kSpacePrefixes[i]) return static_cast<SpacePrefix>(i);
  throw input_error(file.path(), std::string("key ") + kSpacePrefixKey + " is not known", "", printable(name));
}

}  // namespace

TokenizerData read_gguf_tokenizer(const GgufFile& file) {
  TokenizerData data;
  const std::string model = file.string("tokenizer.ggml.model");
  if (model != "gpt2" && model != "llama")
    throw input_error(file.path(), "the tokenizer `" + printable(model) + "` is not supported", "gpt2 or llama");
  data.kind = model == "gpt2" ? TokenizerKind::Bpe : TokenizerKind::Spm;
  data.pre = std::string(canonical_pre(file.string("tokenizer.ggml.pre", "default")));
  const GgufValue& texts = array(file, "tokenizer.ggml.tokens", 0);
  const size_t count = texts.strings.size();
  data.tokens.resize(count);
  for (size_t i = 0; i < count; ++i) data.tokens[i].text = texts.strings[i];
  if (file.find("tokenizer.ggml.token_type") != nullptr) {
    const GgufValue& kinds = array(file, "tokenizer.ggml.token_type", count);
    if (kinds.integers.size() != count)
      throw input_error(file.path(), "key tokenizer.ggml.token_type has another type", "whole numbers");
    for (size_t i = 0; i < count; ++i)
      data.tokens[i].kind = static_cast<TokenKind>(std::clamp<int64_t>(kinds.integers[i], 0, 7));
  }
  if (data.kind == TokenizerKind::Spm) {
    const GgufValue& scores = array(file, "tokenizer.ggml.scores", count);
    if (scores.reals.size() != count)
      throw input_error(file.path(), "key tokenizer.ggml.scores has another type", "floats");
    for (size_t i = 0; i < count; ++i) data.tokens[i].score = static_cast<float>(scores.reals[i]);
  } else {
    for (const std::string& merge : array(file, "tokenizer.ggml.merges", 0).strings)
      data.merges.push_back(split_merge(file, merge));
  }
  if (data.kind == TokenizerKind::Spm)  // their spaces are plain in the file
    for (Token& token : data.tokens)
      if (token.kind == TokenKind::UserDefined) token.text = spm_escaped(token.text);
  data.bos = special_id(file, "bos");
  data.eos = special_id(file, "eos");
  data.eot = special_id(file, "eot");
  data.unknown = special_id(file, "unknown");
  data.padding = special_id(file, "padding");
  const bool spm = data.kind == TokenizerKind::Spm;
  data.add_bos = file.boolean("tokenizer.ggml.add_bos_token", spm || data.pre == "llama-bpe");
  data.add_eos = file.boolean("tokenizer.ggml.add_eos_token", false);
  data.add_space_prefix = spm && file.boolean("tokenizer.ggml.add_space_prefix", true);
  data.space_prefix = space_prefix_of(file);
  data.ignore_merges = implies_ignore_merges(data.pre);
  data.normalize_nfc = data.pre == "qwen2";
  data.chat_template = file.string("tokenizer.chat_template", "");
  return data;
}

std::vector<GgufEntry> gguf_tokenizer_entries(const TokenizerData& data) {
  // GGUF has no key for it: readers take it from the pre-tokenizer's name.
  if (data.kind == TokenizerKind::Bpe && data.ignore_merges != implies_ignore_merges(data.pre))
    throw usage_error("tokenizer.ggml.pre", "GGUF cannot say whether whole pieces go before merges",
                      data.pre + (data.ignore_merges ? " with merges first" : " with whole pieces first"),
                      "the contrary");
  std::vector<std::string> texts;
  std::vector<float> scores;
  std::vector<int64_t> kinds;
  for (const Token& token : data.tokens) {
    // llama.cpp cuts user-defined tokens out of the raw text, so their spaces are plain.
    const bool has_plain_spaces = data.kind == TokenizerKind::Spm && token.kind == TokenKind::UserDefined;
    texts.push_back(has_plain_spaces ? spm_unescaped(token.text) : token.text);
    scores.push_back(token.score);
    kinds.push_back(static_cast<int64_t>(token.kind));
  }
  const bool bpe = data.kind == TokenizerKind::Bpe;
  std::vector<GgufEntry> entries;
  entries.push_back({"tokenizer.ggml.model", GgufValue::string(bpe ? "gpt2" : "llama")});
  entries.push_back({"tokenizer.ggml.pre", GgufValue::string(bpe ? data.pre : "default")});
  entries.push_back({"tokenizer.ggml.tokens", GgufValue::array_of(std::move(texts))});
  if (!bpe) entries.push_back({"tokenizer.ggml.scores", GgufValue::array_of(std::move(scores))});
  entries.push_back({"tokenizer.ggml.token_type", GgufValue::array_of_i32(std::move(kinds))});
  if (bpe) {
    std::vector<std::string> merges;
    for (const auto& [left, right] : data.merges) merges.push_back(left + " " + right);
    entries.push_back({"tokenizer.ggml.merges", GgufValue::array_of(std::move(merges))});
  }
  const auto id = [&](const char* name, int32_t value) {
    if (value >= 0)
      entries.push_back(
          {std::string("tokenizer.ggml.") + name + "_token_id", GgufValue::u32(static_cast<uint32_t>(value))});
  };
  id("bos", data.bos), id("eos", data.eos), id("eot", data.eot), id("unknown", data.unknown),
      id("padding", data.padding);
  entries.push_back({"tokenizer.ggml.add_bos_token", GgufValue::boolean(data.add_bos)});
  entries.push_back({"tokenizer.ggml.add_eos_token", GgufValue::boolean(data.add_eos)});
  entries.push_back({"tokenizer.ggml.add_space_prefix", GgufValue::boolean(data.add_space_prefix)});
  if (data.space_prefix != SpacePrefix::Always)
    entries.push_back({kSpacePrefixKey, GgufValue::string(kSpacePrefixes[static_cast<size_t>(data.space_prefix)])});
  if (!data.chat_template.empty())
    entries.push_back({"tokenizer.chat_template", GgufValue::string(data.chat_template)});
  return entries;
}

}  // namespace attar
