#include "runtime/formats/jinja/values/print.h"

#include <utf8proc.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "runtime/formats/jinja/values/text.h"
#include "runtime/formats/tokenizer/unicode.h"

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

std::string escape_of(const char* format, uint32_t code) {
  char out[16];
  std::snprintf(out, sizeof out, format, static_cast<unsigned>(code));
  return out;
}

// Python's str.isprintable(), of one character.
bool is_printable(uint32_t code) {
  const utf8proc_category_t kind = utf8proc_category(static_cast<utf8proc_int32_t>(code));
  return code == ' ' || (kind != UTF8PROC_CATEGORY_CN && kind < UTF8PROC_CATEGORY_ZS);
}

Text quoted(TextView text) {
  const char quote =
      text.bytes.find('\'') != std::string::npos && text.bytes.find('"') == std::string::npos ? '"' : '\'';
  Text out(std::string(1, quote));
  out.append(with_each_character(
      text,
      [quote](std::string_view character, std::string& to) {
        const bool valid = valid_utf8_prefix(character) == character.size();
        const uint32_t code = valid ? decode_utf8(character, 0).code_point : static_cast<unsigned char>(character[0]);
        if (code == static_cast<uint32_t>(quote) || code == '\\')
          to += '\\', to += character;
        else if (const size_t known = std::string_view("\n\t\r").find(character); known != std::string_view::npos)
          to += '\\', to += "ntr"[known];
        else if (is_printable(code) || !valid)
          to += character;
        else
          to += escape_of(code < 0x100 ? "\\x%02x" : code < 0x10000 ? "\\u%04x" : "\\U%08x", code);
      },
      [](unsigned char c) { return c >= ' ' && c < 0x7f && c != '\'' && c != '"' && c != '\\' ? c : -1; }));
  return out.append(std::string(1, quote));
}

Text json_quoted(TextView text, JsonStyle::Letters letters) {
  Text out(std::string(1, '"'));
  out.append(with_each_character(
      text,
      [letters](std::string_view character, std::string& to) {
        static constexpr std::string_view kKnown = "\"\\\n\r\t\b\f", kLetters = "\"\\nrtbf";
        const auto first = static_cast<unsigned char>(character[0]);
        if (const size_t known = kKnown.find(character); known != std::string_view::npos) {
          to += '\\', to += kLetters[known];
        } else if (first < 0x20) {
          to += escape_of("\\u%04x", first);
        } else if (letters == JsonStyle::Letters::All || first < 0x7f ||
                   valid_utf8_prefix(character) != character.size()) {
          to += character;
        } else if (const uint32_t code = decode_utf8(character, 0).code_point; code < 0x10000) {
          to += escape_of("\\u%04x", code);
        } else {
          to += escape_of("\\u%04x", 0xD800 + ((code - 0x10000) >> 10)) + escape_of("\\u%04x", 0xDC00 + (code & 0x3FF));
        }
      },
      [](unsigned char c) { return c >= ' ' && c < 0x7f && c != '"' && c != '\\' ? c : -1; }));
  return out.append("\"");
}

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, const Site& site) : style_(style), site_(site) {}

  Text run(const Value& value) {
    write(value, 0);
    return std::move(out_);
  }

 private:
  void line(int level) {
    if (style_.indent.is_missing()) return;
    out_.append("\n");
    for (int i = 0; i < level; ++i) out_.append(*style_.indent.text());
  }

  void write(const Value& value, int level) {
    site_.charge(1);
    if (const List* list = value.list(); list != nullptr && list->shape <= Shape::Group) {
      out_.append("[");
      for (size_t i = 0; i < list->size(); ++i) {
        if (i > 0) out_.append(style_.comma);
        line(level + 1);
        write((*list)[i], level + 1);
      }
      close("]", list->size(), level);
    } else if (const Dict* dict = value.dict()) {
      out_.append("{");
      write_entries(*dict, level);
      close("}", dict->size(), level);
    } else if (value.text() != nullptr) {
      site_.charge(value.text()->size() / 16);
      out_.append(json_quoted(*value.text(), style_.letters));
    } else {
      out_.append(scalar(value));
    }
  }

  void close(const char* bracket, size_t n_inside, int level) {
    if (n_inside > 0) line(level);
    out_.append(bracket);
  }

  void write_entries(const Dict& dict, int level) {
    std::vector<Dict::Entry> entries(dict.begin(), dict.end());
    if (style_.keys == JsonStyle::Keys::Sorted)
      std::sort(entries.begin(), entries.end(),
                [&](const auto& a, const auto& b) { return less(a.first, b.first, site_); });
    bool first = true;
    for (const auto& [key, value] : entries) {
      if (!first) out_.append(style_.comma);
      line(level + 1);
      out_.append(json_quoted(key.text() != nullptr ? TextView(*key.text()) : TextView(scalar(key)), style_.letters));
      out_.append(style_.colon);
      write(value, level + 1);
      first = false;
    }
  }

  std::string scalar(const Value& value) {
    if (value.is_bool()) return truthy(value) ? "true" : "false";
    if (value.is_none()) return "null";
    if (!value.is_number()) throw at_line(site_.line, "JSON cannot hold this " + type_name(value));
    const double number = as_number(value);
    if (std::isfinite(number)) return to_text(value)->bytes;
    return std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity";
  }

  const JsonStyle& style_;
  const Site& site_;
  Text out_;
};

