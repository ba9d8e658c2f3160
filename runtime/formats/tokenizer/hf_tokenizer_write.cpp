// Writes tokenizer.json and its neighbours, such that tokenizers and transformers give the ids that Attar gives.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <tuple>

#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/formats/tokenizer/hf_pre_tokenizers.h"
#include "runtime/formats/tokenizer/spm.h"
#include "runtime/formats/tokenizer/text_index.h"
#include "runtime/formats/tokenizer/tokenizer.h"
#include "runtime/formats/tokenizer/unicode.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;  // for what is small: its objects search linearly

std::vector<std::pair<std::string, std::string>> merges_of(const TokenizerData& data) {
  if (data.kind == TokenizerKind::Bpe) return data.merges;
  // All pairs of tokens that make a token, in the order in which SpmEncoder prefers them.
  struct Merge {
    float score;
    size_t left_size, right_size, merged;
  };
  TextIndex ids(data.tokens.size());
  const auto is_text = [&](size_t id) {
    return data.tokens[id].kind == TokenKind::Normal || data.tokens[id].kind == TokenKind::UserDefined;
  };
  for (size_t id = 0; id < data.tokens.size(); ++id)
    if (is_text(id)) ids.insert(data.tokens[id].text, static_cast<int32_t>(id));
  std::vector<Merge> merges;
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    if (!is_text(id)) continue;
    const Token& token = data.tokens[id];
    const float score = token.kind == TokenKind::UserDefined ? HUGE_VALF : token.score;
    const std::string_view merged = token.text;
    for (size_t at = decode_utf8(merged, 0).length; at < merged.size(); at += decode_utf8(merged, at).length)
      if (ids.contains(merged.substr(0, at)) && ids.contains(merged.substr(at)))
        merges.push_back({score, at, merged.size() - at, id});
  }
  std::sort(merges.begin(), merges.end(), [](const Merge& a, const Merge& b) {
    return std::tie(b.score, b.left_size, b.right_size, a.merged) <
           std::tie(a.score, a.left_size, a.right_size, b.merged);
  });
  std::vector<std::pair<std::string, std::string>> out;
  for (const Merge& m : merges) {
    const std::string& merged = data.tokens[m.merged].text;
    out.emplace_back(merged.substr(0, m.left_size), merged.substr(m.left_size));
  }
  return out;
}

Json pre_tokenizer_json(const TokenizerData& data) {
  if (data.kind == TokenizerKind::Spm && data.space_prefix == SpacePrefix::Always) return nullptr;
  if (data.kind == TokenizerKind::Spm)
    return {{"type", "Metaspace"},
            {"replacement", kSpmSpace},
            {"prepend_scheme", data.space_prefix == SpacePrefix::UnlessSpace ? "always" : "first"},
            {"split", false}};
  for (const HfPreTokenizer& row : kHfPreTokenizers) {
    if (row.pre != data.pre) continue;
    Json steps = Json::array();
    if (row.digits == DigitSplit::Each) steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
    if (!row.pattern.empty())
      steps.push_back(
          {{"type", "Split"}, {"pattern", {{"Regex", row.pattern}}}, {"behavior", "Isolated"}, {"invert", false}});
    steps.push_back({{"type", "ByteLevel"},
                     {"add_prefix_space", false},
                     {"trim_offsets", true},
                     {"use_regex", row.byte_level == ByteLevelSplit::Gpt2}});
    if (steps.size() == 1) return steps[0];
    return {{"type", "Sequence"}, {"pretokenizers", steps}};
  }
  throw usage_error("tokenizer.json", "cannot express the pre-tokenizer `" + data.pre + "`",
                    "gpt-2, smollm, llama-bpe or qwen2");
}

Json normalizer_json(const TokenizerData& data) {
  if (data.kind == TokenizerKind::Bpe) return data.normalize_nfc ? Json({{"type", "NFC"}}) : Json(nullptr);
  if (data.space_prefix != SpacePrefix::Always) return nullptr;  // Metaspace does it
  const Json replace = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpmSpace}};
  if (!data.add_space_prefix) return replace;
  return {{"type", "Sequence"}, {"normalizers", Json::array({{{"type", "Prepend"}, {"prepend", kSpmSpace}}, replace})}};
}

Json decoder_json(const TokenizerData& data) {
  if (data.kind == TokenizerKind::Bpe)
    return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  Json steps = Json::array({{{"type", "Replace"}, {"pattern", {{"String", kSpmSpace}}}, {"content", " "}},
                            {{"type", "ByteFallback"}},
                            {{"type", "Fuse"}}});
  if (data.add_space_prefix) steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return {{"type", "Sequence"}, {"decoders", steps}};
}

