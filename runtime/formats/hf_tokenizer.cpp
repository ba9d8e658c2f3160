// tokenizer.json and its neighbours of a Hugging Face directory, in and out. Source: the tokenizers library's JSON.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/mapped_file.h"
#include "runtime/formats/spm.h"
#include "runtime/formats/tokenizer.h"
#include "runtime/formats/unicode.h"

namespace attar {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;  // not ordered_json, whose look-ups are linear: a vocabulary has 262144 keys

constexpr size_t kFileLimitBytes = size_t{256} << 20;
constexpr size_t kMaxTokens = size_t{1} << 24;

// The families' own expressions, as their tokenizer.json writes them.
constexpr const char* kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

Json read_json(const std::string& path) {
  Json json = Json::parse(read_file(path, kFileLimitBytes), nullptr, false);
  if (!json.is_object()) throw input_error(path, "is not a JSON object");
  return json;
}
Json read_json_if_there(const std::string& path) { return fs::exists(path) ? read_json(path) : Json::object(); }

// The steps of a normalizer or pre-tokenizer, Sequence or single.
std::vector<Json> steps_of(const Json& json, const char* key, const char* list) {
  if (!json.contains(key) || json[key].is_null()) return {};
  const Json& step = json[key];
  if (step.value("type", "") == "Sequence" && step.contains(list)) return {step[list].begin(), step[list].end()};
  return {step};
}

std::string pattern_of(const Json& step) {
  return step.contains("pattern") && step["pattern"].is_object() ? step["pattern"].value("Regex", step["pattern"].value("String", "")) : "";
}

// Which split the pre-tokenizer is; the expressions are known by heart, anything else is refused.
std::string pre_of(const Json& json, const std::string& where) {
  std::string pre;
  for (const Json& step : steps_of(json, "pre_tokenizer", "pretokenizers")) {
    const std::string type = step.value("type", "");
    if (type == "Digits" && step.value("individual_digits", false) && pre.empty()) pre = "digits";
    else if (type == "Split" && pattern_of(step) == kLlama3Pattern) pre = "llama-bpe";
    else if (type == "Split" && pattern_of(step) == kQwen2Pattern) pre = "qwen2";
    else if (type == "ByteLevel" && !step.value("use_regex", true)) continue;
    else if (type == "ByteLevel" && (pre.empty() || pre == "digits")) pre = pre.empty() ? "gpt-2" : "smollm";
    else throw input_error(where, "the pre-tokenizer step `" + printable(type) + "` is not supported", "those of GPT-2, SmolLM, Llama 3 and Qwen 2", printable(pattern_of(step), 60));
  }
  if (pre.empty() || pre == "digits") throw input_error(where, "has no byte-level pre-tokenizer");
  return pre;
}

bool is_byte_level(const Json& json) {
  for (const Json& step : steps_of(json, "pre_tokenizer", "pretokenizers"))
    if (step.value("type", "") == "ByteLevel") return true;
  return false;
}

std::pair<std::string, std::string> merge_of(const Json& merge, const std::string& where) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) return {merge[0], merge[1]};
  if (merge.is_string()) {
    const std::string text = merge;
    const size_t space = text.find(' ', 1);
    if (space != std::string::npos && space + 1 < text.size()) return {text.substr(0, space), text.substr(space + 1)};
  }
  throw input_error(where, "has a merge that is no pair", "\"left right\" or [left, right]", printable(merge.dump(), 40));
}

void put_token(TokenizerData& data, const std::string& text, const Json& id, TokenKind kind, const std::string& where) {
  if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= static_cast<int64_t>(kMaxTokens))
    throw input_error(where, "token " + printable(text) + " has an impossible id", "0 to 2^24", printable(id.dump(), 20));
  const auto at = id.get<size_t>();
  if (at >= data.tokens.size()) data.tokens.resize(at + 1);
  data.tokens[at] = {text, 0.0f, kind};
}

void read_vocabulary(const Json& json, const std::string& where, TokenizerData& data) {
  const Json& model = json.at("model");
  for (const auto& [text, id] : model.at("vocab").items()) {
    const bool byte = data.kind == TokenizerKind::Spm && text.size() == 6 && text.rfind("<0x", 0) == 0;
    put_token(data, text, id, byte ? TokenKind::Byte : TokenKind::Normal, where);
  }
  for (const Json& added : json.value("added_tokens", Json::array()))
    put_token(data, added.at("content"), added.at("id"), added.value("special", false) ? TokenKind::Control : TokenKind::UserDefined, where);
  for (size_t id = 0; id < data.tokens.size(); ++id)  // ids that no token has
    if (data.tokens[id].text.empty()) data.tokens[id] = {"[PAD" + std::to_string(id) + "]", 0.0f, TokenKind::Unused};
}