// Appends repr(value), in time linear in what it writes.
void show(const Value& value, int spaces, Text& out);

void show(const List& list, int spaces, Text& out) {
  if (list.shape == Shape::Generator)
    throw input_error("chat template", "a generator is printed", "a list", "", "add `| list`");
  if (list.shape == Shape::Range && list.shown.empty())
    throw input_error("chat template", "a part of a range is printed", "a list", "", "add `| list`");
  out.append(list.shown);
  if (list.shape == Shape::Range) return;
  const bool round = list.shape == Shape::Tuple || list.shape == Shape::Group;
  out.append(round ? "(" : "[");
  for (size_t i = 0; i < list.size(); ++i) {
    if (i > 0) out.append(", ");
    show(list[i], spaces, out);
  }
  if (round && list.size() == 1) out.append(",");
  out.append(round ? ")" : list.shape == Shape::View ? "])" : "]");
}

void show(const Dict& dict, int spaces, Text& out) {
  out.append("{");
  bool first = true;
  for (const auto& [key, item] : dict) {
    if (!first) out.append(", ");
    show(key, spaces, out);
    out.append(": ");
    show(item, spaces, out);
    first = false;
  }
  out.append("}");
}

// `spaces`: namespaces around; they alone can hold themselves.
void show(const Value& value, int spaces, Text& out) {
  if (value.list() != nullptr) return show(*value.list(), spaces, out);
  if (value.dict() != nullptr) return show(*value.dict(), spaces, out);
  if (value.text() != nullptr)
    return void(value.text()->safe ? out.append("Markup(").append(quoted(*value.text())).append(")")
                                   : out.append(quoted(*value.text())));
  if (value.is_undefined()) return void(out.append("Undefined"));
  if (value.space() == nullptr) return void(out.append(*to_text(value)));
  if (spaces > 10) throw input_error("chat template", "a namespace is printed that holds itself");
  out.append("<Namespace ");
  show(value.space()->attributes, spaces + 1, out);
  out.append(">");
}

}  // namespace

std::string integer_text(Whole number) {
  std::string out;
  const bool negative = number < 0;
  do {
    const auto digit = static_cast<int>(number % 10);
    out += static_cast<char>('0' + (negative ? -digit : digit));
    number /= 10;
  } while (number != 0);
  if (negative) out += '-';
  std::reverse(out.begin(), out.end());
  return out;
}

std::shared_ptr<const Text> to_text(const Value& value) {
  if (const auto* text = std::get_if<std::shared_ptr<const Text>>(&value.data)) return *text;
  const auto plain = [](std::string text) { return std::make_shared<const Text>(std::move(text)); };
  if (value.is_undefined()) return plain("");
  if (value.is_none()) return plain("None");
  if (value.is_bool()) return plain(truthy(value) ? "True" : "False");
  if (value.is_int()) return plain(integer_text(as_int(value)));
  if (value.is_number()) return plain(number_text(as_number(value)));
  if (value.function() != nullptr)
    throw input_error("chat template",
                      "the function `" + printable(value.function()->name) + "` is printed, not called");
  if (value.loop() != nullptr)
    return plain("<LoopContext " + std::to_string(value.loop()->at + 1) + "/" +
                 std::to_string(value.loop()->items.size()) + ">");
  return std::make_shared<const Text>(repr(value));
}

Text repr(const Value& value) {
  Text out;
  show(value, 0, out);
  return out;
}

Text to_json(const Value& value, const JsonStyle& style, const Site& site) {
  return JsonWriter(style, site).run(value);
}

}  // namespace attar::jinja
