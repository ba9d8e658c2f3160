#include "runtime/formats/jinja/jinja_value.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "runtime/base/error.h"

namespace attar::jinja {
namespace {

std::string number_text(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  for (int digits = 1;; ++digits) {  // the shortest text that reads back as the same number, as Python's repr
    char text[40];
    std::snprintf(text, sizeof text, "%.*g", digits, number);
    if (digits < 17 && std::strtod(text, nullptr) != number) continue;
    const std::string out(text);
    if (out.find('e') != std::string::npos && std::fabs(number) >= 1e-4 && std::fabs(number) < 1e16) {
      std::snprintf(text, sizeof text, "%.1f", number);  // Python turns to exponents at 1e16
      return text;
    }
    return out.find_first_of(".e") == std::string::npos ? out + ".0" : out;
  }
}

std::string python_quoted(const std::string& text) {
  const char quote = text.find('\'') != std::string::npos && text.find('"') == std::string::npos ? '"' : '\'';
  std::string out(1, quote);
  for (const char c : text) {
    if (c == quote || c == '\\') out += '\\';
    if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (c == '\r')
      out += "\\r";
    else
      out += c;
  }
  return out + quote;
}

std::string json_quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20) {
          out += c;
        } else {
          char escape[8];
          std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
          out += escape;
        }
    }
  }
  return out + "\"";
}

void json_line(const JsonStyle& style, int64_t level, std::string& out) {
  if (style.indent >= 0) out += "\n" + std::string(static_cast<size_t>(style.indent * level), ' ');
}

void check_nesting(int64_t level) {
  if (level > kMostNesting) throw input_error("chat template", "a value is nested too deeply");
}

void append_json(const Value& value, const JsonStyle& style, int64_t level, std::string& out);

void append_dict(const Dict& dict, const JsonStyle& style, int64_t level, std::string& out) {
  Dict sorted;
  if (style.sort_keys) {
    sorted = dict;
    std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  }
  bool first = true;
  for (const auto& [key, value] : style.sort_keys ? sorted : dict) {
    if (!first) out += style.comma;
    json_line(style, level + 1, out);
    out += json_quoted(key) + style.colon;
    append_json(value, style, level + 1, out);
    first = false;
  }
}

void append_json(const Value& value, const JsonStyle& style, int64_t level, std::string& out) {
  check_nesting(level);
  if (out.size() > kMostText_bytes) throw input_error("chat template", "a text grows too long");
  if (const List* list = value.list()) {
    if (list->empty()) return void(out += "[]");
    out += "[";
    for (size_t i = 0; i < list->size(); ++i) {
      if (i > 0) out += style.comma;
      json_line(style, level + 1, out);
      append_json((*list)[i], style, level + 1, out);
    }
    json_line(style, level, out);
    out += "]";
  } else if (const Dict* dict = value.dict()) {
    if (dict->empty()) return void(out += "{}");
    out += "{";
    append_dict(*dict, style, level, out);
    json_line(style, level, out);
    out += "}";
  } else if (value.text() != nullptr) {
    out += json_quoted(*value.text());
  } else if (value.is_bool()) {
    out += std::get<bool>(value.data) ? "true" : "false";
  } else if (value.is_number() && std::isfinite(as_number(value))) {
    out += to_text(value);
  } else if (value.is_none()) {
    out += "null";
  } else {
    throw input_error("chat template, line " + std::to_string(style.line), "JSON cannot hold this " + type_name(value));
  }
}

}  // namespace

const std::string* Value::text() const {
  const auto* held = std::get_if<std::shared_ptr<const std::string>>(&data);
  return held != nullptr ? held->get() : nullptr;
}
List* Value::list() const {
  const auto* held = std::get_if<std::shared_ptr<List>>(&data);
  return held != nullptr ? held->get() : nullptr;
}
Dict* Value::dict() const {
  const auto* held = std::get_if<std::shared_ptr<Dict>>(&data);
  return held != nullptr ? held->get() : nullptr;
}
const Function* Value::function() const {
  const auto* held = std::get_if<std::shared_ptr<Function>>(&data);
  return held != nullptr ? held->get() : nullptr;
}

bool truthy(const Value& value) {
  if (value.is_undefined() || value.is_none()) return false;
  if (value.text() != nullptr) return !value.text()->empty();
  if (value.list() != nullptr) return !value.list()->empty();
  if (value.dict() != nullptr) return !value.dict()->empty();
  return value.function() != nullptr || as_number(value) != 0.0;
}

int64_t as_int(const Value& value) {
  return value.is_bool() ? std::get<bool>(value.data) : std::get<int64_t>(value.data);
}

double as_number(const Value& value) {
  if (value.is_bool()) return std::get<bool>(value.data) ? 1.0 : 0.0;
  if (value.is_int()) return static_cast<double>(std::get<int64_t>(value.data));
  const auto* number = std::get_if<double>(&value.data);
  return number != nullptr ? *number : 0.0;
}

