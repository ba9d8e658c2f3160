// Values of the template language: what Python's None, bool, int, float, str, list and dict are to jinja2.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace attar::jinja {

struct Value;
using List = std::vector<Value>;
using Dict = std::vector<std::pair<std::string, Value>>;  // in insertion order
using Arguments = std::map<std::string, Value>;           // by keyword
using Function = std::function<Value(const List&, const Arguments&)>;

struct Undefined {};
struct None {};

struct Value {
  std::variant<Undefined, None, bool, int64_t, double, std::string, std::shared_ptr<List>, std::shared_ptr<Dict>,
               std::shared_ptr<Function>>
      data;

  Value() = default;
  Value(None none) : data(none) {}
  Value(bool b) : data(b) {}
  Value(int64_t i) : data(i) {}
  Value(double d) : data(d) {}
  Value(std::string s) : data(std::move(s)) {}
  Value(const char* s) : data(std::string(s)) {}
  Value(List list) : data(std::make_shared<List>(std::move(list))) {}
  Value(Dict dict) : data(std::make_shared<Dict>(std::move(dict))) {}
  Value(Function function) : data(std::make_shared<Function>(std::move(function))) {}

  bool is_undefined() const { return std::holds_alternative<Undefined>(data); }
  bool is_none() const { return std::holds_alternative<None>(data); }
  bool is_bool() const { return std::holds_alternative<bool>(data); }
  bool is_int() const { return std::holds_alternative<int64_t>(data); }
  bool is_number() const { return is_int() || is_bool() || std::holds_alternative<double>(data); }
  const std::string* text() const { return std::get_if<std::string>(&data); }
  List* list() const;  // nullptr when it is none
  Dict* dict() const;
  const Function* function() const;
};

bool truthy(const Value& value);
bool equal(const Value& a, const Value& b);
double as_number(const Value& value);
std::string type_name(const Value& value);
std::string to_text(const Value& value);  // Python's str()
// json.dumps(value, ensure_ascii=False, indent=indent); indent < 0: one line
std::string to_json(const Value& value, int64_t indent);
const Value* find(const Dict& dict, const std::string& key);
void assign(Dict& dict, const std::string& key, Value value);

}  // namespace attar::jinja
