#include "runtime/formats/tokenizer/files/gguf_tokenizer.h"

#include <algorithm>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/formats/tokenizer/added_tokens.h"
#include "runtime/formats/tokenizer/end_tokens.h"
#include "runtime/formats/tokenizer/models/spm.h"
#include "runtime/formats/tokenizer/split.h"

namespace attar {
namespace {

const std::string kKeys = "tokenizer.ggml.";
const std::string kSampling = "general.sampling.";
const std::string kTemplate = "tokenizer.chat_template";
constexpr const char* kTemplateNames = "tokenizer.chat_templates";

// Attar's own keys, each absent for what other readers do.
constexpr const char* kSpacePrefixKey = "attar.tokenizer.space_prefix";  // they put a space before every text
constexpr const char* kSpacePrefixes[] = {"always", "unless_space", "first_unless_space"};
constexpr const char* kNfcKey = "attar.tokenizer.normalize_nfc";
constexpr const char* kMergeTiesKey = "attar.tokenizer.merge_ties";  // "lowest_ids"
constexpr const char* kFuseUnknownKey = "attar.tokenizer.fuse_unknown";
constexpr const char* kEndsKey = "attar.tokenizer.end_token_ids";  // more ends than GGUF has keys for
constexpr const char* kRulesKey = "attar.tokenizer.added_rules";   // id, bits_of(AddedRule), id, ...

const GgufValue& array(const GgufFile& file, const std::string& key, size_t length) {
  const GgufValue* value = file.find(key);
  if (value == nullptr) throw input_error(file.path(), "key " + key + " is missing");
  const size_t got = std::max({value->integers.size(), value->reals.size(), value->strings.size()});
  if (!value->is_array || (length != 0 && got != length))
    throw input_error(file.path(), "key " + key + " has a wrong length",
                      length == 0 ? "an array" : std::to_string(length), std::to_string(got));
  return *value;
}

// A merge splits at the first space that is not its first character.
MergeList::Merge split_merge(const GgufFile& file, std::string_view merge) {
  const size_t space = merge.find(' ', 1);
  if (space == std::string_view::npos || space + 1 == merge.size())
    throw input_error(file.path(), "tokenizer.ggml.merges has an entry that is no pair", "\"left right\"",
                      printable(std::string(merge)));
  return {merge.substr(0, space), merge.substr(space + 1)};
}

std::string id_key(const std::string& role) {
  return kKeys + role + "_token_id";
}

int32_t special_id(const GgufFile& file, const std::string& role) {
  const int64_t id = file.integer(id_key(role), -1);
  if (id < -1 || id > INT32_MAX)
    throw input_error(file.path(), "key " + id_key(role) + " is impossible", "a token id", std::to_string(id));
  return static_cast<int32_t>(id);
}

SpacePrefix space_prefix_of(const GgufFile& file) {
  const std::string name = file.string(kSpacePrefixKey, kSpacePrefixes[0]);
  for (size_t i = 0; i < std::size(kSpacePrefixes); ++i)
    if (name == kSpacePrefixes[i]) return static_cast<SpacePrefix>(i);
  throw input_error(file.path(), std::string("key ") + kSpacePrefixKey + " is not known", "", printable(name));
}

void read_kinds(const GgufFile& file, TokenizerData& data) {
  const std::string key = kKeys + "token_type";
  if (file.find(key) == nullptr) return;
  const size_t count = data.tokens.size();
  const GgufValue& kinds = array(file, key, count);
  if (kinds.integers.size() != count)
    throw input_error(file.path(), "key " + key + " has another type", "whole numbers");
  for (size_t i = 0; i < count; ++i)
    data.tokens[i].kind = static_cast<TokenKind>(std::clamp<int64_t>(kinds.integers[i], 0, 7));
}

void read_scores(const GgufFile& file, TokenizerData& data) {
  const size_t count = data.tokens.size();
  const GgufValue& scores = array(file, kKeys + "scores", count);
  if (scores.reals.size() != count)
    throw input_error(file.path(), "key tokenizer.ggml.scores has another type", "floats");
  for (size_t i = 0; i < count; ++i) data.tokens[i].score = static_cast<float>(scores.reals[i]);
}

void read_rules(const GgufFile& file, TokenizerData& data) {
  if (file.find(kRulesKey) == nullptr) return;
  const std::vector<int64_t>& rules = array(file, kRulesKey, 0).integers;
  for (size_t i = 0; i + 1 < rules.size(); i += 2) {
    if (rules[i] < 0 || rules[i] >= static_cast<int64_t>(data.tokens.size()))
      throw input_error(file.path(), std::string("key ") + kRulesKey + " has an impossible id",
                        "below " + std::to_string(data.tokens.size()), std::to_string(rules[i]));
    data.tokens[static_cast<size_t>(rules[i])].rule = rule_of(static_cast<int32_t>(rules[i + 1]));
  }
}

// The strings of an array, which the file then has no more.
std::vector<std::string> taken_strings(GgufFile& file, const std::string& key) {
  array(file, key, 0);
  return file.take_strings(key);
}

void read_vocabulary(GgufFile& file, TokenizerData& data) {
  std::vector<std::string> texts = taken_strings(file, kKeys + "tokens");
  data.tokens.resize(texts.size());
  for (size_t i = 0; i < texts.size(); ++i) data.tokens[i].text = std::move(texts[i]);
  read_kinds(file, data);
  if (data.kind == TokenizerKind::Spm) {
    read_scores(file, data);
    for (Token& token : data.tokens)  // their spaces are plain in the file
      if (token.kind == TokenKind::UserDefined) token.text = spm_escaped(token.text);
  } else {
    const std::vector<std::string> merges = taken_strings(file, kKeys + "merges");
    size_t n_bytes = 0;
    for (const std::string& merge : merges) n_bytes += merge.size();
    data.merges.reserve(merges.size(), n_bytes);
    for (const std::string& merge : merges) data.merges.push_back(split_merge(file, merge));
  }
  for (size_t i = 0; i < data.tokens.size(); ++i) {
    if (!data.tokens[i].text.empty()) continue;
    data.tokens[i] = {"[EMPTY_" + std::to_string(i) + "]", data.tokens[i].score, TokenKind::Unused};  // as llama.cpp
    data.notes.push_back("token " + std::to_string(i) + " has no text; it is never used");
  }
  read_rules(file, data);
}

void read_ids(const GgufFile& file, TokenizerData& data) {
  data.bos = special_id(file, "bos");
  data.eos = special_id(file, "eos");
  data.eot = special_id(file, "eot");
  data.unknown = special_id(file, "unknown");
  data.padding = special_id(file, "padding");
  for (const RoleName& name : kRoleNames) {
    int32_t id = special_id(file, name.role);
    if (id < 0 && name.old_role != nullptr) id = special_id(file, name.old_role);
    if (id >= 0) data.roles.push_back({name.role, id});
  }
  if (file.find(kEndsKey) != nullptr)
    for (const int64_t id : array(file, kEndsKey, 0).integers)
      data.end_of_generation.push_back(static_cast<int32_t>(std::clamp<int64_t>(id, INT32_MIN, INT32_MAX)));
  if (data.kind != TokenizerKind::Spm) return;
  // First files left out what every SentencePiece model had: <unk>, <s>, </s>.
  const auto by_default = [&](int32_t& id, const char* role, int32_t usual, TokenKind kind) {
    const auto at = static_cast<size_t>(usual);
    if (file.find(id_key(role)) == nullptr && at < data.tokens.size() && data.tokens[at].kind == kind) id = usual;
  };
  by_default(data.unknown, "unknown", 0, TokenKind::Unknown);
  by_default(data.bos, "bos", 1, TokenKind::Control);
  by_default(data.eos, "eos", 2, TokenKind::Control);
}

void read_sampling(const GgufFile& file, TokenizerData& data) {
  for (const SamplingName& name : kSamplingNames) {
    const std::string key = kSampling + name.gguf;
    if (file.find(key) == nullptr) continue;
    data.sampling[name.gguf] = name.is_whole ? static_cast<double>(file.integer(key)) : file.real(key);
  }
}

void add_sampling(const TokenizerData& data, std::vector<GgufEntry>& entries) {
  for (const SamplingName& name : kSamplingNames) {
    const auto found = data.sampling.find(name.gguf);
    if (found == data.sampling.end()) continue;
    entries.push_back({kSampling + name.gguf, name.is_whole ? GgufValue::i32(static_cast<int32_t>(found->second))
                                                            : GgufValue::f32(static_cast<float>(found->second))});
  }
}

void read_templates(const GgufFile& file, TokenizerData& data) {
  data.chat_template = file.string(kTemplate, "");
  for (const GgufEntry& entry : file.entries())
    if (entry.key.starts_with(kTemplate + "."))
      data.named_templates.push_back({entry.key.substr(kTemplate.size() + 1), file.string(entry.key)});
}

// The pre-tokenizer's name says it too. Merging that arrives at every token by itself is the same either way.
bool merges_reach_all(const TokenizerData& data) {
  const Tokenizer tokenizer(data);
  for (size_t id = 0; id < data.tokens.size(); ++id)
    if (data.tokens[id].kind == TokenKind::Normal && tokenizer.derivation(static_cast<int32_t>(id)).empty())
      return false;
  return true;
}

std::string written_pre(const TokenizerData& data) {
  if (traits_of_pre(data.pre).ignores_merges == data.ignore_merges) return data.pre;
  const std::string_view other = pre_with(canonical_pre(data.pre), data.ignore_merges);
  if (!other.empty()) return std::string(other);
  if (merges_reach_all(data)) return data.pre;
  throw usage_error("tokenizer.ggml.pre", "GGUF cannot say whether whole pieces go before merges",
                    data.pre + (data.ignore_merges ? " with merges first" : " with whole pieces first"),
                    "the contrary");
}

// Ends that other readers would not find: they know eos, eot, the roles and what a text says.
std::vector<int32_t> hidden_ends(const TokenizerData& data) {
  std::vector<int32_t> seen = ends_by_text(data, EndTexts::OfRepliesAndCode), hidden;
  seen.insert(seen.end(), {data.eos, data.eot});
  for (const RoleName& name : kRoleNames)
    if (name.ends_reply) seen.push_back(token_of(data, name.role));
  for (const int32_t id : data.end_of_generation)
    if (std::find(seen.begin(), seen.end(), id) == seen.end()) hidden.push_back(id);
  return hidden;
}

void add_texts(const TokenizerData& data, std::vector<GgufEntry>& entries) {
  std::vector<std::string> texts, merges;
  std::vector<float> scores;
  std::vector<int64_t> kinds, rules;
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    const Token& token = data.tokens[id];
    // llama.cpp cuts user-defined tokens out of the raw text, so their spaces are plain.
    const bool has_plain_spaces = data.kind == TokenizerKind::Spm && token.kind == TokenKind::UserDefined;
    texts.push_back(has_plain_spaces ? spm_unescaped(token.text) : token.text);
    scores.push_back(token.score);
    kinds.push_back(static_cast<int64_t>(token.kind));
    if (token.rule == AddedRule{}) continue;
    rules.push_back(static_cast<int64_t>(id));
    rules.push_back(bits_of(token.rule));
  }
  const bool bpe = data.kind == TokenizerKind::Bpe;
  entries.push_back({kKeys + "tokens", GgufValue::array_of(std::move(texts))});
  if (!bpe) entries.push_back({kKeys + "scores", GgufValue::array_of(std::move(scores))});
  entries.push_back({kKeys + "token_type", GgufValue::array_of_i32(std::move(kinds))});
  if (!rules.empty()) entries.push_back({kRulesKey, GgufValue::array_of_i32(std::move(rules))});
  if (!bpe) return;
  for (const auto& [left, right] : data.merges) merges.push_back(std::string(left).append(" ").append(right));
  entries.push_back({kKeys + "merges", GgufValue::array_of(std::move(merges))});
}

void add_ids(const TokenizerData& data, std::vector<GgufEntry>& entries) {
  const auto put = [&](const std::string& role, int32_t id) {
    if (id >= 0) entries.push_back({id_key(role), GgufValue::u32(static_cast<uint32_t>(id))});
  };
  // The keys of two kinds of ends hold two more than eos.
  std::vector<int32_t> hidden = hidden_ends(data);
  const auto or_hidden = [&](int32_t id) {
    if (id >= 0 || hidden.empty()) return id;
    id = hidden.front();
    hidden.erase(hidden.begin());
    return id;
  };
  put("bos", data.bos);
  put("eos", or_hidden(data.eos));
  put("eot", or_hidden(data.eot));
  put("unknown", data.unknown);
  put("padding", data.padding);
  for (const RoleName& name : kRoleNames) {
    const bool eom = std::string_view(name.role) == "eom";
    put(name.role, eom ? or_hidden(token_of(data, name.role)) : token_of(data, name.role));
  }
  if (!hidden.empty())
    entries.push_back({kEndsKey, GgufValue::array_of_i32(std::vector<int64_t>(hidden.begin(), hidden.end()))});
}

void add_templates(const TokenizerData& data, std::vector<GgufEntry>& entries) {
  if (!data.chat_template.empty()) entries.push_back({kTemplate, GgufValue::string(data.chat_template)});
  if (data.named_templates.empty()) return;
  std::vector<std::string> names;
  for (const NamedTemplate& named : data.named_templates) {
    names.push_back(named.name);
    entries.push_back({kTemplate + "." + named.name, GgufValue::string(named.source)});
  }
  entries.push_back({kTemplateNames, GgufValue::array_of(std::move(names))});
}

}  // namespace

