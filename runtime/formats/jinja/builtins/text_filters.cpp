// Filters of texts and single values, as jinja2 has them; tojson as transformers does.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "runtime/formats/jinja/builtins/filters.h"
#include "runtime/formats/jinja/builtins/format.h"
#include "runtime/formats/jinja/values/case.h"
#include "runtime/formats/jinja/values/print.h"
#include "runtime/formats/jinja/values/text.h"
#include "runtime/formats/tokenizer/unicode.h"

namespace attar::jinja {
namespace {

using Given = const Call&;
using Subject = const Value&;

// What a filter makes of safe text is safe.
Value as_safe_as(const Value& source, Text text) {
  text.safe = source.text() != nullptr && source.text()->safe;
  return text;
}

Value trimmed(const Value& value, const Call& call) {
  const Text* set = call[0].is_missing() ? nullptr : &text_of(call[0], call.site);
  const auto text = to_text(value);
  return as_safe_as(value, Text(stripped(*text, set, Ends::Both, call.site)));
}

Value indented(const Value& value, const Call& call) {
  const Text pad = call[0].text() != nullptr
                       ? *call[0].text()
                       : repeated(" ", int_or(call[0].is_undefined() ? Value(4) : call[0], 0, call.site));
  const Text whole = Text(text_of(value, call.site)).append("\n");
  const std::vector<TextView> lines = split_lines(whole, LineEnds::Dropped), ended = split_lines(whole, LineEnds::Kept);
  Text out;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out.append("\n", ended[i - 1].substr(lines[i - 1].size()).all_marks());
    if (i == 0 ? truthy(call[1]) : truthy(call[2]) || !lines[i].empty()) out.append(pad);
    out.append(lines[i]);
  }
  return as_safe_as(value, std::move(out));
}

Value json_of(const Value& value, const Call& call) {
  JsonStyle style;
  if (truthy(call[0])) style.letters = JsonStyle::Letters::Ascii;
  if (call[1].text() != nullptr) {
    style.indent = call[1];
  } else if (!call[1].is_missing()) {
    style.indent = repeated(" ", int_or(call[1], 0, call.site));
  }
  if (!style.indent.is_missing()) style.comma = Text(std::string(","));
  if (!call[2].is_missing()) {
    const List pair = items_of(call[2], call.site);
    if (pair.size() != 2) throw at_line(call.site.line, "tojson needs two separators");
    style.comma = text_of(pair[0], call.site);
    style.colon = text_of(pair[1], call.site);
  }
  if (truthy(call[3])) style.keys = JsonStyle::Keys::Sorted;
  return to_json(value, style, call.site);
}

// Digits with `_` between them, as int() reads them in `base`; false where it would not.
bool read_whole(std::string_view text, Whole base, Whole& number) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const std::string_view known = "box";
  if (text.size() > 2 && text[0] == '0') {
    const size_t prefix = known.find(static_cast<char>(text[1] | 32));
    const int meant = prefix == 0 ? 2 : prefix == 1 ? 8 : 16;
    if (prefix != std::string_view::npos && (base == meant || base == 0)) text.remove_prefix(2), base = meant;
    if (text.starts_with('_')) text.remove_prefix(1);
  }
  if (base == 0) base = 10;
  if (text.empty() || base < 2 || base > 36) return false;
  number = 0;
  bool after_digit = false;
  for (const char c : text) {
    const bool is_letter = (c | 32) >= 'a' && (c | 32) <= 'z';
    const int digit = c >= '0' && c <= '9' ? c - '0' : is_letter ? (c | 32) - 'a' + 10 : 99;
    if (c == '_' ? !after_digit : digit >= base) return false;
    after_digit = c != '_';
    if (after_digit &&
        (__builtin_mul_overflow(number, base, &number) || __builtin_add_overflow(number, Whole{digit}, &number)))
      throw input_error("chat template", "a whole number grows too large");
  }
  if (negative) number = -number;
  return after_digit;
}

// What float() reads.
bool read_real(std::string text, double& number) {
  std::erase(text, '_');
  if (text.empty() || text.find_first_of("xX(pP") != std::string::npos) return false;
  char* end = nullptr;
  number = std::strtod(text.c_str(), &end);
  return *end == '\0' && end == text.c_str() + text.size();
}

