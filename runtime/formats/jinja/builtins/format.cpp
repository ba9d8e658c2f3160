#include "runtime/formats/jinja/builtins/format.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "runtime/formats/jinja/interpreter/eval.h"
#include "runtime/formats/jinja/values/print.h"
#include "runtime/formats/jinja/values/text.h"
#include "runtime/formats/tokenizer/unicode.h"

namespace attar::jinja {
namespace {

struct Spec {  // Python's "Format Specification Mini-Language"
  std::string fill = " ";
  char align = 0;  // < > ^ =, or 0: by the kind of value
  char sign = '-';
  bool alternate = false;
  int width = 0, precision = -1;  // characters
  char grouping = 0;
  char type = 0;
};

Error bad_format(const Site& site, const std::string& what) {
  return at_line(site.line, "the format " + printable(what, 40) + " is not supported");
}

int small_number(std::string_view& text, const Site& site) {
  int number = 0;
  for (; !text.empty() && text[0] >= '0' && text[0] <= '9'; text.remove_prefix(1)) {
    number = number * 10 + (text[0] - '0');
    if (number > 100'000) throw bad_format(site, "of more than 100000 characters");
  }
  return number;
}

std::string grouped(const std::string& digits, char mark) {
  const size_t whole = std::min(digits.find_first_not_of("0123456789"), digits.size());
  std::string out = digits.substr(whole);
  for (size_t end = whole; end > 0;) {
    const size_t begin = end > 3 ? end - 3 : 0;
    out = digits.substr(begin, end - begin) + (end < whole ? std::string(1, mark) : "") + out;
    end = begin;
  }
  return out;
}

std::string in_base(Whole number, int base, bool capitals) {
  std::string out;
  do out += (capitals ? "0123456789ABCDEF" : "0123456789abcdef")[static_cast<int>(number % base)];
  while ((number /= base) != 0);
  std::reverse(out.begin(), out.end());
  return out;
}

// Without its sign.
std::string whole_digits(Whole size, const Spec& spec) {
  switch (spec.type) {
    case 'x':
    case 'X':
      return (spec.alternate ? std::string{'0', spec.type} : "") + in_base(size, 16, spec.type == 'X');
    case 'o':
      return (spec.alternate ? "0o" : "") + in_base(size, 8, false);
    case 'b':
      return (spec.alternate ? "0b" : "") + in_base(size, 2, false);
    default:
      return in_base(size, 10, false);
  }
}

std::string real_digits(double size, const Spec& spec, const Site& site) {
  if (!std::isfinite(size)) return std::isnan(size) ? "nan" : "inf";
  if (spec.type == 0 && spec.precision < 0) return to_text(size)->bytes;
  if (spec.precision > 400) throw bad_format(site, "of more than 400 digits");
  const bool percent = spec.type == '%';
  const char type = percent ? 'f' : spec.type == 0 ? 'g' : spec.type;
  const char pattern[] = {'%',
                          spec.alternate ? '#' : '.',
                          spec.alternate ? '.' : '*',
                          spec.alternate ? '*' : type,
                          spec.alternate ? type : '\0',
                          '\0'};
  char out[1000];
  std::snprintf(out, sizeof out, pattern, spec.precision < 0 ? 6 : spec.precision, percent ? size * 100 : size);
  std::string text(out);
  if (spec.type == 0 && text.find_first_of(".e") == std::string::npos) text += ".0";
  return percent ? text + "%" : text;
}

Text padded(const Text& sign, const Text& body, const Spec& spec, char natural) {
  const int64_t length = count_characters(sign.bytes) + count_characters(body.bytes);
  const int64_t missing = std::max<int64_t>(spec.width - length, 0);
  const char align = spec.align != 0 ? spec.align : natural;
  const int64_t left = align == '<' || align == '=' ? 0 : align == '>' ? missing : missing / 2;
  const int64_t inside = align == '=' ? missing : 0;
  Text out = repeated(spec.fill, left);
  out.append(sign).append(repeated(spec.fill, inside)).append(body);
  return out.append(repeated(spec.fill, missing - left - inside));
}

Text formatted(const Value& value, const Spec& spec, const Site& site) {
  const bool as_text = spec.type == 's' || (spec.type == 0 && !value.is_number());
  if (as_text || (value.is_bool() && spec.type == 0)) {
    if (spec.type == 's' && value.is_number()) throw bad_format(site, "s of a number");
    const auto text = to_text(value);
    const TextView shown(*text);
    return padded({}, Text(spec.precision < 0 ? shown : shown.substr(0, byte_of(shown.bytes, spec.precision))), spec,
                  '<');
  }
  const bool real = std::string_view("eEfFgG%").find(spec.type) != std::string_view::npos || !value.is_whole();
  if (!value.is_number() || (!real && std::string_view("\0dnxXob", 7).find(spec.type) == std::string_view::npos) ||
      (!value.is_whole() && std::string_view("\0eEfFgG%", 8).find(spec.type) == std::string_view::npos))
    throw bad_format(site, std::string(1, spec.type) + " of a " + type_name(value));
  const double number = as_number(value);
  const bool negative = real ? std::signbit(number) && !std::isnan(number) : as_int(value) < 0;
  std::string digits =
      real ? real_digits(std::fabs(number), spec, site) : whole_digits(negative ? -as_int(value) : as_int(value), spec);
  if (spec.grouping != 0) digits = grouped(digits, spec.grouping);
  const std::string sign = negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
  return padded(Text(sign), Text(digits), spec, '>');
}

Spec parsed_spec(std::string_view text, const Site& site) {
  Spec spec;
  const std::string whole(text);
  const auto is_align = [](char c) { return std::string_view("<>^=").find(c) != std::string_view::npos; };
  const size_t first = text.empty() ? 0 : character_length(text, 0);
  const auto take = [&](std::string_view any) {
    if (text.empty() || any.find(text[0]) == std::string_view::npos) return char{0};
    const char taken = text[0];
    text.remove_prefix(1);
    return taken;
  };
  if (text.size() > first && is_align(text[first])) {
    spec.fill = text.substr(0, first);
    text.remove_prefix(first);
  }
  spec.align = take("<>^=");
  if (const char sign = take("+- ")) spec.sign = sign;
  spec.alternate = take("#") != 0;
  if (take("0") != 0 && spec.align == 0) spec.fill = "0", spec.align = '=';
  spec.width = small_number(text, site);
  spec.grouping = take(",_");
  if (take(".") != 0) {
    if (text.empty() || text[0] < '0' || text[0] > '9') throw bad_format(site, whole);
    spec.precision = small_number(text, site);
  }
  spec.type = take("sdnxXobeEfFgG%");
  if (!text.empty()) throw bad_format(site, whole);
  return spec;
}

// One conversion of a `%` pattern, behind its flags and its name.
Text percent_field(const Value& value, Spec spec, char type, const Site& site) {
  if (type == 's' || type == 'r' || type == 'a') {
    spec.type = 's';
    spec.fill = " ";
    if (spec.align == '=') spec.align = '>';
    return formatted(type == 's' ? Value(to_text(value)) : Value(repr(value)), spec, site);
  }
  if (type == 'c' && value.text() != nullptr && count_characters(value.text()->bytes) == 1) return *value.text();
  if (!value.is_number()) throw at_line(site.line, "the format % needs a number, got a " + type_name(value));
  spec.type = type == 'i' || type == 'u' ? 'd' : type;
  const bool whole = std::string_view("dxXo").find(spec.type) != std::string_view::npos;
  if (whole && !value.is_whole()) {
    if (spec.type != 'd' || !(std::fabs(as_number(value)) < 9e18)) throw bad_format(site, "of a float");
    return formatted(static_cast<int64_t>(as_number(value)), spec, site);
  }
  return formatted(value.is_bool() ? Value(as_int(value)) : value, spec, site);
}

class PercentPattern {
 public:
  PercentPattern(TextView pattern, const Value& values, const Site& site)
      : pattern_(pattern), values_(values), site_(site) {}

  Text run() {
    Text out;
    while (at_ < pattern_.size()) {
      const size_t next = std::min(pattern_.bytes.find('%', at_), pattern_.size());
      out.append(pattern_.substr(at_, next - at_));
      at_ = next + 1;
      if (next < pattern_.size()) field(out);
    }
    const bool several = values_.is(Shape::Tuple),
               can_be_indexed = values_.dict() != nullptr || values_.is_undefined() ||
                                (values_.list() != nullptr && values_.list()->shape <= Shape::Range);
    if (!by_name_ && (several ? used_ != values_.list()->size() : used_ == 0 && !can_be_indexed))
      throw at_line(site_.line, "the format leaves values over");
    return out;
  }

 private:
  void field(Text& out) {
    std::string_view rest = pattern_.bytes.substr(at_);
    Value named;
    if (rest.starts_with('(')) named = value_named(rest);
    const Spec spec = flags(rest);
    if (rest.empty() || std::string_view("sradiuxXoeEfFgGc%").find(rest[0]) == std::string_view::npos)
      throw bad_format(site_, "%" + std::string(rest));
    at_ = pattern_.size() - rest.size() + 1;
    if (rest[0] == '%')
      out.append(pattern_.substr(at_ - 1, 1));
    else
      out.append(percent_field(by_name_ ? named : next_value(), spec, rest[0], site_));
  }

  Value value_named(std::string_view& rest) {
    const size_t close = rest.find(')');
    if (close == std::string_view::npos || values_.dict() == nullptr) throw bad_format(site_, "%(");
    const Value* found = values_.dict()->find(Value(std::string(rest.substr(1, close - 1))));
    if (found == nullptr) throw at_line(site_.line, "the format has no value for %" + printable(std::string(rest), 40));
    by_name_ = true;
    rest.remove_prefix(close + 1);
    return *found;
  }

  Value next_value() {
    const bool several = values_.is(Shape::Tuple);
    if (several ? used_ >= values_.list()->size() : used_ > 0)
      throw at_line(site_.line, "the format has too few values");
    return several ? (*values_.list())[used_++] : (++used_, values_);
  }

  Spec flags(std::string_view& rest) {
    Spec spec;
    for (; !rest.empty() && std::string_view("-+ #0").find(rest[0]) != std::string_view::npos; rest.remove_prefix(1)) {
      if (rest[0] == '-') spec.align = '<', spec.fill = " ";
      if (rest[0] == '+' || (rest[0] == ' ' && spec.sign == '-')) spec.sign = rest[0];
      if (rest[0] == '#') spec.alternate = true;
      if (rest[0] == '0' && spec.align == 0) spec.align = '=', spec.fill = "0";
    }
    if (spec.align == 0) spec.align = '>';
    spec.width = small_number(rest, site_);
    if (rest.starts_with('.')) rest.remove_prefix(1), spec.precision = small_number(rest, site_);
    return spec;
  }

  TextView pattern_;
  const Value& values_;
  const Site& site_;
  size_t at_ = 0, used_ = 0;
  bool by_name_ = false;
};

struct Field {  // of a brace pattern: {name!conversion:spec}
  std::string_view name, conversion, spec;
};

Field field_of(std::string_view inside) {
  Field field{inside.substr(0, inside.find_first_of("!:")), {}, {}};
  inside.remove_prefix(field.name.size());
  if (!inside.empty() && inside[0] == '!') {
    field.conversion = inside.substr(0, inside.find(':'));
    inside.remove_prefix(field.conversion.size());
  }
  if (!inside.empty()) field.spec = inside.substr(1);
  return field;
}

struct Numbering {  // of the fields so far
  size_t next = 0;
  bool by_hand = false;
};

// "0.role", "name[key]": the value that a field names.
Value field_value(std::string_view name, const Call& call, Numbering& numbering) {
  const std::string_view first = name.substr(0, name.find_first_of(".["));
  name.remove_prefix(first.size());
  const bool counted = first.find_first_not_of("0123456789") == std::string_view::npos;
  numbering.by_hand |= counted && !first.empty();
  if (first.empty() ? numbering.by_hand : counted && numbering.next > 0)
    throw at_line(call.site.line, "format mixes {} with {0}");
  std::string_view digits = first;
  const size_t place = first.empty() ? numbering.next++ : static_cast<size_t>(small_number(digits, call.site));
  const Value* found = counted ? (place < call.positional.size() ? &call[place] : nullptr) : call.keyword(first);
  if (found == nullptr)
    throw at_line(call.site.line, "format has no value for {" + printable(std::string(first)) + "}");
  Value value = *found;
  while (!name.empty()) {
    const bool bracket = name[0] == '[';
    const size_t end = bracket ? name.find(']') : name.find_first_of(".[", 1);
    if (bracket && end == std::string_view::npos) throw bad_format(call.site, std::string(name));
    const std::string key(name.substr(1, end == std::string_view::npos ? end : end - 1));
    const bool number = bracket && !key.empty() && key.find_first_not_of("0123456789") == std::string::npos;
    std::string_view rest = key;
    value = !bracket ? attribute(value, key, call.site)
                     : item(value, number ? Value(small_number(rest, call.site)) : Value(key), call.site);
    name.remove_prefix(end == std::string_view::npos ? name.size() : end + bracket);
  }
  return value;
}

}  // namespace

Text percent_formatted(TextView pattern, const Value& values, const Site& site) {
  return PercentPattern(pattern, values, site).run();
}

Text brace_formatted(TextView pattern, const Call& call) {
  Text out;
  Numbering numbering;
  for (size_t at = 0; at < pattern.size();) {
    const size_t brace = std::min(pattern.bytes.find_first_of("{}", at), pattern.size());
    out.append(pattern.substr(at, brace - at));
    if (brace == pattern.size()) break;
    if (brace + 1 < pattern.size() && pattern.bytes[brace + 1] == pattern.bytes[brace]) {
      out.append(pattern.substr(brace, 1));
      at = brace + 2;
      continue;
    }
    const size_t close = pattern.bytes.find_first_of("{}", brace + 1);
    if (pattern.bytes[brace] == '}' || close == std::string_view::npos || pattern.bytes[close] == '{')
      throw bad_format(call.site, std::string(pattern.bytes.substr(brace)));
    const Field field = field_of(pattern.bytes.substr(brace + 1, close - brace - 1));
    Value value = field_value(field.name, call, numbering);
    if (field.conversion == "!r")
      value = repr(value);
    else if (field.conversion == "!s")
      value = to_text(value);
    else if (!field.conversion.empty())
      throw bad_format(call.site, std::string(field.conversion));
    if (value.list() != nullptr || value.dict() != nullptr || value.is_none()) value = to_text(value);
    out.append(formatted(value, parsed_spec(field.spec, call.site), call.site));
    at = close + 1;
  }
  return out;
}

}  // namespace attar::jinja
