// Writes tokenizer.json and its neighbours, such that tokenizers and transformers give the ids that Attar gives.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <tuple>

#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/formats/container/gguf.h"
#include "runtime/formats/tokenizer/end_tokens.h"
#include "runtime/formats/tokenizer/files/hf_json.h"
#include "runtime/formats/tokenizer/files/hf_pre_tokenizers.h"
#include "runtime/formats/tokenizer/files/padding_token.h"
#include "runtime/formats/tokenizer/models/spm.h"
#include "runtime/formats/tokenizer/models/text_index.h"
#include "runtime/formats/tokenizer/split.h"
#include "runtime/formats/tokenizer/tokenizer.h"
#include "runtime/formats/tokenizer/unicode.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;  // for what is small: its objects search linearly

MergeList merges_of(const TokenizerData& data) {
  if (data.kind == TokenizerKind::Bpe) return data.merges;
  // All pairs of tokens that make a token, in the order in which SpmEncoder prefers them.
  struct Merge {
    std::pair<bool, float> score;  // user-defined tokens come first
    uint64_t tie;                  // lower goes first
    size_t left_size, merged;
  };
  TextIndex ids(data.tokens.size());
  const auto is_text = [&](size_t id) {
    const Token& token = data.tokens[id];
    return token.kind == TokenKind::Normal || (token.kind == TokenKind::UserDefined && !token.rule.unmerged);
  };
  for (size_t id = 0; id < data.tokens.size(); ++id)
    if (is_text(id)) ids.insert(data.tokens[id].text, static_cast<int32_t>(id));
  std::vector<Merge> merges;
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    if (!is_text(id)) continue;
    const Token& token = data.tokens[id];
    const std::pair score(is_merged_first(token), token.score);
    const std::string_view merged = token.text;
    for (size_t at = decode_utf8(merged, 0).length; at < merged.size(); at += decode_utf8(merged, at).length) {
      const int32_t left = ids.find(merged.substr(0, at)), right = ids.find(merged.substr(at));
      if (left < 0 || right < 0) continue;
      const uint64_t lowest_ids = uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
      const uint64_t sizes = uint64_t{at} << 32 | (merged.size() - at);
      merges.push_back({score, data.merge_ties == MergeTies::LongestLeft ? ~sizes : lowest_ids, at, id});
    }
  }
  std::sort(merges.begin(), merges.end(), [](const Merge& a, const Merge& b) {
    return std::tie(b.score, a.tie, a.merged) < std::tie(a.score, b.tie, b.merged);
  });
  MergeList out;
  for (const Merge& m : merges) {
    const std::string_view merged = data.tokens[m.merged].text;
    out.push_back({merged.substr(0, m.left_size), merged.substr(m.left_size)});
  }
  return out;
}

