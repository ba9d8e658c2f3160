// Reads tokenizer.json and its neighbours of a Hugging Face directory. Source: the JSON of the tokenizers library.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/formats/container/json_object.h"
#include "runtime/formats/tokenizer/hf_pre_tokenizers.h"
#include "runtime/formats/tokenizer/spm.h"
#include "runtime/formats/tokenizer/text_index.h"
#include "runtime/formats/tokenizer/tokenizer.h"
#include "runtime/formats/tokenizer/unicode.h"

namespace attar {
namespace {

using Json = nlohmann::json;  // not ordered_json, whose look-ups are linear: a vocabulary has 262144 keys

constexpr size_t kFileLimitBytes = size_t{256} << 20;

Json read_json(const std::string& path) {
  const std::string text = read_file(path, kFileLimitBytes);
  check_json_depth(text, path);
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) throw input_error(path, "is not a JSON object");
  return json;
}

// nullptr when the key is absent or null.
const Json* find_key(const Json& json, const char* key) {
  return json.contains(key) && !json[key].is_null() ? &json[key] : nullptr;
}

Error wrong_type(const std::string& where, const char* key, const char* expected, const Json& got) {
  return input_error(where, std::string("key ") + key + " has another type", expected,
                     printable(got.dump(-1, ' ', true), 40));
}

bool flag(const Json& json, const char* key, bool fallback, const std::string& where) {
  const Json* value = find_key(json, key);
  if (value != nullptr && !value->is_boolean()) throw wrong_type(where, key, "true or false", *value);
  return value != nullptr ? value->get<bool>() : fallback;
}
std::string text(const Json& json, const char* key, const std::string& where) {
  const Json* value = find_key(json, key);
  if (value != nullptr && !value->is_string()) throw wrong_type(where, key, "text", *value);
  return value != nullptr ? value->get<std::string>() : "";
}
// An object or list that may be absent.
Json part(const Json& json, const char* key, Json::value_t type, const std::string& where) {
  const Json* value = find_key(json, key);
  const Json empty(type);
  if (value != nullptr && value->type() != type) throw wrong_type(where, key, empty.type_name(), *value);
  return value != nullptr ? *value : empty;
}

// The steps of a normalizer, pre-tokenizer or post-processor, Sequence or single.
std::vector<Json> steps_of(const Json& json, const char* key, const char* list, const std::string& where) {
  const Json* step = find_key(json, key);
  if (step == nullptr) return {};
  if (text(*step, "type", where) == "Sequence") return step->at(list).get<std::vector<Json>>();
  return {*step};
}

Error unknown_step(const std::string& where, const char* what, const Json& step, const char* expected) {
  return input_error(where,
                     std::string("the ") + what + " `" + printable(text(step, "type", where)) + "` is not supported",
                     expected, printable(step.dump(-1, ' ', true), 120));
}

std::string pattern_of(const Json& step, const std::string& where) {
  if (!step.contains("pattern") || !step["pattern"].is_object()) return "";
  return text(step["pattern"], step["pattern"].contains("Regex") ? "Regex" : "String", where);
}

// Every piece is kept, whether it is a match or a gap; the known expressions leave no gaps.
bool keeps_all(const Json& step, const std::string& where) {
  const std::string behavior = text(step, "behavior", where);
  return flag(step, "invert", false, where) ? behavior == "Removed" : behavior == "Isolated";
}

// Byte-level BPE: which row of the table the pre-tokenizer is.
std::string pre_of(const std::vector<Json>& steps, const std::string& where) {
  HfPreTokenizer found{"", DigitSplit::None, "", ByteLevelSplit::None};
  std::string pattern;
  for (const Json& step : steps) {
    const std::string type = text(step, "type", where);
    if (type == "Digits" && flag(step, "individual_digits", false, where))
      found.digits = DigitSplit::Each;
    else if (type == "Split" && pattern.empty() && keeps_all(step, where))
      pattern = pattern_of(step, where);
    else if (type == "ByteLevel" && !flag(step, "add_prefix_space", true, where))
      found.byte_level = flag(step, "use_regex", true, where) ? ByteLevelSplit::Gpt2 : ByteLevelSplit::None;
    else
      throw unknown_step(where, "pre-tokenizer", step, "those of GPT-2, SmolLM, Llama 3 and Qwen 2");
  }
  for (const HfPreTokenizer& row : kHfPreTokenizers)
    if (row.digits == found.digits && row.pattern == pattern && row.byte_level == found.byte_level)
      return std::string(row.pre);
  throw input_error(where, "the pre-tokenizer is not supported", "that of GPT-2, SmolLM, Llama 3 or Qwen 2",
                    printable(pattern.empty() ? "a sequence of steps" : pattern, 120));
}

// Metaspace of the tokenizers library in place of the two normalizers; text that begins with a space gets no other.
bool read_metaspace(const Json& step, const std::string& where, TokenizerData& data) {
  const std::string scheme = text(step, "prepend_scheme", where);
  if (text(step, "replacement", where) != kSpmSpace || flag(step, "split", true, where) ||
      (scheme != "always" && scheme != "first" && scheme != "never"))
    throw unknown_step(where, "pre-tokenizer", step, "U+2581, prepend_scheme always, first or never, split false");
  data.add_space_prefix = scheme != "never";
  data.space_prefix = scheme == "first" ? SpacePrefix::FirstUnlessSpace : SpacePrefix::UnlessSpace;
  if (!data.add_space_prefix) data.space_prefix = SpacePrefix::Always;
  return true;
}

// SPM as BPE: spaces become U+2581, and nothing else changes or splits the text.
void read_spm_steps(const Json& json, const std::string& where, TokenizerData& data) {
  constexpr const char* kExpected = "Prepend and Replace, or Metaspace, as in Llama 2 and Gemma";
  bool replaces = false;
  for (const Json& step : steps_of(json, "normalizer", "normalizers", where)) {
    const std::string type = text(step, "type", where);
    if (type == "Prepend" && text(step, "prepend", where) == kSpmSpace)
      data.add_space_prefix = true;
    else if (type == "Replace" && pattern_of(step, where) == " " && text(step, "content", where) == kSpmSpace)
      replaces = true;
    else
      throw unknown_step(where, "normalizer", step, kExpected);
  }
  for (const Json& step : steps_of(json, "pre_tokenizer", "pretokenizers", where))
    if (text(step, "type", where) == "Metaspace" && !replaces)
      replaces = read_metaspace(step, where, data);
    else if (text(step, "type", where) != "Split" || pattern_of(step, where) != " ")  // spaces are gone by then
      throw unknown_step(where, "pre-tokenizer", step, kExpected);
  if (!replaces) throw input_error(where, "spaces are not written as U+2581", kExpected);
}

void read_steps(const Json& json, const std::string& where, TokenizerData& data) {
  const std::vector<Json> steps = steps_of(json, "pre_tokenizer", "pretokenizers", where);
  const auto is_byte_level = [&](const Json& step) { return text(step, "type", where) == "ByteLevel"; };
  data.kind = std::any_of(steps.begin(), steps.end(), is_byte_level) ? TokenizerKind::Bpe : TokenizerKind::Spm;
  if (data.kind == TokenizerKind::Spm) {
    data.pre = "default";
    return read_spm_steps(json, where, data);
  }
  data.pre = pre_of(steps, where);
  for (const Json& step : steps_of(json, "normalizer", "normalizers", where)) {
    if (text(step, "type", where) != "NFC") throw unknown_step(where, "normalizer", step, "NFC, or none");
    data.normalize_nfc = true;
  }
}

void put_token(TokenizerData& data, const std::string& content, const Json& id, TokenKind kind, size_t limit,
               const std::string& where) {
  if (content.size() > kMaxTokenBytes)  // what compares tokens below takes the square of it
    throw input_error(where, "a token is too long", "at most " + std::to_string(kMaxTokenBytes) + " bytes",
                      std::to_string(content.size()));
  if (!id.is_number_unsigned() || id.get<uint64_t>() >= limit)
    throw input_error(where, "token `" + printable(content) + "` has an impossible id",
                      "below " + std::to_string(limit), printable(id.dump(), 20));
  const auto at = id.get<size_t>();
  if (at >= data.tokens.size()) data.tokens.resize(at + 1);
  if (const std::string& other = data.tokens[at].text; !other.empty() && other != content)
    throw input_error(where, "id " + std::to_string(at) + " is given twice", printable(other), printable(content));
  data.tokens[at] = {content, 0.0f, kind};
}

// `n_rows`: of the embedding, where the directory says it.
void read_vocabulary(const Json& json, const std::string& where, size_t n_rows, TokenizerData& data) {
  const Json& vocabulary = json.at("model").at("vocab");
  if (!vocabulary.is_object()) throw wrong_type(where, "model.vocab", "tokens and their ids", vocabulary);
  const Json added = part(json, "added_tokens", Json::value_t::array, where);
  const size_t limit = 2 * (vocabulary.size() + added.size()) + (1 << 16);  // ids may have holes, not deserts
  for (const auto& [content, id] : vocabulary.items()) {
    const bool is_byte = data.kind == TokenizerKind::Spm && byte_of_token(content) >= 0;
    put_token(data, content, id, is_byte ? TokenKind::Byte : TokenKind::Normal, limit, where);
  }
  for (const Json& token : added) {
    for (const char* key : {"single_word", "lstrip", "rstrip"})
      if (flag(token, key, false, where))
        throw input_error(where, "the added token `" + printable(text(token, "content", where)) + "` has " + key,
                          "false", "true");
    put_token(data, token.at("content"), token.at("id"),
              flag(token, "special", false, where) ? TokenKind::Control : TokenKind::UserDefined, limit, where);
  }
  // Gemma 3 without vision lists <image_soft_token> behind the last row of its embedding.
  while (data.tokens.size() > n_rows && data.tokens.back().kind != TokenKind::Normal) data.tokens.pop_back();
  for (size_t id = 0; id < data.tokens.size(); ++id)  // ids that no token has
    if (data.tokens[id].text.empty()) data.tokens[id] = {"[PAD" + std::to_string(id) + "]", 0.0f, TokenKind::Unused};
}

std::pair<std::string, std::string> merge_of(const Json& merge, const std::string& where) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
    return {merge[0], merge[1]};
  if (merge.is_string()) {
    const std::string pair = merge;
    const size_t space = pair.find(' ', 1);
    if (space != std::string::npos && space + 1 < pair.size()) return {pair.substr(0, space), pair.substr(space + 1)};
  }
  throw input_error(where, "has a merge that is no pair", "\"left right\" or [left, right]",
                    printable(merge.dump(-1, ' ', true), 40));
}

