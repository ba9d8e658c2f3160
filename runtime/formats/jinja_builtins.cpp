// Filters, tests and methods of the template language, as jinja2 and Python have them.
#include <utf8proc.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/formats/jinja_eval.h"
#include "runtime/formats/text_file.h"
#include "runtime/formats/unicode.h"

namespace attar::jinja {
namespace {

Error at_line(int line, const std::string& what) {
  return input_error("chat template, line " + std::to_string(line), what);
}

// Bytes of the character at `at`; a byte that is not UTF-8 is one of its own.
size_t character_length(std::string_view text, size_t at) {
  const auto first = static_cast<unsigned char>(text[at]);
  const size_t length = first < 0xC0 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  return valid_utf8_prefix(text.substr(at, length)) == length ? length : 1;
}

// What Python's str.isspace() says of one character.
bool is_blank(std::string_view character) {
  if (valid_utf8_prefix(character) != character.size()) return false;
  const uint32_t code = decode_utf8(character, 0).code_point;
  const CharClass kind = char_class(code);
  return kind == CharClass::Space || kind == CharClass::Newline || (code >= 0x1c && code <= 0x1f);
}

// `set`: the characters to take off; nullptr: blanks.
std::string stripped(std::string_view text, const std::string* set, bool left, bool right) {
  const auto goes = [&](std::string_view character) {
    if (set == nullptr) return is_blank(character);
    for (size_t at = 0; at < set->size(); at += character_length(*set, at))
      if (std::string_view(*set).substr(at, character_length(*set, at)) == character) return true;
    return false;
  };
  while (left && !text.empty() && goes(text.substr(0, character_length(text, 0))))
    text.remove_prefix(character_length(text, 0));
  while (right && !text.empty()) {
    size_t start = text.size() - 1;
    while (start > 0 && text.size() - start < 4 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    if (character_length(text, start) != text.size() - start) start = text.size() - 1;
    if (!goes(text.substr(start))) break;
    text = text.substr(0, start);
  }
  return std::string(text);
}

using CaseMap = utf8proc_int32_t (*)(utf8proc_int32_t);

std::string mapped(std::string_view text, CaseMap change) {
  std::string out;
  for (size_t at = 0, length = 0; at < text.size(); at += length) {
    length = character_length(text, at);
    const std::string_view character = text.substr(at, length);
    if (valid_utf8_prefix(character) != length)
      out += character;
    else if (change == utf8proc_toupper && character == "\u00DF")
      out += "SS";  // the one common letter whose capital is two
    else
      append_utf8(out, static_cast<uint32_t>(change(static_cast<utf8proc_int32_t>(decode_utf8(text, at).code_point))));
  }
  return out;
}

std::string capitalized(const std::string& text) {
  if (text.empty()) return text;
  const size_t first = character_length(text, 0);
  return mapped(text.substr(0, first), utf8proc_toupper) + mapped(text.substr(first), utf8proc_tolower);
}

// Words begin after blanks and opening brackets, as jinja2's filter has it.
std::string titled(const std::string& text) {
  std::string out;
  bool start = true;
  for (size_t at = 0, length = 0; at < text.size(); at += length) {
    length = character_length(text, at);
    const std::string character = text.substr(at, length);
    out += mapped(character, start ? utf8proc_toupper : utf8proc_tolower);
    start = is_blank(character) || std::string_view("-({[<").find(character) != std::string_view::npos;
  }
  return out;
}

std::string replaced(const std::string& text, const std::string& from, const std::string& to) {
  std::string out;
  if (from.empty()) {  // between all characters, as Python does
    for (size_t at = 0, length = 0; at < text.size(); at += length) {
      length = character_length(text, at);
      append(out, to + text.substr(at, length));
    }
    append(out, to);
    return out;
  }
  size_t at = 0;
  for (size_t found; (found = text.find(from, at)) != std::string::npos; at = found + from.size()) {
    append(out, std::string_view(text).substr(at, found - at));
    append(out, to);
  }
  append(out, std::string_view(text).substr(at));
  return out;
}

List split(const std::string& text, const Value* separator) {
  List out;
  if (separator == nullptr || separator->text() == nullptr) {  // runs of blanks
    std::string word;
    for (size_t at = 0, length = 0; at < text.size(); at += length) {
      length = character_length(text, at);
      const std::string_view character = std::string_view(text).substr(at, length);
      if (!is_blank(character))
        word += character;
      else if (!word.empty())
        out.emplace_back(std::exchange(word, {}));
    }
    if (!word.empty()) out.emplace_back(word);
    return out;
  }
  const std::string& by = *separator->text();
  if (by.empty()) return {Value(text)};
  size_t at = 0;
  for (size_t found; (found = text.find(by, at)) != std::string::npos; at = found + by.size())
    out.emplace_back(text.substr(at, found - at));
  out.emplace_back(text.substr(at));
  return out;
}

int64_t length_of(const Value& value, int line) {
  if (value.list() != nullptr) return static_cast<int64_t>(value.list()->size());
  if (value.dict() != nullptr) return static_cast<int64_t>(value.dict()->size());
  if (value.text() == nullptr) throw at_line(line, "a " + type_name(value) + " has no length");
  int64_t count = 0;
  for (const char c : *value.text()) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return count;
}

List items_of(const Value& value, int line) {
  if (value.list() != nullptr) return *value.list();
  List out;
  if (value.dict() != nullptr) {
    for (const auto& entry : *value.dict()) out.emplace_back(entry.first);
  } else if (value.text() != nullptr) {
    for (size_t at = 0, length = 0; at < value.text()->size(); at += length) {
      if (out.size() >= kMostItems) throw at_line(line, "a list grows too long");
      length = character_length(*value.text(), at);
      out.emplace_back(value.text()->substr(at, length));
    }
  } else if (!value.is_undefined()) {
    throw at_line(line, "a " + type_name(value) + " cannot be iterated");
  }
  return out;
}

List pairs_of(const Value& value, int line) {
  if (value.is_undefined()) return {};
  if (value.dict() == nullptr) throw at_line(line, "items needs a mapping, got a " + type_name(value));
  List out;
  for (const auto& [key, item] : *value.dict()) out.emplace_back(List{Value(key), item});
  return out;
}

const Value& argument(const List& arguments, const Arguments& keywords, size_t position, const char* keyword,
                      const Value& fallback) {
  if (position < arguments.size()) return arguments[position];
  const auto found = keywords.find(keyword);
  return found != keywords.end() ? found->second : fallback;
}

Value attribute(const Value& value, const std::string& name) {
  const Value* found = value.dict() != nullptr ? find(*value.dict(), name) : nullptr;
  return found != nullptr ? *found : Value();
}

// select, reject, selectattr, rejectattr
List chosen(const Value& value, const List& arguments, bool by_attribute, bool keep, int line) {
  List rest = arguments;
  std::string name;
  if (by_attribute) {
    if (rest.empty()) throw at_line(line, "selectattr needs an attribute");
    name = to_text(rest.front());
    rest.erase(rest.begin());
  }
  std::string test;
  if (!rest.empty()) {
    test = to_text(rest.front());
    rest.erase(rest.begin());
  }
  List out;
  for (const Value& item : items_of(value, line)) {
    const Value subject = by_attribute ? attribute(item, name) : item;
    if ((test.empty() ? truthy(subject) : apply_test(test, subject, rest, line)) == keep) out.push_back(item);
  }
  return out;
}

std::string joined(const Value& value, const List& arguments, const Arguments& keywords, int line) {
  const std::string separator = to_text(argument(arguments, keywords, 0, "d", Value("")));
  const Value by = argument(arguments, keywords, 1, "attribute", Value());
  std::string out;
  bool first = true;
  for (const Value& item : items_of(value, line)) {
    if (!first) append(out, separator);
    append(out, to_text(by.is_undefined() ? item : attribute(item, to_text(by))));
    first = false;
  }
  return out;
}

std::string indented(const std::string& text, const List& arguments, const Arguments& keywords) {
  const Value by = argument(arguments, keywords, 0, "width", Value(int64_t{4}));
  const std::string pad =
      by.text() != nullptr ? *by.text() : std::string(static_cast<size_t>(std::clamp(as_number(by), 0.0, 1000.0)), ' ');
  const bool first = truthy(argument(arguments, keywords, 1, "first", Value(false))),
             blank = truthy(argument(arguments, keywords, 2, "blank", Value(false)));
  const Value line_break("\n");
  std::string out;
  const List lines = split(text, &line_break);
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string& one = *lines[i].text();
    append(out, (i > 0 ? "\n" : "") + ((i > 0 ? blank || !one.empty() : first) ? pad : "") + one);
  }
  return out;
}

}  // namespace

bool contains(const Value& container, const Value& item, int line) {
  if (container.text() != nullptr) {
    if (item.text() == nullptr) throw at_line(line, "`in` on text needs text");
    return container.text()->find(*item.text()) != std::string::npos;
  }
  if (container.dict() != nullptr) return item.text() != nullptr && find(*container.dict(), *item.text()) != nullptr;
  if (container.list() != nullptr)
    return std::any_of(container.list()->begin(), container.list()->end(),
                       [&](const Value& v) { return equal(v, item); });
  if (container.is_undefined()) return false;
  throw at_line(line, "`in` needs text, a list or a mapping, got a " + type_name(container));
}

bool less(const Value& a, const Value& b, int line) {
  if (a.is_number() && b.is_number()) return as_number(a) < as_number(b);
  if (a.text() != nullptr && b.text() != nullptr) return *a.text() < *b.text();
  throw at_line(line, "cannot compare a " + type_name(a) + " with a " + type_name(b));
}

Value apply_filter(const std::string& name, const Value& value, const List& arguments, const Arguments& keywords,
                   int line) {
  const auto text = [&] { return to_text(value); };
  if (name == "trim") return stripped(text(), arguments.empty() ? nullptr : arguments[0].text(), true, true);
  if (name == "length" || name == "count") return value.is_undefined() ? int64_t{0} : length_of(value, line);
  if (name == "upper") return mapped(text(), utf8proc_toupper);
  if (name == "lower") return mapped(text(), utf8proc_tolower);
  if (name == "capitalize") return capitalized(text());
  if (name == "title") return titled(text());
  if (name == "string") return text();
  if (name == "safe") return value;
  if (name == "list") return items_of(value, line);
  if (name == "items") return pairs_of(value, line);
  if (name == "join") return joined(value, arguments, keywords, line);
  if (name == "indent") return indented(text(), arguments, keywords);
  if (name == "tojson") {
    const Value indent = argument(arguments, keywords, 3, "indent", Value());
    return to_json(value, indent.is_number() ? static_cast<int64_t>(as_number(indent)) : -1);
  }
  if (name == "default" || name == "d") {
    const bool also_false = truthy(argument(arguments, keywords, 1, "boolean", Value(false)));
    const bool missing = value.is_undefined() || (also_false && !truthy(value));
    return missing ? argument(arguments, keywords, 0, "default_value", Value("")) : value;
  }
  if (name == "replace" && arguments.size() >= 2) return replaced(text(), to_text(arguments[0]), to_text(arguments[1]));
  if (name == "first" || name == "last") {
    const List items = items_of(value, line);
    if (items.empty()) return {};
    return name == "first" ? items.front() : items.back();
  }
  if (name == "reverse") {
    List items = items_of(value, line);
    std::reverse(items.begin(), items.end());
    return items;
  }
  if (name == "sort") {
    List items = items_of(value, line);
    std::stable_sort(items.begin(), items.end(), [&](const Value& a, const Value& b) { return less(a, b, line); });
    return items;
  }
  if (name == "int" || name == "float") {
    const double number = value.text() != nullptr ? std::atof(value.text()->c_str()) : as_number(value);
    return name == "float" ? Value(number) : Value(static_cast<int64_t>(std::clamp(number, -9e18, 9e18)));
  }
  if (name == "abs")
    return value.is_int() ? Value(std::abs(std::get<int64_t>(value.data))) : Value(std::fabs(as_number(value)));
  if (name == "map") {
    const auto by = keywords.find("attribute");
    List out;
    for (const Value& item : items_of(value, line))
      out.push_back(by != keywords.end()
                        ? attribute(item, to_text(by->second))
                        : apply_filter(arguments.empty() ? "string" : to_text(arguments[0]), item, {}, {}, line));
    return out;
  }
  if (name == "select" || name == "reject") return chosen(value, arguments, false, name == "select", line);
  if (name == "selectattr" || name == "rejectattr") return chosen(value, arguments, true, name == "selectattr", line);
  if (name == "dictsort") {
    List items = pairs_of(value, line);
    std::stable_sort(items.begin(), items.end(), [&](const Value& a, const Value& b) {
      return mapped(to_text((*a.list())[0]), utf8proc_tolower) < mapped(to_text((*b.list())[0]), utf8proc_tolower);
    });
    return items;
  }
  throw at_line(line, "the filter `" + printable(name) + "` is not supported");
}

bool apply_test(const std::string& name, const Value& value, const List& arguments, int line) {
  if (name == "defined") return !value.is_undefined();
  if (name == "undefined") return value.is_undefined();
  if (name == "none") return value.is_none();
  if (name == "string") return value.text() != nullptr;
  if (name == "mapping") return value.dict() != nullptr;
  if (name == "boolean") return value.is_bool();
  if (name == "integer") return value.is_int();
  if (name == "float") return std::holds_alternative<double>(value.data);
  if (name == "number") return value.is_number();
  if (name == "iterable" || name == "sequence")
    return value.list() != nullptr || value.dict() != nullptr || value.text() != nullptr;
  if (name == "callable") return value.function() != nullptr;
  if (name == "true") return value.is_bool() && truthy(value);
  if (name == "false") return value.is_bool() && !truthy(value);
  if (name == "odd" || name == "even") return (std::fmod(std::fabs(as_number(value)), 2.0) == 1.0) == (name == "odd");
  if (!arguments.empty()) {
    if (name == "equalto" || name == "eq" || name == "==" || name == "sameas") return equal(value, arguments[0]);
    if (name == "ne" || name == "!=") return !equal(value, arguments[0]);
    if (name == "in") return contains(arguments[0], value, line);
    if (name == "divisibleby") return std::fmod(as_number(value), as_number(arguments[0])) == 0.0;
  }
  throw at_line(line, "the test `" + printable(name) + "` is not supported");
}

Value call_method(const Value& object, const std::string& name, const List& arguments, int line) {
  const auto text_argument = [&](size_t i) {
    if (i >= arguments.size() || arguments[i].text() == nullptr)
      throw at_line(line, "the method `" + printable(name) + "` needs text");
    return *arguments[i].text();
  };
  if (const std::string* text = object.text()) {
    const std::string* set = arguments.empty() ? nullptr : arguments[0].text();
    if (name == "strip") return stripped(*text, set, true, true);
    if (name == "lstrip") return stripped(*text, set, true, false);
    if (name == "rstrip") return stripped(*text, set, false, true);
    if (name == "upper") return mapped(*text, utf8proc_toupper);
    if (name == "lower") return mapped(*text, utf8proc_tolower);
    if (name == "capitalize") return capitalized(*text);
    if (name == "title") return titled(*text);
    if (name == "split") return split(*text, arguments.empty() ? nullptr : &arguments[0]);
    if (name == "replace") return replaced(*text, text_argument(0), text_argument(1));
    if (name == "startswith") return text->rfind(text_argument(0), 0) == 0;
    if (name == "endswith")
      return text->size() >= text_argument(0).size() &&
             text->compare(text->size() - text_argument(0).size(), std::string::npos, text_argument(0)) == 0;
    if (name == "find") {
      const size_t at = text->find(text_argument(0));
      return at == std::string::npos ? int64_t{-1} : static_cast<int64_t>(at);
    }
    if (name == "join" && !arguments.empty()) return joined(arguments[0], {object}, {}, line);
  }
  if (object.dict() != nullptr) {
    if (name == "items") return pairs_of(object, line);
    if (name == "keys") return items_of(object, line);
    if (name == "values") {
      List out;
      for (const auto& entry : *object.dict()) out.push_back(entry.second);
      return out;
    }
    if (name == "get") {
      const Value* found = find(*object.dict(), text_argument(0));
      return found != nullptr ? *found : arguments.size() > 1 ? arguments[1] : Value(None{});
    }
  }
  throw at_line(line, "a " + type_name(object) + " has no method `" + printable(name) + "`");
}

}  // namespace attar::jinja
