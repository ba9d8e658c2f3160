// Values of the template language: what Python's None, bool, int, float, str, list, tuple and dict are to jinja2.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/formats/jinja/values/marked_text.h"

namespace attar::jinja {

struct Value;
struct Call;
class Dict;
struct Loop;
using Callable = std::function<Value(const Call&)>;
__extension__ typedef __int128 Whole;  // a file's largest numbers fit; past it is an Error, as Python never overflows

// What a value may grow to: a template that goes past it ends in an Error{Input}, never in the machine's memory.
inline constexpr size_t kMostItems = 200'000;
inline constexpr int kMostNesting = 100;  // of lists and mappings in one another

Error at_line(int line, const std::string& what);

// Where in the template something is worked out, and the steps that are left.
struct Site {
  int line;
  int64_t& steps;
  void charge(size_t n) const;  // Error{Input} when none are left
};

// What Python tells apart of the things that can be gone through in order.
enum class Shape : uint8_t {
  List,
  Tuple,
  Group,      // a tuple of groupby's: `grouper` and `list`
  Range,      // of numbers
  Generator,  // what filters such as map give: true whatever it holds, without length, empty once it was gone through
  View,       // keys(), values() and items() of a mapping
};

struct Undefined {};
struct None {};
struct List;
struct Function;
// namespace() and what else has attributes that change.
struct Namespace;

struct Value {
  // What is large is shared and never changes: copies of a list, and of lists of lists, hold the same texts.
  std::variant<Undefined, None, bool, Whole, double, std::shared_ptr<const Text>, std::shared_ptr<List>,
               std::shared_ptr<Dict>, std::shared_ptr<Function>, std::shared_ptr<Namespace>, std::shared_ptr<Loop>>
      data;

  Value() = default;
  Value(None none) : data(none) {}
  Value(bool b) : data(b) {}
  Value(Whole i) : data(i) {}
  template <std::integral T>
  Value(T i) : data(Whole{i}) {}
  Value(double d) : data(d) {}
  Value(Text text) : data(std::make_shared<const Text>(std::move(text))) {}
  Value(TextView text) : Value(Text(text)) {}
  Value(std::shared_ptr<const Text> text) : data(std::move(text)) {}
  Value(std::string s) : Value(Text(std::move(s))) {}
  Value(const char* s) : Value(std::string(s)) {}
  Value(List list);  // Error{Input} past kMostItems or kMostNesting, as below
  Value(Dict dict);
  Value(Function function);
  Value(std::shared_ptr<Namespace> space) : data(std::move(space)) {}
  Value(std::shared_ptr<Loop> loop) : data(std::move(loop)) {}

  bool is_undefined() const { return std::holds_alternative<Undefined>(data); }
  bool is_none() const { return std::holds_alternative<None>(data); }
  bool is_bool() const { return std::holds_alternative<bool>(data); }
  bool is_int() const { return std::holds_alternative<Whole>(data); }
  bool is_whole() const { return is_int() || is_bool(); }
  bool is_number() const { return is_whole() || std::holds_alternative<double>(data); }
  bool is_missing() const { return is_undefined() || is_none(); }
  bool is(Shape shape) const;                              // a list of that shape
  const Text* text() const { return held<const Text>(); }  // nullptr when it is none, as below
  List* list() const { return held<List>(); }
  Dict* dict() const { return held<Dict>(); }
  const Function* function() const { return held<Function>(); }
  Namespace* space() const { return held<Namespace>(); }
  Loop* loop() const { return held<Loop>(); }
  int depth() const;  // of lists, mappings and bound methods in one another

 private:
  template <typename T>
  T* held() const {
    const auto* pointer = std::get_if<std::shared_ptr<T>>(&data);
    return pointer != nullptr ? pointer->get() : nullptr;
  }
};

struct List : std::vector<Value> {
  using std::vector<Value>::vector;
  Shape shape = Shape::List;
  int depth = 0;
  bool can_be_key = false;                 // as depth, known once it is a value
  std::string shown{};                     // a range, as Python prints it
  size_t used = 0;                         // of a generator: the items that were taken
  std::shared_ptr<const Error> failure{};  // of a generator: what comes when its items are used up
};

// A mapping, in the order of insertion. Keys are what Python can hash: 1, 1.0 and true are the same key.
class Dict {
 public:
  using Entry = std::pair<Value, Value>;
  Dict() = default;
  Dict(std::initializer_list<Entry> entries);
  const Value* find(const Value& key) const;  // nullptr where there is none
  void assign(Value key, Value value);        // Error{Input} on a key that is a list or a mapping
  auto begin() const { return entries_.begin(); }
  auto end() const { return entries_.end(); }
  size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }
  void clear() { entries_.clear(), places_.clear(); }
  int depth = 0;

 private:
  size_t place(const Value& key) const;  // size() where there is none

  std::vector<Entry> entries_;
  std::unordered_map<std::string, size_t> places_;  // of the keys' texts, once there are many
};

struct Function {
  std::string name;
  Callable body;
  int depth = 0;
};
struct Namespace {
  Dict attributes;
};

// The `loop` of a {% for %}.
struct Loop {
  List items;
  size_t at = 0;
  int nesting = 0;     // of recursive loops
  Value seen{};        // by changed(); undefined before the first call
  Function recurse{};  // without body unless the loop is recursive
};

// Arguments as a call gives them. A builtin with a signature gets them all by position, undefined where not given.
struct Call {
  List positional;
  std::vector<std::pair<Text, Value>> named;  // names may come from a message, by `**`
  Site site;
  const Value* keyword(std::string_view name) const;
  const Value& operator[](size_t i) const { return positional[i]; }
};

bool truthy(const Value& value);
size_t work_on(const Value& value);  // steps that going through it once costs
bool equal(const Value& a, const Value& b, const Site& site);
bool can_be_key(const Value& value);
bool same_key(const Value& a, const Value& b);
bool less(const Value& a, const Value& b, const Site& site);  // Error{Input} where Python has no order
Whole as_int(const Value& value);                             // of a whole number
int64_t clamped(Whole number);                                // into 64 bits
double as_number(const Value& value);
std::string type_name(const Value& value);

}  // namespace attar::jinja
