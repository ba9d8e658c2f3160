#include "runtime/formats/tokenizer/files/hf_steps.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "runtime/formats/tokenizer/files/hf_pre_tokenizers.h"
#include "runtime/formats/tokenizer/models/spm.h"
#include "runtime/formats/tokenizer/split.h"

namespace attar::hf {
namespace {

// A regular expression with its line breaks escaped, or a plain string; "" when the step has neither.
std::string pattern_of(const Json& step, const char* kind, const std::string& where) {
  if (!step.contains("pattern") || !step["pattern"].is_object() || !step["pattern"].contains(kind)) return "";
  std::string out;
  for (const char c : text(step["pattern"], kind, where))
    c == '\r' ? out += "\\r" : c == '\n' ? out += "\\n" : out += c;
  return out;
}

// Matches and the gaps between them are pieces.
bool keeps_all(const Json& step, const std::string& where) {
  return text(step, "behavior", where) == "Isolated" && !flag(step, "invert", false, where);
}
// Gaps are left out; the expressions that stand alone have none.
bool keeps_matches(const Json& step, const std::string& where) {
  return text(step, "behavior", where) == "Removed" && flag(step, "invert", false, where);
}

HfStep byte_level_step(const Json& step, const std::string& pattern, const std::string& where) {
  const std::string type = text(step, "type", where);
  if (type == "Digits" && flag(step, "individual_digits", false, where)) return {HfStepKind::Digits};
  if (type == "ByteLevel" && !flag(step, "add_prefix_space", true, where))
    return {flag(step, "use_regex", true, where) ? HfStepKind::ByteLevelGpt2 : HfStepKind::ByteLevel};
  if (type == "Split" && pattern == R"(\p{N})" && keeps_all(step, where)) return {HfStepKind::Digits};
  if (type == "Split" && !pattern.empty() && (keeps_all(step, where) || keeps_matches(step, where)))
    return {HfStepKind::Split, pattern};
  throw unknown_step(where, "pre-tokenizer", step, "the steps of " + known_pre_tokenizers());
}

// Byte-level BPE: which row of the table the pre-tokenizer is.
std::string pre_of(const std::vector<Json>& steps, const std::string& where) {
  std::array<std::string, 6> patterns;
  std::array<HfStep, 6> found;
  bool leaves_out = false;
  for (size_t i = 0; i < steps.size(); ++i) {
    if (i == found.size())
      throw input_error(where, "the pre-tokenizer has too many steps", "6", std::to_string(steps.size()));
    patterns[i] = pattern_of(steps[i], "Regex", where);
    found[i] = byte_level_step(steps[i], patterns[i], where);
    leaves_out = leaves_out || keeps_matches(steps[i], where);
  }
  for (const HfPreTokenizer& row : kHfPreTokenizers)
    if (row.steps == found && (!leaves_out || steps.size() == 2)) return std::string(row.pre);
  std::string got;
  for (const std::string& pattern : patterns) got += (got.empty() ? "" : ", then ") + pattern;
  throw input_error(where, "the pre-tokenizer is not supported", "that of " + known_pre_tokenizers(),
                    printable(got.empty() ? "a sequence of steps" : got, 120));
}

// Metaspace of the tokenizers library in place of the two normalizers; text that begins with a space gets no other.
void read_metaspace(const Json& step, const std::string& where, TokenizerData& data) {
  const std::string scheme = text(step, "prepend_scheme", where);
  if (text(step, "replacement", where) != kSpmSpace || flag(step, "split", true, where) ||
      (scheme != "always" && scheme != "first" && scheme != "never"))
    throw unknown_step(where, "pre-tokenizer", step, "U+2581, prepend_scheme always, first or never, split false");
  data.add_space_prefix = scheme != "never";
  data.space_prefix = scheme == "first" ? SpacePrefix::FirstUnlessSpace : SpacePrefix::UnlessSpace;
}

// SPM as BPE: spaces become U+2581, and nothing else changes or splits the text.
void read_spm_steps(const Json& json, const std::string& where, TokenizerData& data) {
  const std::string expected = "Prepend and Replace, or Metaspace, as in Llama 2 and Gemma";
  bool replaces = false;
  for (const Json& step : steps_of(json, "normalizer", "normalizers", where)) {
    const std::string type = text(step, "type", where);
    if (type == "Prepend" && text(step, "prepend", where) == kSpmSpace)
      data.add_space_prefix = true;
    else if (type == "Replace" && pattern_of(step, "String", where) == " " && text(step, "content", where) == kSpmSpace)
      replaces = true;
    else
      throw unknown_step(where, "normalizer", step, expected);
  }
  for (const Json& step : steps_of(json, "pre_tokenizer", "pretokenizers", where))
    if (text(step, "type", where) == "Metaspace" && !replaces && !data.add_space_prefix) {
      read_metaspace(step, where, data);
      replaces = true;
    } else if (text(step, "type", where) != "Split" || !replaces || pattern_of(step, "String", where) != " ") {
      throw unknown_step(where, "pre-tokenizer", step, expected);  // such a Split finds no space any more
    }
  if (!replaces) throw input_error(where, "spaces are not written as U+2581", expected);
}

}  // namespace

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

bool has_normalizer(const TokenizerData& data) {
  return data.kind == TokenizerKind::Bpe ? data.normalize_nfc : data.space_prefix == SpacePrefix::Always;
}

}  // namespace attar::hf