TokenizerData read_gguf_tokenizer(GgufFile&& file) {
  TokenizerData data;
  const std::string model = file.string(kKeys + "model");
  if (model != "gpt2" && model != "llama")
    throw input_error(file.path(), "the tokenizer `" + printable(model) + "` is not supported", "gpt2 or llama");
  const bool spm = model == "llama";
  data.kind = spm ? TokenizerKind::Spm : TokenizerKind::Bpe;
  data.pre = file.string(kKeys + "pre", "");
  if (data.pre.empty() && !spm)
    data.notes.push_back(
        "the file names no pre-tokenizer: text is split as llama.cpp does then, and ids may differ from those the "
        "model was trained on");
  if (data.pre.empty()) data.pre = "default";
  read_vocabulary(file, data);
  read_ids(file, data);
  for (const int32_t end : {data.eos, data.eot})  // what ends a reply is no text, whatever its type in the file
    if (const auto place = static_cast<size_t>(end);
        end >= 0 && place < data.tokens.size() && data.tokens[place].kind == TokenKind::Normal)
      data.tokens[place].kind = TokenKind::Control;
  read_templates(file, data);
  read_sampling(file, data);
  const PreTraits traits = spm ? PreTraits{.adds_bos = true} : traits_of_pre(data.pre);
  data.add_bos = file.boolean(kKeys + "add_bos_token", traits.adds_bos);
  data.add_eos = file.boolean(kKeys + "add_eos_token", false);
  data.add_space_prefix = spm && file.boolean(kKeys + "add_space_prefix", true);
  data.space_prefix = space_prefix_of(file);
  data.ignore_merges = traits.ignores_merges;
  data.normalize_nfc = file.boolean(kNfcKey, traits.normalizes_nfc);
  if (file.string(kMergeTiesKey, "") == "lowest_ids") data.merge_ties = MergeTies::LowestIds;
  data.fuse_unknown = file.boolean(kFuseUnknownKey, true);
  if (data.bos < 0 && file.boolean(kKeys + "add_bos_token", false))
    throw input_error(file.path(), "asks for a BOS before every text and names none", id_key("bos"), "nothing");
  return data;
}