// In how many ways two tokens make this one.
size_t count_splits(std::string_view merged, const TextIndex& ids) {
  size_t n = 0;
  for (size_t at = decode_utf8(merged, 0).length; at < merged.size(); at += decode_utf8(merged, at).length)
    n += ids.contains(merged.substr(0, at)) && ids.contains(merged.substr(at)) ? 1 : 0;
  return n;
}

// SPM's scores out of the merges: the earlier, the better. The merges must be what scores stand for: all ways to make a
// token, one token after the other. User-defined tokens are cut out of the text before, so theirs do not matter.
void read_spm_scores(const Json& merges, const std::string& where, TokenizerData& data) {
  TextIndex ids(data.tokens.size());
  for (size_t id = 0; id < data.tokens.size(); ++id) ids.insert(data.tokens[id].text, static_cast<int32_t>(id));
  std::vector<size_t> splits(data.tokens.size(), 0);
  const auto refuse = [&](int32_t id) {
    throw input_error(where, "the merges are not those of a SentencePiece vocabulary",
                      "all pairs that make a token, token by token",
                      "others for `" + printable(data.tokens[static_cast<size_t>(id)].text) + "`");
  };
  int32_t current = -1;
  float score = 1.0f;
  for (const Json& entry : merges) {
    const auto [left, right] = merge_of(entry, where);
    const int32_t id = ids.find(left + right);
    if (id < 0) throw input_error(where, "has a merge whose result is no token", "", printable(left + right));
    Token& token = data.tokens[static_cast<size_t>(id)];
    if (token.kind != TokenKind::Normal) continue;
    if (id != current && splits[static_cast<size_t>(id)] > 0) refuse(id);
    if (id != current) token.score = score -= 1.0f;
    current = id;
    ++splits[static_cast<size_t>(id)];
  }
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    if (data.tokens[id].kind != TokenKind::Normal) continue;
    if (splits[id] != count_splits(data.tokens[id].text, ids)) refuse(static_cast<int32_t>(id));
    if (splits[id] == 0) data.tokens[id].score = score -= 1.0f;  // characters
  }
}