// BPE keeps the merges; SPM scores each token by its first merge: the earlier, the better.
void read_merges(const Json& json, const std::string& where, TokenizerData& data) {
  std::unordered_map<std::string, size_t> ids;
  if (data.kind == TokenizerKind::Spm)
    for (size_t id = 0; id < data.tokens.size(); ++id) ids[data.tokens[id].text] = id;
  float score = 0.0f;
  for (const Json& merge : json.at("model").value("merges", Json::array())) {
    auto pair = merge_of(merge, where);
    score -= 1.0f;
    if (data.kind == TokenizerKind::Bpe) {
      data.merges.push_back(std::move(pair));
      continue;
    }
    const auto merged = ids.find(pair.first + pair.second);
    if (merged != ids.end() && data.tokens[merged->second].score == 0.0f) data.tokens[merged->second].score = score;
  }
}

int32_t id_of(const TokenizerData& data, const std::string& text) {
  for (size_t id = 0; id < data.tokens.size(); ++id)
    if (data.tokens[id].text == text) return static_cast<int32_t>(id);
  return -1;
}

// "bos_token": "<s>" or {"content": "<s>"}
std::string token_text(const Json& config, const char* key) {
  if (!config.contains(key)) return "";
  if (config[key].is_string()) return config[key];
  return config[key].is_object() ? config[key].value("content", "") : "";
}

bool template_starts_with(const Json& json, const std::string& token) {
  for (const Json& step : steps_of(json, "post_processor", "processors")) {
    if (step.value("type", "") != "TemplateProcessing" || !step.contains("single") || step["single"].empty()) continue;
    const Json& first = step["single"][0];
    if (first.contains("SpecialToken") && first["SpecialToken"].value("id", "") == token) return true;
  }
  return false;
}

std::string chat_template_of(const std::string& directory, const Json& config) {
  if (const std::string path = directory + "/chat_template.jinja"; fs::exists(path)) return read_file(path, kFileLimitBytes);
  if (!config.contains("chat_template")) return "";
  const Json& source = config["chat_template"];
  if (source.is_string()) return source;
  for (const Json& named : source)
    if (named.is_object() && named.value("name", "") == "default") return named.value("template", "");
  return "";
}

void read_specials(const std::string& directory, const Json& json, const Json& config, TokenizerData& data) {
  const Json map = read_json_if_there(directory + "/special_tokens_map.json");
  const auto special = [&](const char* key) {
    const std::string text = token_text(config, key).empty() ? token_text(map, key) : token_text(config, key);
    return text.empty() ? -1 : id_of(data, text);
  };
  data.bos = special("bos_token"), data.eos = special("eos_token"), data.unknown = special("unk_token"), data.padding = special("pad_token");
  if (const Json& model = json.at("model"); data.unknown < 0 && model.contains("unk_token") && model["unk_token"].is_string()) data.unknown = id_of(data, model["unk_token"]);
  if (data.kind == TokenizerKind::Spm && data.unknown >= 0) data.tokens[static_cast<size_t>(data.unknown)].kind = TokenKind::Unknown;
  const std::string bos = data.bos >= 0 ? data.tokens[static_cast<size_t>(data.bos)].text : "";
  data.add_bos = !bos.empty() && (template_starts_with(json, bos) || config.value("add_bos_token", false));
  data.add_eos = data.eos >= 0 && config.contains("add_eos_token") && config["add_eos_token"].is_boolean() && config["add_eos_token"].get<bool>();
  for (const char* file : {"/generation_config.json", "/config.json"}) {
    const Json generation = read_json_if_there(directory + file);
    if (!generation.contains("eos_token_id")) continue;
    const Json& ids = generation["eos_token_id"];
    for (const Json& id : ids.is_array() ? ids : Json::array({ids}))
      if (id.is_number_integer() && id.get<int64_t>() >= 0 && id.get<int64_t>() < static_cast<int64_t>(data.tokens.size())) data.end_of_generation.push_back(id.get<int32_t>());
  }
  std::sort(data.end_of_generation.begin(), data.end_of_generation.end());
  data.end_of_generation.erase(std::unique(data.end_of_generation.begin(), data.end_of_generation.end()), data.end_of_generation.end());
}

