#include "runtime/base/field_rules.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "runtime/base/error.h"
#include "runtime/base/words/byte_size.h"

namespace attar {
namespace {

std::string shown(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.15g", value);
  return text;
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return text;
}

bool is_among(const FieldRule& rule, const std::string& text) {
  return std::any_of(rule.choices.begin(), rule.choices.end(), [&](const std::string& choice) {
    return rule.any_case ? lower(choice) == lower(text) : choice == text;
  });
}

// What a size would be, where the text is none; "" where it is one.
std::string expected_size(const std::string& text) {
  try {
    parse_size(text, "");
    return "";
  } catch (const Error& error) {
    return error.parts().expected;
  }
}

}  // namespace

std::string one_of(const std::vector<std::string>& choices) {
  std::string text;
  for (size_t i = 0; i < choices.size(); ++i)
    text += (i == 0 ? "" : i + 1 == choices.size() ? " or " : ", ") + choices[i];
  return text;
}

std::string expected_by(const FieldRule& rule, bool whole) {
  if (!rule.words.empty()) return rule.words;
  if (!rule.choices.empty()) return one_of(rule.choices);
  const bool least = rule.least.has_value(), most = rule.most || rule.below;
  std::string text;
  if (whole && rule.multiple_of > 1)
    text = "a multiple of " + std::to_string(rule.multiple_of) + " of at least " + shown(rule.least.value_or(0));
  else if (whole && least && rule.most)
    text = shown(*rule.least) + " to " + shown(*rule.most);
  else if (whole && least)
    text = "a whole number of at least " + shown(*rule.least);
  else if (least && !most)
    text = "at least " + shown(*rule.least);
  else if (rule.above && !most)
    text = "a number above " + shown(*rule.above);
  else
    text = (least        ? shown(*rule.least) + " <= "
            : rule.above ? shown(*rule.above) + " < "
                         : "") +
           "x" +
           (rule.most    ? " <= " + shown(*rule.most)
            : rule.below ? " < " + shown(*rule.below)
                         : "");
  return text + (rule.or_zero ? ", or 0" : "");
}

const FieldRule* RuleCheck::rule_of(const std::string& name) const {
  const auto found = std::find_if(rules_.begin(), rules_.end(), [&](const FieldRule& r) { return r.field == name; });
  return found == rules_.end() ? nullptr : &*found;
}

void RuleCheck::check(const FieldRule& rule, double value, bool whole, const std::string& place) {
  if (rule.or_zero && value == 0.0) return;
  const bool right = std::isfinite(value) && (!rule.least || value >= *rule.least) &&
                     (!rule.above || value > *rule.above) && (!rule.most || value <= *rule.most) &&
                     (!rule.below || value < *rule.below) &&
                     (rule.multiple_of == 1 || std::fmod(value, static_cast<double>(rule.multiple_of)) == 0.0);
  if (!right) problems_.push_back({place, expected_by(rule, whole), shown(value)});
}

void RuleCheck::check(const FieldRule& rule, const std::string& text, const std::string& place) {
  const std::string size = rule.is_size ? expected_size(text) : "";
  if (!size.empty())
    problems_.push_back({place, size, printable(text)});
  else if (!rule.choices.empty() && !is_among(rule, text))
    problems_.push_back({place, expected_by(rule, false), printable(text)});
}

bool RuleCheck::check_key(const FieldRule& rule, const std::string& key) {
  const bool known = rule.keys.empty() || std::find(rule.keys.begin(), rule.keys.end(), key) != rule.keys.end();
  if (!known) problems_.push_back({rule.field + "." + printable(key), one_of(rule.keys)});
  return known;
}

void RuleCheck::operator()(int64_t& value, const char* name, const char*) {
  if (const FieldRule* rule = rule_of(name)) check(*rule, static_cast<double>(value), true, name);
}
void RuleCheck::operator()(double& value, const char* name, const char*) {
  if (const FieldRule* rule = rule_of(name)) check(*rule, value, false, name);
}
void RuleCheck::operator()(std::string& value, const char* name, const char*) {
  if (const FieldRule* rule = rule_of(name)) check(*rule, value, name);
}
void RuleCheck::operator()(std::vector<std::string>& value, const char* name, const char*) {
  if (const FieldRule* rule = rule_of(name))
    for (const std::string& item : value) check(*rule, item, name);
}
void RuleCheck::operator()(std::vector<int64_t>& value, const char* name, const char*) {
  const FieldRule* rule = rule_of(name);
  if (rule == nullptr) return;
  if (rule->filled && value.empty()) problems_.push_back({name, "at least one number"});
  for (const int64_t item : value) check(*rule, static_cast<double>(item), true, name);
}
void RuleCheck::operator()(std::map<std::string, double>& value, const char* name, const char*) {
  const FieldRule* rule = rule_of(name);
  if (rule == nullptr) return;
  for (const auto& [key, number] : value)
    if (check_key(*rule, key)) check(*rule, number, false, rule->field + "." + key);
}
void RuleCheck::operator()(std::map<std::string, std::string>& value, const char* name, const char*) {
  const FieldRule* rule = rule_of(name);
  if (rule == nullptr) return;
  for (const auto& [key, text] : value) {
    check_key(*rule, key);
    check(*rule, text, rule->field + "." + printable(key));
  }
}

}  // namespace attar
