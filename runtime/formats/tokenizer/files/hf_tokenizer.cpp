// Reads tokenizer.json and its neighbours of a Hugging Face directory. Source: the JSON of the tokenizers library.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "runtime/base/input_file.h"
#include "runtime/formats/tokenizer/end_tokens.h"
#include "runtime/formats/tokenizer/files/hf_json.h"
#include "runtime/formats/tokenizer/files/hf_steps.h"
#include "runtime/formats/tokenizer/files/padding_token.h"
#include "runtime/formats/tokenizer/files/spm_scores.h"
#include "runtime/formats/tokenizer/models/bpe.h"
#include "runtime/formats/tokenizer/models/spm.h"
#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar {
namespace {

using namespace hf;

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

AddedRule rule_of_added(const Json& token, const std::string& where) {
  return {.single_word = flag(token, "single_word", false, where),
          .strips_left = flag(token, "lstrip", false, where),
          .strips_right = flag(token, "rstrip", false, where),
          .normalized = flag(token, "normalized", false, where)};
}

// Where nothing is normalized, `normalized` only says that a token comes after those without: among equals, nothing.
void drop_idle_normalized(TokenizerData& data, const std::vector<size_t>& added) {
  const auto is_normalized = [&](size_t id) { return data.tokens[id].rule.normalized; };
  if (has_normalizer(data) || !std::all_of(added.begin(), added.end(), is_normalized)) return;
  for (const size_t id : added) data.tokens[id].rule.normalized = false;
}

// `n_rows`: of the embedding, where the directory says it.
void read_vocabulary(const Json& json, const std::string& where, size_t n_rows, TokenizerData& data) {
  const Json& model = json.at("model");
  const Json& vocabulary = model.at("vocab");
  if (!vocabulary.is_object()) throw wrong_type(where, "model.vocab", "tokens and their ids", vocabulary);
  const bool falls_back = data.kind == TokenizerKind::Spm && flag(model, "byte_fallback", false, where);
  const Json added = list_part(json, "added_tokens", where);
  const size_t limit = 2 * (vocabulary.size() + added.size()) + (1 << 16);  // ids may have holes, not deserts
  for (const auto& [content, id] : vocabulary.items()) {
    const bool is_byte = falls_back && byte_of_token(content) >= 0;
    put_token(data, content, id, is_byte ? TokenKind::Byte : TokenKind::Normal, limit, where);
  }
  std::vector<size_t> ids;
  for (const Json& token : added) {
    const std::string content = token.at("content");
    put_token(data, content, token.at("id"),
              flag(token, "special", false, where) ? TokenKind::Control : TokenKind::UserDefined, limit, where);
    ids.push_back(token.at("id"));
    AddedRule& rule = data.tokens[ids.back()].rule = rule_of_added(token, where);
    rule.unmerged = data.kind == TokenizerKind::Spm && !vocabulary.contains(content);
  }
  drop_idle_normalized(data, ids);
  // Gemma 3 without vision lists <image_soft_token> behind the last row of its embedding.
  while (data.tokens.size() > n_rows && data.tokens.back().kind != TokenKind::Normal) data.tokens.pop_back();
  for (size_t id = 0; id < data.tokens.size(); ++id)  // ids that no token has
    if (data.tokens[id].text.empty()) data.tokens[id] = padding_token(id);
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

// chat_template.jinja and additional_chat_templates/NAME.jinja, or in tokenizer_config.json one or a list of named
// ones.
void read_templates(const std::string& directory, const Neighbour& config, TokenizerData& data) {
  const Json* found = find_key(config.json, "chat_template");
  if (found == nullptr || !found->is_array()) {
    data.chat_template = text(config.json, "chat_template", config.path);
  } else {
    for (const Json& named : *found) {
      NamedTemplate entry{text(named, "name", config.path), text(named, "template", config.path)};
      if (entry.name == "default")
        data.chat_template = entry.source;
      else
        data.named_templates.push_back(std::move(entry));
    }
  }
  if (const std::string path = directory + "/chat_template.jinja"; path_exists(path))
    data.chat_template = read_file(path, kFileLimitBytes);
  std::error_code code;
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(directory + "/" + kMoreTemplates, code))
    if (entry.path().extension() == ".jinja") paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths)
    data.named_templates.push_back({std::filesystem::path(path).stem().string(), read_file(path, kFileLimitBytes)});
}