// All pairs of tokens that make a token, the best-scored result first: what SPM's scores mean as merges.
Json merges_from_scores(const TokenizerData& data) {
  std::unordered_map<std::string_view, size_t> ids;
  for (size_t id = 0; id < data.tokens.size(); ++id)
    if (data.tokens[id].kind == TokenKind::Normal || data.tokens[id].kind == TokenKind::UserDefined) ids.emplace(data.tokens[id].text, id);
  struct Merge {
    size_t merged, left, right;
  };
  std::vector<Merge> merges;
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    if (data.tokens[id].kind != TokenKind::Normal) continue;
    const std::string_view text = data.tokens[id].text;
    for (size_t at = decode_utf8(text, 0).length; at < text.size(); at += decode_utf8(text, at).length) {
      const auto left = ids.find(text.substr(0, at)), right = ids.find(text.substr(at));
      if (left != ids.end() && right != ids.end()) merges.push_back({id, left->second, right->second});
    }
  }
  std::sort(merges.begin(), merges.end(), [&](const Merge& a, const Merge& b) {
    const float sa = data.tokens[a.merged].score, sb = data.tokens[b.merged].score;
    return sa != sb ? sa > sb : std::tie(a.left, a.right) < std::tie(b.left, b.right);
  });
  Json out = Json::array();
  for (const Merge& m : merges) out.push_back(Json::array({data.tokens[m.left].text, data.tokens[m.right].text}));
  return out;
}

Json split_step(const char* pattern) { return {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}}; }

Json pre_tokenizer_json(const TokenizerData& data) {
  const auto byte_level = [](bool use_regex) { return Json({{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}}); };
  const auto sequence = [](Json first, Json second) { return Json({{"type", "Sequence"}, {"pretokenizers", Json::array({std::move(first), std::move(second)})}}); };
  if (data.kind == TokenizerKind::Spm) return nullptr;
  if (data.pre == "smollm") return sequence({{"type", "Digits"}, {"individual_digits", true}}, byte_level(true));
  if (data.pre == "llama-bpe") return sequence(split_step(kLlama3Pattern), byte_level(false));
  if (data.pre == "qwen2") return sequence(split_step(kQwen2Pattern), byte_level(false));
  if (data.pre == "gpt-2") return byte_level(true);
  throw usage_error("export", "the pre-tokenizer `" + data.pre + "` cannot be written as tokenizer.json", "gpt-2, smollm, llama-bpe or qwen2");
}

Json normalizer_json(const TokenizerData& data) {
  if (data.normalize_nfc) return {{"type", "NFC"}};
  if (data.kind == TokenizerKind::Bpe) return nullptr;
  const Json replace = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpmSpace}};
  if (!data.add_space_prefix) return replace;
  return {{"type", "Sequence"}, {"normalizers", Json::array({{{"type", "Prepend"}, {"prepend", kSpmSpace}}, replace})}};
}

Json decoder_json(const TokenizerData& data) {
  if (data.kind == TokenizerKind::Bpe) return {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
  Json steps = Json::array({{{"type", "Replace"}, {"pattern", {{"String", kSpmSpace}}}, {"content", " "}}, {{"type", "ByteFallback"}}, {{"type", "Fuse"}}});
  if (data.add_space_prefix) steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return {{"type", "Sequence"}, {"decoders", steps}};
}

Json post_processor_json(const TokenizerData& data) {
  if (!data.add_bos || data.bos < 0) return nullptr;
  const std::string text = data.tokens[static_cast<size_t>(data.bos)].text;
  const Json bos = {{"SpecialToken", {{"id", text}, {"type_id", 0}}}};
  const auto sequence = [](const char* id, int type) { return Json({{"Sequence", {{"id", id}, {"type_id", type}}}}); };
  return {{"type", "TemplateProcessing"},
          {"single", Json::array({bos, sequence("A", 0)})},
          {"pair", Json::array({bos, sequence("A", 0), bos, sequence("B", 1)})},
          {"special_tokens", {{text, {{"id", text}, {"ids", {data.bos}}, {"tokens", {text}}}}}}};
}

Json tokenizer_json(const TokenizerData& data) {
  const bool bpe = data.kind == TokenizerKind::Bpe;
  Json vocabulary = Json::object(), added = Json::array();
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    const Token& token = data.tokens[id];
    vocabulary[token.text] = id;
    const bool special = token.kind == TokenKind::Control || (!bpe && token.kind == TokenKind::Unknown);
    if (special || token.kind == TokenKind::UserDefined)
      added.push_back({{"id", id}, {"content", token.text}, {"single_word", false}, {"lstrip", false}, {"rstrip", false}, {"normalized", false}, {"special", special}});
  }
  Json merges = Json::array();
  if (bpe)
    for (const auto& [left, right] : data.merges) merges.push_back(Json::array({left, right}));
  else
    merges = merges_from_scores(data);
  Json unknown = nullptr;
  if (!bpe && data.unknown >= 0) unknown = data.tokens[static_cast<size_t>(data.unknown)].text;
  const Json model = {{"type", "BPE"}, {"dropout", nullptr}, {"unk_token", unknown}, {"continuing_subword_prefix", nullptr}, {"end_of_word_suffix", nullptr},
                      {"fuse_unk", !bpe}, {"byte_fallback", !bpe}, {"ignore_merges", data.ignore_merges}, {"vocab", vocabulary}, {"merges", merges}};
  return {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}, {"added_tokens", added}, {"normalizer", normalizer_json(data)},
          {"pre_tokenizer", pre_tokenizer_json(data)}, {"post_processor", post_processor_json(data)}, {"decoder", decoder_json(data)}, {"model", model}};
}

}  // namespace