int32_t id_of(const TokenizerData& data, const std::string& content) {
  for (size_t id = 0; id < data.tokens.size(); ++id)
    if (data.tokens[id].text == content) return static_cast<int32_t>(id);
  return -1;
}

// One of the files beside tokenizer.json.
struct Neighbour {
  std::string path;
  Json json;
};
Neighbour read_neighbour(const std::string& directory, const char* name) {
  const std::string path = directory + "/" + name;
  return {path, path_exists(path) ? read_json(path) : Json::object()};
}

// "bos_token": "<s>" or {"content": "<s>"}
int32_t special_id(const TokenizerData& data, const Neighbour& config, const Neighbour& map, const char* key) {
  for (const Neighbour* file : {&config, &map}) {
    const Json* value = find_key(file->json, key);
    if (value == nullptr) continue;
    const std::string content =
        value->is_object() ? text(*value, "content", file->path) : text(file->json, key, file->path);
    if (!content.empty()) return id_of(data, content);
  }
  return -1;
}

// What TemplateProcessing puts before and after one text.
void read_template(const Json& json, const std::string& where, TokenizerData& data) {
  for (const Json& step : steps_of(json, "post_processor", "processors", where)) {
    const std::string type = text(step, "type", where);
    if (type == "ByteLevel") continue;  // offsets only
    if (type != "TemplateProcessing")
      throw unknown_step(where, "post-processor", step, "TemplateProcessing or ByteLevel");
    data.add_bos = data.add_eos = false;
    bool before = true;
    for (const Json& part : step.at("single")) {
      if (part.contains("Sequence")) {
        before = false;
        continue;
      }
      const int32_t id = id_of(data, text(part.at("SpecialToken"), "id", where));
      if (id < 0 || id != (before ? data.bos : data.eos))
        throw unknown_step(where, "post-processor", step, "BOS before and EOS after the text");
      (before ? data.add_bos : data.add_eos) = true;
    }
  }
}

