// Filters, tests and methods of the template language, as jinja2 and Python have them.
#include <utf8proc.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/formats/jinja/jinja_eval.h"
#include "runtime/formats/jinja/jinja_text.h"

namespace attar::jinja {
namespace {

// One builtin a line: its name and its parameters in their order, those that must be given with a `!`. What is not
// among them is not implemented. (Text, as a table of pointers costs attar-run three times the bytes.)
constexpr std::string_view kFilters = R"(trim chars
length
count
upper
lower
capitalize
title
string
safe
list
items
join d attribute
indent width first blank
tojson ensure_ascii indent separators sort_keys
default default_value boolean
d default_value boolean
replace old! new! count
first
last
reverse
sort reverse case_sensitive attribute
dictsort case_sensitive by reverse
int default
float default
abs)";
constexpr std::string_view kMethods = R"(strip chars
lstrip chars
rstrip chars
upper
lower
capitalize
title
split sep maxsplit
replace old! new! count
startswith prefix!
endswith suffix!
find sub!
join iterable!
items
keys
values
get key! default)";

// The parameters of `name`; without data when the table has no such line.
std::string_view parameters_of(std::string_view table, std::string_view name) {
  while (!table.empty()) {
    const std::string_view line = table.substr(0, table.find('\n'));
    table.remove_prefix(std::min(table.size(), line.size() + 1));
    const std::string_view first = line.substr(0, line.find(' '));
    if (first == name) return line.substr(std::min(line.size(), first.size() + 1));
  }
  return {};
}

// Arguments by position, undefined where none is given.
List bound(std::string_view table, const std::string& name, const List& arguments, const Arguments& keywords,
           int line) {
  const std::string_view parameters = parameters_of(table, name);
  if (parameters.data() == nullptr) throw at_line(line, "`" + printable(name) + "` is not supported");
  List out;
  size_t used = arguments.size();
  for (std::string_view rest = parameters; !rest.empty();) {
    std::string parameter(rest.substr(0, rest.find(' ')));
    rest.remove_prefix(std::min(rest.size(), parameter.size() + 1));
    const bool needed = parameter.back() == '!';
    if (needed) parameter.pop_back();
    const auto given = keywords.find(parameter);
    if (out.size() < arguments.size()) {
      out.push_back(arguments[out.size()]);
    } else if (given != keywords.end()) {
      out.push_back(given->second);
      ++used;
    } else if (needed) {
      throw at_line(line, "`" + name + "` needs " + parameter);
    } else {
      out.emplace_back();
    }
  }
  if (arguments.size() > out.size() || used != arguments.size() + keywords.size())
    throw at_line(line, "`" + name + "` takes other arguments than (" + std::string(parameters) + ") here");
  return out;
}

int64_t to_int(double number, int line) {
  if (!(std::fabs(number) < 9.2e18)) throw at_line(line, "a number is too large, or none");
  return static_cast<int64_t>(number);
}

int64_t int_or(const Value& value, int64_t fallback, int line) {
  if (value.is_undefined() || value.is_none()) return fallback;
  if (!value.is_number()) throw at_line(line, "needs a number, got a " + type_name(value));
  return value.is_whole() ? as_int(value) : to_int(as_number(value), line);
}

const std::string& text_of(const Value& value, int line) {
  if (value.text() == nullptr) throw at_line(line, "needs text, got a " + type_name(value));
  return *value.text();
}

