// Values of the template language: what Python's None, bool, int, float, str, list and dict are to jinja2.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace attar::jinja {

struct Value;
struct List;
using Dict = std::vector<std::pair<std::string, Value>>;  // in insertion order
using Arguments = std::map<std::string, Value>;           // by keyword
using Function = std::function<Value(const List&, const Arguments&)>;

// What a value may grow to: a template that goes past it ends in an Error{Input}, never in the machine's memory.
inline constexpr size_t kMostText_bytes = size_t{16} << 20;
inline constexpr size_t kMostItems = 1'000'000;
inline constexpr int kMostNesting = 100;  // of lists and mappings in one another

struct Undefined {};
struct None {};

struct Value {
  // What is large is shared: copies of a list, and of lists of lists, hold the same texts.
  std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const std::string>, std::shared_ptr<List>,
               std::shared_ptr<Dict>, std::shared_ptr<Function>>
      data;

  Value() = default;
  Value(None none) : data(none) {}
  Value(bool b) : data(b) {}
  Value(int64_t i) : data(i) {}
  Value(double d) : data(d) {}
  Value(std::string s) : data(std::make_shared<const std::string>(std::move(s))) {}
  Value(const char* s) : Value(std::string(s)) {}
  Value(List list);
  Value(Dict dict) : data(std::make_shared<Dict>(std::move(dict))) {}
  Value(Function function) : data(std::make_shared<Function>(std::move(function))) {}

  bool is_undefined() const { return std::holds_alternative<Undefined>(data); }
  bool is_none() const { return std::holds_alternative<None>(data); }
  bool is_bool() const { return std::holds_alternative<bool>(data); }
  bool is_int() const { return std::holds_alternative<int64_t>(data); }
  bool is_whole() const { return is_int() || is_bool(); }
  bool is_number() const { return is_int() || is_bool() || std::holds_alternative<double>(data); }
  const std::string* text() const;  // nullptr when it is none, as below
  List* list() const;
  Dict* dict() const;
  const Function* function() const;
};

struct List : std::vector<Value> {
  using std::vector<Value>::vector;
  bool tuple = false;  // prints with round brackets
};
inline Value::Value(List list) : data(std::make_shared<List>(std::move(list))) {}

struct JsonStyle {
  int line = 0;         // of the template, for errors
  int64_t indent = -1;  // below 0: all on one line
  std::string comma = ", ", colon = ": ";
  bool sort_keys = false;
};

bool truthy(const Value& value);
// `steps` falls with the work; Error{Input} when none are left.
bool equal(const Value& a, const Value& b, int64_t& steps);
int64_t as_int(const Value& value);  // of a whole number
double as_number(const Value& value);
std::string type_name(const Value& value);
std::string to_text(const Value& value);                          // Python's str()
std::string to_json(const Value& value, const JsonStyle& style);  // json.dumps(value, ensure_ascii=False, ...)
// Values inside, itself counted. Error{Input} when they nest too deeply or are more than `most`.
int64_t count_values(const Value& value, int64_t most);
bool reaches(const Value& value, const Dict* dict);    // the mapping is the value or lies inside; count_values() first
void append(std::string& out, std::string_view more);  // Error{Input} past kMostText_bytes
const Value* find(const Dict& dict, const std::string& key);
void assign(Dict& dict, const std::string& key, Value value);

}  // namespace attar::jinja