std::vector<GgufEntry> gguf_tokenizer_entries(const TokenizerData& data) {
  const bool bpe = data.kind == TokenizerKind::Bpe;
  const std::string pre = bpe ? written_pre(data) : "default";
  std::vector<GgufEntry> entries;
  entries.push_back({kKeys + "model", GgufValue::string(bpe ? "gpt2" : "llama")});
  entries.push_back({kKeys + "pre", GgufValue::string(pre)});
  add_texts(data, entries);
  add_ids(data, entries);
  entries.push_back({kKeys + "add_bos_token", GgufValue::boolean(data.add_bos)});
  entries.push_back({kKeys + "add_eos_token", GgufValue::boolean(data.add_eos)});
  entries.push_back({kKeys + "add_space_prefix", GgufValue::boolean(data.add_space_prefix)});
  if (data.space_prefix != SpacePrefix::Always)
    entries.push_back({kSpacePrefixKey, GgufValue::string(kSpacePrefixes[static_cast<size_t>(data.space_prefix)])});
  if (bpe && data.normalize_nfc != traits_of_pre(pre).normalizes_nfc)
    entries.push_back({kNfcKey, GgufValue::boolean(data.normalize_nfc)});
  if (data.merge_ties == MergeTies::LowestIds) entries.push_back({kMergeTiesKey, GgufValue::string("lowest_ids")});
  if (!data.fuse_unknown) entries.push_back({kFuseUnknownKey, GgufValue::boolean(false)});
  add_templates(data, entries);
  add_sampling(data, entries);
  return entries;
}