int64_t length_of(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

int64_t length_of(const Value& value, int line) {
  if (value.is_undefined()) return 0;
  if (value.list() != nullptr) return static_cast<int64_t>(value.list()->size());
  if (value.dict() != nullptr) return static_cast<int64_t>(value.dict()->size());
  if (value.text() == nullptr) throw at_line(line, "a " + type_name(value) + " has no length");
  return length_of(*value.text());
}

List pairs_of(const Value& value, int line) {
  if (value.is_undefined()) return {};
  if (value.dict() == nullptr) throw at_line(line, "items needs a mapping, got a " + type_name(value));
  List out;
  for (const auto& [key, item] : *value.dict()) {
    List pair{Value(key), item};
    pair.tuple = true;
    out.emplace_back(std::move(pair));
  }
  return out;
}

// "a.b.0": attributes of attributes, and places in lists.
Value attribute_path(Value value, std::string_view path, int line) {
  while (true) {
    const std::string name(path.substr(0, path.find('.')));
    size_t place = 0;
    const bool is_place =
        std::from_chars(name.data(), name.data() + name.size(), place).ptr == name.data() + name.size();
    if (value.list() != nullptr && is_place && !name.empty())
      value = place < value.list()->size() ? Value((*value.list())[place]) : Value();
    else
      value = attribute(value, name, line);
    if (name.size() == path.size()) return value;
    path.remove_prefix(name.size() + 1);
  }
}

// select, reject, selectattr, rejectattr
List chosen(const Value& value, const List& arguments, bool by_attribute, bool keep, const Site& site) {
  List rest = arguments;
  const auto take = [&] {
    const std::string name = to_text(rest.front());
    rest.erase(rest.begin());
    return name;
  };
  if (by_attribute && rest.empty()) throw at_line(site.line, "selectattr needs an attribute");
  const std::string path = by_attribute ? take() : "", test = rest.empty() ? "" : take();
  List out;
  for (const Value& item : items_of(value, site)) {
    const Value subject = by_attribute ? attribute_path(item, path, site.line) : item;
    if ((test.empty() ? truthy(subject) : apply_test(test, subject, rest, site)) == keep) out.push_back(item);
  }
  return out;
}

List mapped_items(const Value& value, const List& arguments, const Arguments& keywords, const Site& site) {
  const auto by = keywords.find("attribute"), fallback = keywords.find("default");
  List out;
  if (by == keywords.end()) {
    if (arguments.empty()) throw at_line(site.line, "map needs a filter or an attribute");
    const List rest(arguments.begin() + 1, arguments.end());
    for (const Value& item : items_of(value, site))
      out.push_back(apply_filter(to_text(arguments[0]), item, rest, keywords, site));
    return out;
  }
  if (!arguments.empty() || keywords.size() > (fallback != keywords.end() ? 2 : 1))
    throw at_line(site.line, "map takes attribute and default only");
  for (const Value& item : items_of(value, site)) {
    out.push_back(attribute_path(item, to_text(by->second), site.line));
    if (out.back().is_undefined() && fallback != keywords.end()) out.back() = fallback->second;
  }
  return out;
}

enum class Case { Matters, Ignored };

// By the values at `path` of the items ("": the items), smallest first.
List sorted(const List& items, const std::string& path, Case letters, const Value& reverse, const Site& site) {
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : items) {
    Value key = path.empty() ? item : attribute_path(item, path, site.line);
    if (letters == Case::Ignored && key.text() != nullptr) key = mapped(*key.text(), utf8proc_tolower);
    keyed.emplace_back(std::move(key), item);
  }
  const bool falls = truthy(reverse);
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return falls ? less(b.first, a.first, site) : less(a.first, b.first, site);
  });
  List out;
  for (auto& entry : keyed) out.push_back(std::move(entry.second));
  return out;
}

std::string joined(const Value& value, const std::string& separator, const Value& by, const Site& site) {
  std::string out;
  bool first = true;
  for (const Value& item : items_of(value, site)) {
    if (!first) append(out, separator);
    append(out, to_text(by.is_undefined() || by.is_none() ? item : attribute_path(item, to_text(by), site.line)));
    first = false;
  }
  return out;
}

std::string indented(const std::string& text, const List& given, int line) {
  const std::string pad =
      given[0].text() != nullptr
          ? *given[0].text()
          : std::string(static_cast<size_t>(std::clamp<int64_t>(int_or(given[0], 4, line), 0, 1000)), ' ');
  std::string out;
  const List lines = split(text, "\n", -1, line);
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string& one = *lines[i].text();
    append(out, (i > 0 ? "\n" : "") + (truthy(given[i > 0 ? 2 : 1]) || (i > 0 && !one.empty()) ? pad : "") + one);
  }
  return out;
}

std::string json_of(const Value& value, const List& given, int line) {
  if (truthy(given[0])) throw at_line(line, "tojson with ensure_ascii is not supported");
  JsonStyle style{.line = line};
  if (!given[1].is_undefined() && !given[1].is_none()) {
    style.indent = std::max<int64_t>(int_or(given[1], 0, line), 0);
    style.comma = ",";
  }
  if (const List* pair = given[2].list(); pair != nullptr && pair->size() == 2) {
    style.comma = text_of((*pair)[0], line);
    style.colon = text_of((*pair)[1], line);
  } else if (truthy(given[2])) {
    throw at_line(line, "tojson needs two separators");
  }
  style.sort_keys = truthy(given[3]);
  return to_json(value, style);
}