void check_defined(const Value& value, const Call& call) {
  if (value.is_undefined()) throw at_line(call.site.line, "something undefined is no number");
}

Value integer_of(const Value& value, const Call& call) {
  check_defined(value, call);
  const Value otherwise = call[0].is_undefined() ? Value(0) : call[0];
  if (value.is_whole()) return as_int(value);
  if (value.is_number())
    return std::isnan(as_number(value)) ? otherwise : Value(whole_part(as_number(value), call.site));
  if (value.text() == nullptr) return otherwise;
  const std::string text(without_blanks(value.text()->bytes, Ends::Both));
  Whole whole = 0;
  if (read_whole(text, int_or(call[1], 10, call.site), whole)) return whole;
  double number = 0.0;
  return read_real(text, number) && std::isfinite(number) ? Value(whole_part(number, call.site)) : otherwise;
}

Value float_of(const Value& value, const Call& call) {
  check_defined(value, call);
  if (value.is_number()) return as_number(value);
  double number = 0.0;
  if (value.text() != nullptr && read_real(std::string(without_blanks(value.text()->bytes, Ends::Both)), number))
    return number;
  return call[0].is_undefined() ? Value(0.0) : call[0];
}

Value absolute(const Value& value, const Call& call) {
  if (!value.is_number()) throw at_line(call.site.line, "abs needs a number, got a " + type_name(value));
  if (!value.is_whole()) return std::fabs(as_number(value));
  return as_int(value) < 0 ? -as_int(value) : as_int(value);
}

