// Runs a syntax tree. Nothing of the host can be reached: values are data, and the functions are those named here.
#pragma once

#include "runtime/formats/jinja/syntax/parser.h"

namespace attar::jinja {

struct Limits {
  int64_t steps = 10'000'000;  // of work; a long text or list counts as many
  int depth = 500;             // of statements, operands and macros in one another
};

// `globals` are the variables the template sees. Error{Input} naming the line.
Text render(const Program& program, const Dict& globals, const Limits& limits = {});

// By name (builtins/). Error{Input} on a name or an argument that is not
// implemented.
Value apply_filter(const std::string& name, const Value& value, const Call& call);
bool apply_test(const std::string& name, const Value& value, const Call& call);
bool is_filter(std::string_view name);
bool is_test(std::string_view name);
enum class Owner : uint8_t { Text, List, Dict };  // of a method
// The method `name` of `object`, bound to it: undefined where there is none, or where it would change the object.
// `known`: whether Python has it.
Value method(const Value& object, Owner owner, const std::string& name, bool& known);
// jinja2's own functions: range, namespace, dict, joiner, cycler. Namespaces that they make are put into `spaces`.
using Spaces = std::vector<std::shared_ptr<Namespace>>;
void add_globals(Dict& globals, Spaces& spaces);

// x.name, or x['name'] where there is no such attribute; x[key], or x.key. Undefined where there is neither.
Value attribute(const Value& value, const std::string& name, const Site& site);
Value item(const Value& value, const Value& key, const Site& site);
Value slice(const Value& value, const Value (&parts)[3], const Site& site);  // begin, end, step
// What a loop goes through; a generator is empty then.
List items_of(const Value& value, const Site& site);
bool contains(const Value& container, const Value& item, const Site& site);
Value binary(const std::string& op, const Value& left, const Value& right, const Site& site);
bool compare(const std::string& op, const Value& left, const Value& right, const Site& site);

// A builtin: its name and its parameters in their order, those that must be given with a `!`; `*`: it takes what comes.
struct Builtin {
  const char* signature;
  Value (*run)(const Value& value, const Call& call);  // nullptr: it would change the value
  Owner owner = Owner::Text;                           // of methods
  std::string_view name() const;
};
// All arguments by position, undefined where not given.
Call bound(const Builtin& builtin, const Call& call);

// Arguments as numbers and texts.
Whole int_or(const Value& value, Whole fallback, const Site& site);
const Text& text_of(const Value& value, const Site& site);
// Error{Input} when the number is not finite.
Whole whole_part(double number, const Site& site);

}  // namespace attar::jinja