void read_sampling(const Neighbour& generation, TokenizerData& data) {
  for (const SamplingName& name : kSamplingNames) {
    const Json* value = name.hf != nullptr ? find_key(generation.json, name.hf) : nullptr;
    if (value == nullptr) continue;
    if (!value->is_number()) throw wrong_type(generation.path, name.hf, "a number", *value);
    data.sampling[name.gguf] = value->get<double>();
  }
}

// mask_token and its like, and what write_hf_tokenizer noted of the others.
void read_roles(const Neighbour& config, const Neighbour& map, TokenizerData& data) {
  const Json noted = object_part(config.json, kRolesKey, config.path);
  for (const RoleName& name : kRoleNames) {
    int32_t id = name.hf_key != nullptr ? special_id(data, config, map, name.hf_key) : -1;
    if (noted.contains(name.role)) id = id_of(data, text(noted, name.role, config.path));
    if (id >= 0) data.roles.push_back({name.role, id});
  }
}

// What stands for text that the vocabulary lacks. Byte-level vocabularies with all bytes lack none.
void read_unknown(const Json& model, const std::string& where, TokenizerData& data) {
  const std::string unknown = text(model, "unk_token", where);
  data.fuse_unknown = data.kind == TokenizerKind::Bpe || flag(model, "fuse_unk", false, where);
  const Json& vocabulary = model.at("vocab");
  bool lacks_bytes = false;
  for (int b = 0; b < 256; ++b)
    lacks_bytes = lacks_bytes || !vocabulary.contains(byte_mapped(std::string(1, static_cast<char>(b))));
  if (data.kind == TokenizerKind::Bpe && lacks_bytes && !unknown.empty())
    throw input_error(where, "key model.unk_token stands in for bytes that the vocabulary lacks",
                      "none, or a token for each byte", printable(unknown));
  if (data.kind == TokenizerKind::Bpe && flag(model, "byte_fallback", false, where) && vocabulary.contains("<0x00>"))
    throw input_error(where, "key model.byte_fallback beside a ByteLevel step is not supported", "false", "true");
  if (!unknown.empty()) data.unknown = id_of(data, unknown);
}

void read_specials(const std::string& directory, const Json& json, size_t n_rows, TokenizerData& data) {
  const std::string path = directory + "/tokenizer.json";
  const Neighbour config = read_neighbour(directory, "tokenizer_config.json"),
                  map = read_neighbour(directory, "special_tokens_map.json");
  data.bos = special_id(data, config, map, "bos_token");
  data.eos = special_id(data, config, map, "eos_token");
  data.unknown = special_id(data, config, map, "unk_token");
  data.padding = special_id(data, config, map, "pad_token");
  read_unknown(json.at("model"), path, data);
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
  read_roles(config, map, data);
  read_sampling(read_neighbour(directory, "generation_config.json"), data);
  read_templates(directory, config, data);
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
    if (const Json* dropout = find_key(model, "dropout"); dropout != nullptr && *dropout != 0)
      throw input_error(path, "key model.dropout makes ids a matter of chance", "null or 0",
                        printable(dropout->dump(), 20));
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (const std::string affix = text(model, key, path); !affix.empty())
        throw input_error(path, std::string("the model has a ") + key, "none", printable(affix));
    TokenizerData data;
    const size_t n_rows = embedding_rows(directory);
    read_steps(json, path, data);
    read_vocabulary(json, path, n_rows, data);
    std::vector<MergeList::Texts> merges;
    for (const Json& merge : list_part(model, "merges", path)) merges.push_back(merge_of(merge, path));
    read_specials(directory, json, n_rows, data);
    if (data.kind == TokenizerKind::Spm) {
      set_spm_scores(merges, path, data);
    } else {
      data.ignore_merges = flag(model, "ignore_merges", false, path);
      data.merges = MergeList(merges);
    }
    return data;
  } catch (const Json::exception&) {
    throw input_error(path, "lacks a part that every tokenizer.json has",
                      "model with vocab and merges, added_tokens with id and content");
  }
}

}  // namespace attar