Value rounded(const Value& value, const Call& call) {
  const std::string method = call[1].is_undefined() ? "common" : text_of(call[1], call.site).bytes;
  const int64_t places = clamped(int_or(call[0], 0, call.site));
  if (!value.is_number() || std::abs(places) > 300) throw at_line(call.site.line, "round needs a number");
  if (method == "ceil" || method == "floor") {
    const double scale = std::pow(10.0, static_cast<double>(places)), scaled = as_number(value) * scale;
    return (method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale;
  }
  if (method != "common") throw at_line(call.site.line, "round knows common, ceil and floor");
  if (value.is_whole() && places >= 0) return as_int(value);
  if (places < 0) {
    const double scale = std::pow(10.0, static_cast<double>(-places));
    const double near = std::nearbyint(as_number(value) / scale) * scale;
    return value.is_whole() ? Value(whole_part(near, call.site)) : Value(near);
  }
  char text[400];
  std::snprintf(text, sizeof text, "%.*f", static_cast<int>(places), as_number(value));  // correctly rounded, as Python
  return std::strtod(text, nullptr);
}

Value default_of(const Value& value, const Call& call) {
  const bool missing = value.is_undefined() || (truthy(call[1]) && !truthy(value));
  return !missing ? value : call[0].is_undefined() ? Value("") : call[0];
}

Value replaced_in(const Value& value, const Call& call) {
  const auto text = to_text(value), from = to_text(call[0]), to = to_text(call[1]);
  return replaced(*text, from->bytes, *to, clamped(int_or(call[2], -1, call.site)));
}

Value formatted(const Value& value, const Call& call) {
  if (!call.named.empty() && !call.positional.empty())
    throw at_line(call.site.line, "format takes values by position or by name");
  const auto text = to_text(value);
  if (call.named.empty()) {
    List values = call.positional;
    values.shape = Shape::Tuple;
    return percent_formatted(*text, std::move(values), call.site);
  }
  Dict values;
  for (const auto& [name, one] : call.named) values.assign(Value(name), one);
  return percent_formatted(*text, std::move(values), call.site);
}

Value cut_short(const Value& value, const Call& call) {
  const Text& text = text_of(value, call.site);
  const Text end = call[2].is_undefined() ? Text(std::string("...")) : text_of(call[2], call.site);
  const Whole length = int_or(call[0], 255, call.site), leeway = int_or(call[3], 5, call.site);
  const int64_t room = clamped(length - count_characters(end.bytes));
  if (room < 0 || leeway < 0) throw at_line(call.site.line, "truncate has no room for the end");
  if (count_characters(text.bytes) <= length + leeway) return text;
  TextView kept = TextView(text).substr(0, byte_of(text.bytes, room));
  const size_t blank = kept.bytes.rfind(' ');
  if (!truthy(call[1]) && blank != std::string_view::npos) kept = kept.substr(0, blank);
  return Text(kept).append(end);
}

Value centered(const Value& value, const Call& call) {
  const auto text = to_text(value);
  const Whole width = int_or(call[0], 80, call.site);
  const Whole missing = std::max<Whole>(width - count_characters(text->bytes), 0);
  const Whole left = missing / 2 + (missing & width & 1);
  return repeated(" ", left).append(*text).append(repeated(" ", missing - left));
}

Value words_counted(const Value& value, const Call& call) {
  const auto text = to_text(value);
  call.site.charge(text->size());
  int64_t n = 0;
  bool inside = false;
  for (size_t at = 0, length = 0; at < text->size(); at += length) {
    length = character_length(text->bytes, at);
    const std::string_view character = std::string_view(text->bytes).substr(at, length);
    const bool word = character == "_" || is_of_kind(character, "isalnum");
    n += word && !inside;
    inside = word;
  }
  return n;
}

// Lines of at most `width` characters, broken at blanks (textwrap.wrap without tabs).
Value wrapped(const Value& value, const Call& call) {
  const Text& text = text_of(value, call.site);
  const int64_t width = clamped(int_or(call[0], 79, call.site));
  const Text newline = call[2].is_missing() ? Text(std::string("\n")) : text_of(call[2], call.site);
  if (width < 1 || text.bytes.find('-') != std::string::npos || !truthy(call[1].is_undefined() ? Value(true) : call[1]))
    throw at_line(call.site.line, "wordwrap does not support this");
  call.site.charge(text.size());
  Text out;
  bool first_line = true;
  for (const TextView whole : split_lines(text, LineEnds::Dropped)) {
    if (!first_line) out.append(newline);
    first_line = false;
    TextView left = whole;
    for (bool started = false; !left.empty(); started = true) {
      size_t end = byte_of(left.bytes, width), cut = end;
      if (end < left.size() && !is_blank(left.bytes.substr(end, character_length(left.bytes, end)))) {
        while (cut > 0 && left.bytes[cut - 1] != ' ') --cut;
        if (without_blanks(left.bytes.substr(0, cut), Ends::Both).empty()) cut = end;  // one long word
      }
      const TextView line = left.substr(0, without_blanks(left.bytes.substr(0, cut), Ends::Right).size());
      if (started && !line.empty()) out.append(newline);
      out.append(line);
      left = left.substr(cut);
      left = left.substr(left.size() - without_blanks(left.bytes, Ends::Left).size());
    }
  }
  return out;
}

constexpr Builtin kFilters[] = {
    {"trim chars", trimmed},
    {"upper", [](Subject v, Given) { return as_safe_as(v, upper_cased(*to_text(v))); }},
    {"lower", [](Subject v, Given) { return as_safe_as(v, lower_cased(*to_text(v))); }},
    {"capitalize", [](Subject v, Given) { return as_safe_as(v, capitalized(*to_text(v))); }},
    {"title", [](Subject v, Given) -> Value { return title_cased(*to_text(v), Words::Blanks); }},
    {"string", [](Subject v, Given) -> Value { return to_text(v); }},
    {"safe",
     [](Subject v, Given) -> Value {
       Text text = *to_text(v);
       text.safe = true;
       return text;
     }},
    {"escape",
     [](Subject v, Given) -> Value { return v.text() != nullptr && v.text()->safe ? v : html_escaped(*to_text(v)); }},
    {"forceescape", [](Subject v, Given) -> Value { return html_escaped(*to_text(v)); }},
    {"indent width first blank", indented},
    {"tojson ensure_ascii indent separators sort_keys", json_of},
    {"default default_value boolean", default_of},
    {"replace old! new! count", replaced_in},
    {"format *", formatted},
    {"truncate length killwords end leeway", cut_short},
    {"center width", centered},
    {"wordcount", words_counted},
    {"wordwrap width break_long_words wrapstring break_on_hyphens", wrapped},
    {"int default base", integer_of},
    {"float default", float_of},
    {"abs", absolute},
    {"round precision method", rounded},
    {"attr name!",
     [](Subject v, Given call) {
       return v.dict() != nullptr ? Value() : attribute(v, text_of(call[0], call.site).bytes, call.site);
     }},
};

}  // namespace

std::span<const Builtin> text_filters() {
  return kFilters;
}

}  // namespace attar::jinja