Json step_json(const HfStep& step) {
  if (step.kind == HfStepKind::Digits) return {{"type", "Digits"}, {"individual_digits", true}};
  if (step.kind == HfStepKind::Split)
    return {{"type", "Split"}, {"pattern", {{"Regex", step.pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", step.kind == HfStepKind::ByteLevelGpt2}};
}

Json pre_tokenizer_json(const TokenizerData& data) {
  if (data.kind == TokenizerKind::Spm && data.space_prefix == SpacePrefix::Always) return nullptr;
  if (data.kind == TokenizerKind::Spm) {
    const char* scheme = data.space_prefix == SpacePrefix::UnlessSpace ? "always" : "first";
    if (!data.add_space_prefix) scheme = "never";
    return {{"type", "Metaspace"}, {"replacement", kSpmSpace}, {"prepend_scheme", scheme}, {"split", false}};
  }
  for (const HfPreTokenizer& row : kHfPreTokenizers) {
    if (canonical_pre(row.pre) != canonical_pre(data.pre)) continue;
    Json steps = Json::array();
    for (const HfStep& step : row.steps)
      if (step.kind != HfStepKind::None) steps.push_back(step_json(step));
    if (steps.size() == 1) return steps[0];
    return {{"type", "Sequence"}, {"pretokenizers", steps}};
  }
  throw usage_error("tokenizer.json", "cannot express the pre-tokenizer `" + data.pre + "`",
                    "any of " + known_pre_tokenizers() + " but default");
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
    const AddedRule& rule = data.tokens[id].rule;
    const bool is_user_defined = kind == TokenKind::UserDefined;
    if (!is_user_defined && kind != TokenKind::Control && kind != TokenKind::Unknown) continue;
    added.push_back({{"id", id},
                     {"content", data.tokens[id].text},
                     {"single_word", rule.single_word},
                     {"lstrip", rule.strips_left},
                     {"rstrip", rule.strips_right},
                     {"normalized", rule.normalized},
                     {"special", !is_user_defined}});
  }
  return added;
}

std::string quoted(const std::string& text) {
  return Json(text).dump();
}

std::string tokenizer_json(const TokenizerData& data) {
  const bool is_spm = data.kind == TokenizerKind::Spm;
  const bool has_bytes = std::any_of(data.tokens.begin(), data.tokens.end(),
                                     [](const Token& token) { return token.kind == TokenKind::Byte; });
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
                      {"fuse_unk", is_spm && data.fuse_unknown},
                      {"byte_fallback", has_bytes},
                      {"ignore_merges", data.ignore_merges}};
  const auto opened = [](const Json& json) {  // without the closing brace
    std::string out = json.dump();
    out.pop_back();
    return out;
  };
  std::string out = opened(head) + ",\n\"model\":" + opened(model) + ",\"vocab\":{";
  bool first = true;
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    if (data.tokens[id].rule.unmerged || is_padding(data.tokens[id], id)) continue;  // no token is read as one
    out += (first ? "\n" : ",\n") + quoted(data.tokens[id].text) + ":" + std::to_string(id);
    first = false;
  }
  out += "},\"merges\":[";
  first = true;
  for (const auto& [left, right] : merges_of(data)) {
    out += (first ? "\n[" : ",\n[") + quoted(std::string(left)) + "," + quoted(std::string(right)) + "]";
    first = false;
  }
  return out + "]}}\n";
}

// What ends a reply, eos first: transformers knows none by its text.
std::vector<int32_t> reply_ends(const TokenizerData& data) {
  std::vector<int32_t> ends = {data.eos, data.eot, token_of(data, "eom")};
  ends.insert(ends.end(), data.end_of_generation.begin(), data.end_of_generation.end());
  for (const int32_t id : ends_by_text(data, EndTexts::OfReplies)) ends.push_back(id);
  std::sort(ends.begin(), ends.end(),
            [&](int32_t a, int32_t b) { return std::pair(a != data.eos, a) < std::pair(b != data.eos, b); });
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  std::erase_if(ends, [](int32_t id) { return id < 0; });
  return ends;
}

std::string generation_json(const TokenizerData& data) {
  Json json = Json::object();
  const std::vector<int32_t> ends = reply_ends(data);
  if (data.bos >= 0) json["bos_token_id"] = data.bos;
  if (data.padding >= 0) json["pad_token_id"] = data.padding;
  if (ends.size() == 1) json["eos_token_id"] = ends[0];
  if (ends.size() > 1) json["eos_token_id"] = ends;
  for (const SamplingName& name : kSamplingNames) {
    const auto found = data.sampling.find(name.gguf);
    if (name.hf == nullptr || found == data.sampling.end()) continue;
    json["do_sample"] = true;
    json[name.hf] = shortest_decimal(found->second);
    if (name.is_whole) json[name.hf] = static_cast<int64_t>(found->second);
  }
  return json.dump(2) + "\n";
}

void write_templates(const std::string& directory, const TokenizerData& data) {
  const std::string one = directory + "/chat_template.jinja", more = directory + "/" + hf::kMoreTemplates;
  std::filesystem::remove(one);  // templates of another model would be taken for this one's
  std::filesystem::remove_all(more);
  if (!data.chat_template.empty()) write_file_atomically(one, data.chat_template);
  for (const NamedTemplate& named : data.named_templates) {
    const bool is_plain = named.name.find_first_of("/\\") == std::string::npos && named.name[0] != '.';
    if (named.name.empty() || !is_plain)
      throw usage_error("chat template", "has a name that is no file name", "such as tool_use", printable(named.name));
    std::filesystem::create_directories(more);
    write_file_atomically(more + "/" + named.name + ".jinja", named.source);
  }
}

}  // namespace

void write_hf_tokenizer(const std::string& directory, const TokenizerData& data) {
  write_file_atomically(directory + "/tokenizer.json", tokenizer_json(data));
  // PreTrainedTokenizerFast takes tokenizer.json as it is; the families' own classes would build parts of it anew.
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"clean_up_tokenization_spaces", false},
                 {"model_max_length", 1000000}};
  Json map = Json::object();
  const auto text_of = [&](int32_t id) { return data.tokens[static_cast<size_t>(id)].text; };
  const auto special = [&](const char* name, int32_t id) {
    if (id >= 0) config[name] = map[name] = text_of(id);
  };
  special("bos_token", data.bos);
  special("eos_token", data.eos);
  special("unk_token", data.unknown);
  special("pad_token", data.padding);
  for (const TokenRole& role : data.roles) config[hf::kRolesKey][role.name] = text_of(role.id);
  config["add_bos_token"] = data.add_bos;
  config["add_eos_token"] = data.add_eos;
  write_file_atomically(directory + "/tokenizer_config.json", config.dump(2) + "\n");
  write_file_atomically(directory + "/special_tokens_map.json", map.dump(2) + "\n");
  write_file_atomically(directory + "/generation_config.json", generation_json(data));
  write_templates(directory, data);
}

}  // namespace attar