// What Python's int() and float() read; the fallback for anything else.
Value number_of(const Value& value, bool whole, const Value& fallback, const Site& site) {
  if (value.is_number()) {
    if (!whole) return as_number(value);
    return int_or(value, 0, site.line);
  }
  const Value otherwise = !fallback.is_undefined() ? fallback : whole ? Value(int64_t{0}) : Value(0.0);
  if (value.text() == nullptr) return otherwise;
  const std::string text = stripped(*value.text(), nullptr, Ends::Both, site);
  const char *begin = text.c_str() + (text[0] == '+' ? 1 : 0), *end = text.c_str() + text.size();
  int64_t exact = 0;
  if (const auto read = std::from_chars(begin, end, exact); whole && read.ptr == end && read.ec == std::errc())
    return exact;
  char* stopped = nullptr;
  const double number = std::strtod(text.c_str(), &stopped);
  if (text.empty() || stopped != end || text.find_first_of("xX") != std::string::npos) return otherwise;
  return whole ? Value(to_int(number, site.line)) : Value(number);
}

Value reversed(const Value& value, const Site& site) {
  List items = items_of(value, site);
  std::reverse(items.begin(), items.end());
  if (value.text() == nullptr) return items;
  return joined(items, "", {}, site);
}

Value absolute(const Value& value, int line) {
  if (!value.is_number() || (value.is_whole() && as_int(value) == INT64_MIN))
    throw at_line(line, "abs needs a number, got a " + type_name(value));
  return value.is_whole() ? Value(std::abs(as_int(value))) : Value(std::fabs(as_number(value)));
}

}  // namespace

List items_of(const Value& value, const Site& site) {
  List out;
  if (value.list() != nullptr) {
    site.charge(value.list()->size() / 16);
    out = *value.list();
    out.tuple = false;
  } else if (value.dict() != nullptr) {
    for (const auto& entry : *value.dict()) out.emplace_back(entry.first);
  } else if (value.text() != nullptr) {
    for (size_t at = 0, length = 0; at < value.text()->size(); at += length) {
      if (out.size() >= kMostItems) throw at_line(site.line, "a list grows too long");
      length = character_length(*value.text(), at);
      out.emplace_back(value.text()->substr(at, length));
    }
    site.charge(out.size() / 4);
  } else if (!value.is_undefined()) {
    throw at_line(site.line, "a " + type_name(value) + " cannot be iterated");
  }
  return out;
}

bool contains(const Value& container, const Value& item, const Site& site) {
  if (container.text() != nullptr) {
    if (item.text() == nullptr) throw at_line(site.line, "`in` on text needs text");
    return find_text(*container.text(), *item.text()) != std::string::npos;
  }
  if (container.dict() != nullptr) {
    site.charge(container.dict()->size() / 16);
    return item.text() != nullptr && find(*container.dict(), *item.text()) != nullptr;
  }
  if (container.list() != nullptr)
    return std::any_of(container.list()->begin(), container.list()->end(),
                       [&](const Value& v) { return equal(v, item, site.steps); });
  if (container.is_undefined()) return false;
  throw at_line(site.line, "`in` needs text, a list or a mapping, got a " + type_name(container));
}

bool less(const Value& a, const Value& b, const Site& site) {
  site.charge(1);
  if (a.is_whole() && b.is_whole()) return as_int(a) < as_int(b);
  if (a.is_number() && b.is_number()) return as_number(a) < as_number(b);
  if (a.text() == nullptr || b.text() == nullptr)
    throw at_line(site.line, "cannot compare a " + type_name(a) + " with a " + type_name(b));
  site.charge(std::min(a.text()->size(), b.text()->size()) / 256);
  return *a.text() < *b.text();
}

Value apply_filter(const std::string& name, const Value& value, const List& arguments, const Arguments& keywords,
                   const Site& site) {
  site.charge(1);
  if (name == "map") return mapped_items(value, arguments, keywords, site);
  for (const char* filter : {"select", "reject", "selectattr", "rejectattr"})
    if (name == filter && keywords.empty())
      return chosen(value, arguments, name.ends_with("attr"), name.starts_with("select"), site);
  const List given = bound(kFilters, name, arguments, keywords, site.line);
  const auto text = [&] { return to_text(value); };
  if (name == "trim") return stripped(text(), given[0].text(), Ends::Both, site);
  if (name == "length" || name == "count") return length_of(value, site.line);
  if (name == "upper") return mapped(text(), utf8proc_toupper);
  if (name == "lower") return mapped(text(), utf8proc_tolower);
  if (name == "capitalize") return capitalized(text());
  if (name == "title") return titled(text(), Words::Blanks);
  if (name == "string") return text();
  if (name == "list") return items_of(value, site);
  if (name == "items") return pairs_of(value, site.line);
  if (name == "join") return joined(value, to_text(given[0]), given[1], site);
  if (name == "indent") return indented(text(), given, site.line);
  if (name == "tojson") return json_of(value, given, site.line);
  if (name == "default" || name == "d") {
    const bool missing = value.is_undefined() || (truthy(given[1]) && !truthy(value));
    return !missing ? value : given[0].is_undefined() ? Value("") : given[0];
  }
  if (name == "replace") return replaced(text(), to_text(given[0]), to_text(given[1]), int_or(given[2], -1, site.line));
  if (name == "first" || name == "last") {
    const List items = items_of(value, site);
    if (items.empty()) return {};
    return name == "first" ? items.front() : items.back();
  }
  if (name == "reverse") return reversed(value, site);
  if (name == "sort")
    return sorted(items_of(value, site), given[2].text() != nullptr ? *given[2].text() : "",
                  truthy(given[1]) ? Case::Matters : Case::Ignored, given[0], site);
  if (name == "dictsort") {
    const std::string by = given[1].is_undefined() ? "key" : to_text(given[1]);
    if (by != "key" && by != "value") throw at_line(site.line, "dictsort goes by key or value");
    return sorted(pairs_of(value, site.line), by == "key" ? "0" : "1", truthy(given[0]) ? Case::Matters : Case::Ignored,
                  given[2], site);
  }
  if (name == "int" || name == "float") return number_of(value, name == "int", given[0], site);
  if (name == "abs") return absolute(value, site.line);
  return value;  // safe: nothing is escaped here
}

