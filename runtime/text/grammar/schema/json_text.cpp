#include "runtime/text/grammar/schema/json_text.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "runtime/base/words/utf8.h"
#include "runtime/text/grammar/gbnf.h"

namespace attar::runtime {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kJson = R"(
root ::= value
white ::= "" | " " | "\n" " "{0,20}
colon ::= ":" " "?
value ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" (white member ("," white member)* white)? "}"
member ::= string colon value
array ::= "[" (white value ("," white value)* white)? "]"
string ::= "\"" character* "\""
character ::= plain | "\\" (["\\/bfnrt] | "u" escape)
plain ::= [^"\\\x00-\x1F]
escape ::= [0-9a-cA-Ce-fE-F] hex{3} | [dD] ([0-7] hex{2} | [89abAB] hex{2} "\\u" [dD] [c-fC-F] hex{2})
hex ::= [0-9a-fA-F]
number ::= "-"? ("0" | [1-9] [0-9]{0,15}) any-fraction ([eE] [-+]? [0-9]{1,2})?
any-fraction ::= ("." [0-9]{1,16})?
no-fraction ::= ("." "0"{1,16})?
some-fraction ::= "." "0"{0,16} [1-9] [0-9]{0,16}
)";

const std::vector<CodeRange> kEscaped{{0, 0x1F}, {'"', '"'}, {'\\', '\\'}};

std::string inside(std::string_view text) {
  const std::string whole = json_string(text);
  return whole.substr(1, whole.size() - 2);
}

uint64_t magnitude(int64_t value) {
  return value < 0 ? ~static_cast<uint64_t>(value) + 1 : static_cast<uint64_t>(value);
}

}  // namespace

std::string json_string(std::string_view text) {
  return Json(std::string(text)).dump();
}

JsonText::JsonText(const std::string& where)
    : rules(parse_gbnf(kJson, where)),
      white_(rules.named("white")),
      colon_(rules.named("colon")),
      character_(rules.named("character")),
      plain_(rules.named("plain")),
      value_(rules.named("value")),
      number_(rules.named("number")),
      object_(rules.named("object")),
      array_(rules.named("array")),
      any_fraction_(rules.named("any-fraction")),
      no_fraction_(rules.named("no-fraction")),
      some_fraction_(rules.named("some-fraction")) {}

Piece JsonText::string(uint32_t least, uint32_t most) {
  return rules.sequence({rules.text("\""), rules.repeat(rules.call(character_), least, most), rules.text("\"")});
}

Piece JsonText::literal(const Json& value) {
  if (!value.is_structured() || value.empty()) return rules.text(value.dump());
  std::vector<Piece> parts{rules.text(value.is_object() ? "{" : "[")};
  for (auto entry = value.begin(); entry != value.end(); ++entry) {
    if (entry != value.begin()) parts.push_back(rules.text(","));
    parts.push_back(white());
    if (value.is_object()) parts.push_back(rules.text(json_string(entry.key()))), parts.push_back(colon());
    parts.push_back(literal(*entry));
  }
  parts.push_back(white());
  parts.push_back(rules.text(value.is_object() ? "}" : "]"));
  return rules.sequence(std::move(parts));
}

Piece JsonText::other_keys(const std::vector<std::string>& names) {
  struct Branch {
    bool is_name = false;
    std::map<uint32_t, uint32_t> next{};
  };
  std::vector<Branch> tree(1);
  for (const std::string& name : names) {
    uint32_t at = 0;
    for (size_t i = 0; i < name.size();) {
      const Decoded c = decode_utf8(name, i);
      i += c.length;
      const auto [found, is_new] = tree[at].next.try_emplace(c.code_point, static_cast<uint32_t>(tree.size()));
      at = found->second;  // read before the tree may move
      if (is_new) tree.emplace_back();
    }
    tree[at].is_name = true;
  }
  const Piece rest = rules.repeat(rules.call(plain_), 0, kNoLimit);
  const auto first = static_cast<uint32_t>(rules.rules.size());
  for (size_t i = 0; i < tree.size(); ++i) rules.add("another key");
  for (uint32_t i = 0; i < tree.size(); ++i) {
    std::vector<Piece> ways;
    std::vector<CodeRange> known = kEscaped;
    for (const auto& [c, to] : tree[i].next) {
      if (!both({{c, c}}, others(kEscaped)).empty())
        ways.push_back(rules.sequence({rules.one_of({{c, c}}), rules.call(first + to)}));
      known.push_back({c, c});
    }
    ways.push_back(rules.sequence({rules.one_of(others(joined(known))), rest}));
    if (!tree[i].is_name) ways.push_back(0);
    rules.rules[first + i].body = rules.choice(std::move(ways));
  }
  return rules.sequence({rules.text("\""), rules.call(first), rules.text("\"")});
}

Piece JsonText::in_string(const std::vector<CodeRange>& characters) {
  std::vector<Piece> ways;
  if (std::vector<CodeRange> as_they_are = both(characters, others(kEscaped)); !as_they_are.empty())
    ways.push_back(rules.one_of(std::move(as_they_are)));
  for (const char c : std::string_view("\"\\\b\f\n\r\t"))
    if (!both(characters, {{static_cast<uint32_t>(c), static_cast<uint32_t>(c)}}).empty())
      ways.push_back(rules.text(inside({&c, 1})));
  if (ways.empty()) {  // a control character alone
    const char c = static_cast<char>(characters[0].first);
    ways.push_back(rules.text(inside({&c, 1})));
  }
  return rules.choice(std::move(ways));
}

// All of `low` to `high`, both of one length.
Piece JsonText::same_length(std::string_view low, std::string_view high) {
  const std::string nines(low.size(), '9'), zeros(low.size(), '0');
  if (low == zeros && high == nines) return digits(low.size());
  const auto with = [&](char digit, Piece rest) { return rules.sequence({rules.text({&digit, 1}), rest}); };
  if (low[0] == high[0]) return with(low[0], same_length(low.substr(1), high.substr(1)));
  std::vector<Piece> ways{with(low[0], same_length(low.substr(1), std::string_view(nines).substr(1)))};
  if (low[0] + 1 < high[0])
    ways.push_back(
        rules.sequence({rules.one_of({{static_cast<uint32_t>(low[0] + 1), static_cast<uint32_t>(high[0] - 1)}}),
                        digits(low.size() - 1)}));
  ways.push_back(with(high[0], same_length(std::string_view(zeros).substr(1), high.substr(1))));
  return rules.choice(std::move(ways));
}

// Whole numbers without a sign.
Piece JsonText::unsigned_numbers(uint64_t least, uint64_t most) {
  std::vector<Piece> ways;
  const std::string last = std::to_string(most);
  for (uint64_t low = least;;) {
    const std::string first = std::to_string(low), nines(first.size(), '9');
    const bool is_last = last.size() == first.size();
    ways.push_back(same_length(first, is_last ? last : nines));
    if (is_last) return rules.choice(std::move(ways));
    low = std::stoull(nines) + 1;
  }
}

Piece JsonText::whole_numbers(int64_t least, int64_t most) {
  std::vector<Piece> ways;
  if (least < 0)
    ways.push_back(
        rules.sequence({rules.text("-"), unsigned_numbers(most < 0 ? magnitude(most) : 1, magnitude(least))}));
  if (most >= 0) ways.push_back(unsigned_numbers(magnitude(std::max<int64_t>(least, 0)), magnitude(most)));
  return rules.choice(std::move(ways));
}

// Numbers from `low` to `high`, 0 <= low <= high.
void JsonText::add_span(std::vector<Piece>& ways, std::string_view sign, const Bound& low, const Bound& high) {
  const auto add = [&](Piece whole, uint32_t rest) {
    ways.push_back(rules.sequence({rules.text(sign), whole, rules.call(rest)}));
  };
  const auto whole = [&](const Bound& bound) { return rules.text(std::to_string(bound.value)); };
  if (low.value == high.value) {
    if (low.is_inside && high.is_inside) add(whole(low), no_fraction_);
    return;
  }
  add(whole(low), low.is_inside ? any_fraction_ : some_fraction_);
  if (low.value + 1 < high.value)
    add(unsigned_numbers(static_cast<uint64_t>(low.value) + 1, static_cast<uint64_t>(high.value) - 1), any_fraction_);
  if (high.is_inside) add(whole(high), no_fraction_);
}

std::optional<Piece> JsonText::numbers(const Bound& least, const Bound& most) {
  std::vector<Piece> ways;
  if (most.value < least.value) return std::nullopt;
  if (least.value < 0) {
    const Bound from = most.value < 0 ? Bound{-most.value, most.is_inside} : Bound{0, false};  // no -0
    add_span(ways, "-", from, {-least.value, least.is_inside});
  }
  if (most.value >= 0) add_span(ways, "", least.value >= 0 ? least : Bound{0}, most);
  if (ways.empty()) return std::nullopt;
  return rules.choice(std::move(ways));
}

}  // namespace attar::runtime