// Ids that end a reply, one or a list. `n_rows` of the embedding may be more than there are tokens.
void read_end_ids(const Neighbour& file, size_t n_rows, TokenizerData& data) {
  const Json* ids = find_key(file.json, "eos_token_id");
  if (ids == nullptr) return;
  const size_t limit = std::max(data.tokens.size(), n_rows == SIZE_MAX ? 0 : n_rows);
  for (const Json& id : ids->is_array() ? *ids : Json::array({*ids})) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= limit)
      throw input_error(file.path, "key eos_token_id is no token", "ids below " + std::to_string(limit),
                        printable(id.dump(-1, ' ', true), 40));
    if (id.get<uint64_t>() < data.tokens.size()) data.end_of_generation.push_back(id.get<int32_t>());
  }
}

// One template, or a list of named ones.
std::string chat_template_of(const Neighbour& config) {
  const Json* found = find_key(config.json, "chat_template");
  if (found == nullptr || !found->is_array()) return text(config.json, "chat_template", config.path);
  for (const Json& named : *found)
    if (text(named, "name", config.path) == "default") return text(named, "template", config.path);
  return "";
}

void read_specials(const std::string& directory, const Json& json, size_t n_rows, TokenizerData& data) {
  const std::string path = directory + "/tokenizer.json";
  const Neighbour config = read_neighbour(directory, "tokenizer_config.json"),
                  map = read_neighbour(directory, "special_tokens_map.json");
  data.bos = special_id(data, config, map, "bos_token");
  data.eos = special_id(data, config, map, "eos_token");
  data.unknown = special_id(data, config, map, "unk_token");
  data.padding = special_id(data, config, map, "pad_token");
  if (const std::string unknown = text(json.at("model"), "unk_token", path); !unknown.empty())
    data.unknown = id_of(data, unknown);
  if (data.kind == TokenizerKind::Spm && data.unknown >= 0)
    data.tokens[static_cast<size_t>(data.unknown)].kind = TokenKind::Unknown;
  data.add_bos = data.bos >= 0 && flag(config.json, "add_bos_token", false, config.path);
  data.add_eos = data.eos >= 0 && flag(config.json, "add_eos_token", false, config.path);
  read_template(json, path, data);
  for (const char* file : {"generation_config.json", "config.json"})
    read_end_ids(read_neighbour(directory, file), n_rows, data);
  std::sort(data.end_of_generation.begin(), data.end_of_generation.end());
  data.end_of_generation.erase(std::unique(data.end_of_generation.begin(), data.end_of_generation.end()),
                               data.end_of_generation.end());
  const std::string template_path = directory + "/chat_template.jinja";
  data.chat_template =
      path_exists(template_path) ? read_file(template_path, kFileLimitBytes) : chat_template_of(config);
}