std::vector<std::string> gguf_tokenizer_notes(const TokenizerData& data) {
  std::vector<std::string> notes;
  const size_t slots = (data.eos < 0) + (data.eot < 0) + (token_of(data, "eom") < 0);
  if (const size_t hidden = hidden_ends(data).size(); hidden > slots)
    notes.push_back("GGUF has no keys for " + std::to_string(hidden - slots) +
                    " of the tokens that end a reply: other runtimes go on after them");
  int64_t ruled = 0;
  for (const Token& token : data.tokens) {
    AddedRule rule = token.rule;
    rule.unmerged = false;
    ruled += rule != AddedRule{} ? 1 : 0;
  }
  if (ruled > 0)
    notes.push_back("GGUF has no keys for how " + std::to_string(ruled) +
                    " added tokens are found (white space beside them, whole words, normalized text): other runtimes "
                    "find them wherever they stand");
  return notes;
}

bool is_read_by_tokenizer(std::string_view key) {
  for (const char* name : {"model", "pre", "tokens", "token_type", "scores", "merges", "add_bos_token", "add_eos_token",
                           "add_space_prefix"})
    if (key == kKeys + name) return true;
  for (const char* role : {"bos", "eos", "eot", "unknown", "padding"})
    if (key == id_key(role)) return true;
  for (const RoleName& name : kRoleNames)
    if (key == id_key(name.role) || (name.old_role != nullptr && key == id_key(name.old_role))) return true;
  for (const SamplingName& name : kSamplingNames)
    if (key == kSampling + name.gguf) return true;
  return key == kTemplateNames || key.starts_with(kTemplate) || key.starts_with("attar.tokenizer.");
}

}  // namespace attar