namespace {

bool equal_within(const Value& a, const Value& b, int64_t& steps, int level) {
  check_nesting(level);
  steps -= 1 + (a.text() != nullptr ? static_cast<int64_t>(a.text()->size() / 256) : 0);
  if (steps < 0) throw input_error("chat template", "the template takes too many steps");
  if (a.is_whole() && b.is_whole()) return as_int(a) == as_int(b);
  if (a.is_number() && b.is_number()) return as_number(a) == as_number(b);
  if (a.text() != nullptr && b.text() != nullptr) return *a.text() == *b.text();
  if (a.list() != nullptr && b.list() != nullptr) {
    if (a.list()->size() != b.list()->size() || a.list()->tuple != b.list()->tuple) return false;
    for (size_t i = 0; i < a.list()->size(); ++i)
      if (!equal_within((*a.list())[i], (*b.list())[i], steps, level + 1)) return false;
    return true;
  }
  if (a.dict() != nullptr && b.dict() != nullptr) {
    if (a.dict()->size() != b.dict()->size()) return false;
    for (const auto& [key, value] : *a.dict()) {
      const Value* other = find(*b.dict(), key);
      if (other == nullptr || !equal_within(value, *other, steps, level + 1)) return false;
    }
    return true;
  }
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

int64_t count_within(const Value& value, int64_t most, int level) {
  check_nesting(level);
  if (most < 1) throw input_error("chat template", "the template takes too many steps");
  int64_t count = 1;
  if (value.list() != nullptr)
    for (const Value& item : *value.list()) count += count_within(item, most - count, level + 1);
  if (value.dict() != nullptr)
    for (const auto& entry : *value.dict()) count += count_within(entry.second, most - count, level + 1);
  return count;
}

std::string text_within(const Value& value, int level);

std::string repr(const Value& value, int level) {
  return value.text() != nullptr ? python_quoted(*value.text()) : text_within(value, level);
}

std::string text_within(const Value& value, int level) {
  check_nesting(level);
  if (value.is_undefined()) return "";
  if (value.is_none()) return "None";
  if (value.is_bool()) return std::get<bool>(value.data) ? "True" : "False";
  if (value.is_int()) return std::to_string(std::get<int64_t>(value.data));
  if (value.is_number()) return number_text(as_number(value));
  if (value.text() != nullptr) return *value.text();
  std::string out;
  if (const List* list = value.list()) {
    for (const Value& item : *list) append(out, (out.empty() ? "" : ", ") + repr(item, level + 1));
    if (!list->tuple) return "[" + out + "]";
    return "(" + out + (list->size() == 1 ? ",)" : ")");
  }
  if (const Dict* dict = value.dict()) {
    for (const auto& [key, item] : *dict)
      append(out, (out.empty() ? "" : ", ") + python_quoted(key) + ": " + repr(item, level + 1));
    return "{" + out + "}";
  }
  return "<function>";
}

}  // namespace

bool equal(const Value& a, const Value& b, int64_t& steps) {
  return equal_within(a, b, steps, 0);
}

int64_t count_values(const Value& value, int64_t most) {
  return count_within(value, most, 0);
}

bool reaches(const Value& value, const Dict* dict) {
  if (value.list() != nullptr)
    return std::any_of(value.list()->begin(), value.list()->end(), [&](const Value& v) { return reaches(v, dict); });
  if (value.dict() == nullptr) return false;
  return value.dict() == dict || std::any_of(value.dict()->begin(), value.dict()->end(),
                                             [&](const auto& entry) { return reaches(entry.second, dict); });
}

void append(std::string& out, std::string_view more) {
  if (more.size() > kMostText_bytes - std::min(out.size(), kMostText_bytes))
    throw input_error("chat template", "a text grows too long", "at most 16 MiB");
  out += more;
}

std::string type_name(const Value& value) {
  static const char* kNames[] = {"undefined", "none", "boolean", "integer", "float",
                                 "string",    "list", "mapping", "function"};
  return kNames[value.data.index()];
}

std::string to_text(const Value& value) {
  return text_within(value, 0);
}

std::string to_json(const Value& value, const JsonStyle& style) {
  if (style.indent > kMostNesting) throw input_error("chat template", "tojson indents too far", "at most 100");
  std::string out;
  append_json(value, style, 0, out);
  return out;
}

const Value* find(const Dict& dict, const std::string& key) {
  for (const auto& entry : dict)
    if (entry.first == key) return &entry.second;
  return nullptr;
}

void assign(Dict& dict, const std::string& key, Value value) {
  for (auto& entry : dict)
    if (entry.first == key) return void(entry.second = std::move(value));
  dict.emplace_back(key, std::move(value));
}

}  // namespace attar::jinja