size_t embedding_rows(const std::string& directory) {
  const Json config = read_neighbour(directory, "config.json").json;
  const Json& text_config = config.contains("text_config") ? config["text_config"] : config;
  const bool is_said = text_config.contains("vocab_size") && text_config["vocab_size"].is_number_unsigned();
  return is_said ? text_config["vocab_size"].get<size_t>() : SIZE_MAX;
}

}  // namespace

TokenizerData read_hf_tokenizer(const std::string& directory) {
  const std::string path = directory + "/tokenizer.json";
  if (!path_exists(path)) throw input_error(directory, "holds no tokenizer.json", "the fast tokenizer's file");
  const Json json = read_json(path);
  try {
    const Json& model = json.at("model");
    if (!model.is_object()) throw wrong_type(path, "model", "the vocabulary and its merges", model);
    if (const std::string type = text(model, "type", path); !type.empty() && type != "BPE")
      throw input_error(path, "the tokenizer model `" + printable(type) + "` is not supported", "BPE");
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (const std::string affix = text(model, key, path); !affix.empty())
        throw input_error(path, std::string("the model has a ") + key, "none", printable(affix));
    TokenizerData data;
    const size_t n_rows = embedding_rows(directory);
    read_steps(json, path, data);
    read_vocabulary(json, path, n_rows, data);
    const Json merges = part(model, "merges", Json::value_t::array, path);
    if (data.kind == TokenizerKind::Bpe) {
      data.ignore_merges = flag(model, "ignore_merges", false, path);
      for (const Json& merge : merges) data.merges.push_back(merge_of(merge, path));
    }
    read_specials(directory, json, n_rows, data);
    if (data.kind == TokenizerKind::Spm) read_spm_scores(merges, path, data);
    return data;
  } catch (const Json::exception&) {
    throw input_error(path, "lacks a part that every tokenizer.json has",
                      "model with vocab and merges, added_tokens with id and content");
  }
}

}  // namespace attar