TokenizerData read_hf_tokenizer(const std::string& directory) {
  const std::string path = directory + "/tokenizer.json";
  if (!fs::exists(path)) throw input_error(directory, "holds no tokenizer.json", "the fast tokenizer's file");
  try {
    const Json json = read_json(path), config = read_json_if_there(directory + "/tokenizer_config.json");
    if (const std::string type = json.at("model").value("type", "BPE"); type != "BPE") throw input_error(path, "the tokenizer model `" + printable(type) + "` is not supported", "BPE");
    TokenizerData data;
    data.kind = is_byte_level(json) ? TokenizerKind::Bpe : TokenizerKind::Spm;
    read_vocabulary(json, path, data);
    if (data.kind == TokenizerKind::Bpe) {
      data.pre = pre_of(json, path);
      data.ignore_merges = json["model"].value("ignore_merges", false);
      for (const Json& step : steps_of(json, "normalizer", "normalizers")) data.normalize_nfc |= step.value("type", "") == "NFC";
    } else {
      data.pre = "default";
      for (const Json& step : steps_of(json, "normalizer", "normalizers")) data.add_space_prefix |= step.value("type", "") == "Prepend";
    }
    read_merges(json, path, data);
    read_specials(directory, json, config, data);
    data.chat_template = chat_template_of(directory, config);
    return data;
  } catch (const Json::exception&) {
    throw input_error(path, "lacks a part that every tokenizer.json has", "model with vocab and merges, added_tokens with id and content");
  }
}

void write_hf_tokenizer(const std::string& directory, const TokenizerData& data) {
  write_file_atomically(directory + "/tokenizer.json", tokenizer_json(data).dump(1) + "\n");
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}, {"model_max_length", 1000000}}, map = Json::object(), generation = Json::object();
  const auto special = [&](const char* name, const char* id_name, int32_t id) {
    if (id < 0) return;
    config[name] = map[name] = data.tokens[static_cast<size_t>(id)].text;
    if (id_name != nullptr) generation[id_name] = id;
  };
  special("bos_token", "bos_token_id", data.bos), special("eos_token", nullptr, data.eos), special("unk_token", nullptr, data.unknown), special("pad_token", "pad_token_id", data.padding);
  std::vector<int32_t> ends = data.end_of_generation;
  if (data.eos >= 0 && std::find(ends.begin(), ends.end(), data.eos) == ends.end()) ends.insert(ends.begin(), data.eos);
  if (ends.size() == 1) generation["eos_token_id"] = ends[0];
  else if (!ends.empty()) generation["eos_token_id"] = ends;
  config["add_bos_token"] = data.add_bos;
  write_file_atomically(directory + "/tokenizer_config.json", config.dump(2) + "\n");
  write_file_atomically(directory + "/special_tokens_map.json", map.dump(2) + "\n");
  write_file_atomically(directory + "/generation_config.json", generation.dump(2) + "\n");
  if (!data.chat_template.empty()) write_file_atomically(directory + "/chat_template.jinja", data.chat_template);
}

}  // namespace attar