bool apply_test(const std::string& name, const Value& value, const List& arguments, const Site& site) {
  site.charge(1);
  const auto whole = [&](const Value& number) {
    if (!number.is_whole()) throw at_line(site.line, "the test `" + name + "` needs whole numbers");
    return as_int(number);
  };
  if (arguments.empty()) {
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
    if (name == "odd" || name == "even") return (whole(value) % 2 != 0) == (name == "odd");
  }
  if (arguments.size() == 1) {
    const Value& other = arguments[0];
    if (name == "equalto" || name == "eq" || name == "==") return equal(value, other, site.steps);
    if (name == "ne" || name == "!=") return !equal(value, other, site.steps);
    if (name == "sameas") return value.data.index() == other.data.index() && equal(value, other, site.steps);
    if (name == "in") return contains(other, value, site);
    if (name == "divisibleby" && whole(other) != 0) return whole(other) == -1 || whole(value) % whole(other) == 0;
  }
  throw at_line(site.line, "the test `" + printable(name) + "` is not supported with these arguments");
}

namespace {

Value text_method(const std::string& text, const std::string& name, const List& given, const Site& site) {
  if (name.ends_with("strip"))
    return stripped(text, given[0].text(),
                    name[0] == 'l'   ? Ends::Left
                    : name[0] == 'r' ? Ends::Right
                                     : Ends::Both,
                    site);
  if (name == "upper") return mapped(text, utf8proc_toupper);
  if (name == "lower") return mapped(text, utf8proc_tolower);
  if (name == "capitalize") return capitalized(text);
  if (name == "title") return titled(text, Words::Letters);
  if (name == "split") {
    const int64_t most = int_or(given[1], -1, site.line);
    if (given[0].is_undefined() || given[0].is_none()) return split(text, most, site.line);
    return split(text, text_of(given[0], site.line), most, site.line);
  }
  if (name == "join") return joined(given[0], text, {}, site);
  const std::string& part = text_of(given[0], site.line);
  if (name == "replace") return replaced(text, part, text_of(given[1], site.line), int_or(given[2], -1, site.line));
  if (name == "startswith") return text.starts_with(part);
  if (name == "endswith") return text.ends_with(part);
  const size_t at = find_text(text, part);  // find
  return at == std::string::npos ? int64_t{-1} : length_of(std::string_view(text).substr(0, at));
}

}  // namespace

Value call_method(const Value& object, const std::string& name, const List& arguments, const Arguments& keywords,
                  const Site& site) {
  const bool of_dict = name == "items" || name == "keys" || name == "values" || name == "get";
  if (of_dict ? object.dict() == nullptr : object.text() == nullptr)
    throw at_line(site.line, "a " + type_name(object) + " has no method `" + printable(name) + "`");
  const List given = bound(kMethods, name, arguments, keywords, site.line);
  if (!of_dict) return text_method(*object.text(), name, given, site);
  if (name == "items") return pairs_of(object, site.line);
  if (name == "keys") return items_of(object, site);
  if (name == "get") {
    const Value* found = find(*object.dict(), text_of(given[0], site.line));
    return found != nullptr ? *found : given[1].is_undefined() ? Value(None{}) : given[1];
  }
  List out;  // values
  for (const auto& entry : *object.dict()) out.push_back(entry.second);
  return out;
}

}  // namespace attar::jinja