Json post_processor_json(const TokenizerData& data) {
  const int32_t bos = data.add_bos ? data.bos : -1, eos = data.add_eos ? data.eos : -1;
  if (bos < 0 && eos < 0)
    return data.kind == TokenizerKind::Spm
               ? Json(nullptr)
               : Json(
                     {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}});
  Json specials = Json::object(), single = Json::array(), pair = Json::array();
  const auto put = [&](Json& list, int32_t id, int type) {
    if (id < 0) return;
    const std::string content = data.tokens[static_cast<size_t>(id)].text;
    list.push_back({{"SpecialToken", {{"id", content}, {"type_id", type}}}});
    specials[content] = {{"id", content}, {"ids", {id}}, {"tokens", {content}}};
  };
  const auto sequence = [&](Json& list, const char* name, int type) {
    put(list, bos, type);
    list.push_back({{"Sequence", {{"id", name}, {"type_id", type}}}});
    put(list, eos, type);
  };
  sequence(single, "A", 0), sequence(pair, "A", 0), sequence(pair, "B", 1);
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", specials}};
}

// Control tokens, and those that are cut out of any text.
Json added_tokens_json(const TokenizerData& data) {
  Json added = Json::array();
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    const TokenKind kind = data.tokens[id].kind;
    const bool is_user_defined = kind == TokenKind::UserDefined;
    if (!is_user_defined && kind != TokenKind::Control && kind != TokenKind::Unknown) continue;
    added.push_back({{"id", id},
                     {"content", data.tokens[id].text},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", !is_user_defined}});
  }
  return added;
}

std::string quoted(const std::string& text) {
  return Json(text).dump();
}

std::string tokenizer_json(const TokenizerData& data) {
  const bool is_spm = data.kind == TokenizerKind::Spm;
  Json unknown = nullptr;  // byte-level BPE drops what it has no token for
  if (is_spm && data.unknown >= 0) unknown = data.tokens[static_cast<size_t>(data.unknown)].text;
  const Json head = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", added_tokens_json(data)},
                     {"normalizer", normalizer_json(data)},
                     {"pre_tokenizer", pre_tokenizer_json(data)},
                     {"post_processor", post_processor_json(data)},
                     {"decoder", decoder_json(data)}};
  const Json model = {{"type", "BPE"},
                      {"dropout", nullptr},
                      {"unk_token", unknown},
                      {"continuing_subword_prefix", nullptr},
                      {"end_of_word_suffix", nullptr},
                      {"fuse_unk", is_spm},
                      {"byte_fallback", is_spm},
                      {"ignore_merges", data.ignore_merges}};
  const auto opened = [](const Json& json) {  // without the closing brace
    std::string out = json.dump();
    out.pop_back();
    return out;
  };
  std::string out = opened(head) + ",\n\"model\":" + opened(model) + ",\"vocab\":{";
  for (size_t id = 0; id < data.tokens.size(); ++id)
    out += (id == 0 ? "\n" : ",\n") + quoted(data.tokens[id].text) + ":" + std::to_string(id);
  out += "},\"merges\":[";
  bool first = true;
  for (const auto& [left, right] : merges_of(data)) {
    out += (first ? "\n[" : ",\n[") + quoted(left) + "," + quoted(right) + "]";
    first = false;
  }
  return out + "]}}\n";
}

}  // namespace

void write_hf_tokenizer(const std::string& directory, const TokenizerData& data) {
  write_file_atomically(directory + "/tokenizer.json", tokenizer_json(data));
  // PreTrainedTokenizerFast takes tokenizer.json as it is; the families' own classes would build parts of it anew.
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"clean_up_tokenization_spaces", false},
                 {"model_max_length", 1000000}};
  Json map = Json::object(), generation = Json::object();
  const auto special = [&](const char* name, const char* id_name, int32_t id) {
    if (id < 0) return;
    config[name] = map[name] = data.tokens[static_cast<size_t>(id)].text;
    if (id_name != nullptr) generation[id_name] = id;
  };
  special("bos_token", "bos_token_id", data.bos);
  special("eos_token", nullptr, data.eos);
  special("unk_token", nullptr, data.unknown);
  special("pad_token", "pad_token_id", data.padding);
  config["add_bos_token"] = data.add_bos;
  config["add_eos_token"] = data.add_eos;
  std::vector<int32_t> ends = data.end_of_generation;
  for (const int32_t id : {data.eot, data.eos})
    if (id >= 0 && std::find(ends.begin(), ends.end(), id) == ends.end()) ends.insert(ends.begin(), id);
  if (ends.size() == 1)
    generation["eos_token_id"] = ends[0];
  else if (!ends.empty())
    generation["eos_token_id"] = ends;
  write_file_atomically(directory + "/tokenizer_config.json", config.dump(2) + "\n");
  write_file_atomically(directory + "/special_tokens_map.json", map.dump(2) + "\n");
  write_file_atomically(directory + "/generation_config.json", generation.dump(2) + "\n");
  const std::string template_path = directory + "/chat_template.jinja";
  if (!data.chat_template.empty())
    write_file_atomically(template_path, data.chat_template);
  else
    std::filesystem::remove(template_path);  // one of another model would be taken for this one's
}

}  // namespace attar
