// Runs a syntax tree. Nothing of the host can be reached: values are data, and the functions are those of
// jinja_builtins.
#pragma once

#include <string>

#include "runtime/base/error.h"
#include "runtime/formats/jinja/jinja_parser.h"

namespace attar::jinja {

struct Limits {
  int64_t steps = 5'000'000;
  int depth = 150;
  size_t output_bytes = size_t{16} << 20;
};

// `globals` are the variables the template sees. Error{Input} naming the line.
std::string render(const Node& program, const Dict& globals, const Limits& limits = {});

// Where in the template a builtin is called, and the steps that are left. What costs more than its operands' evaluation
// has charged is charged by the builtin.
struct Site {
  int line;
  int64_t& steps;
  void charge(size_t n) const;  // Error{Input} when none are left
};
Error at_line(int line, const std::string& what);

// jinja_builtins.cpp: filters, tests and string or mapping methods by name. Arguments that a builtin does not implement
// are an Error{Input}, as is a name that is not known.
Value apply_filter(const std::string& name, const Value& value, const List& arguments, const Arguments& keywords,
                   const Site& site);
bool apply_test(const std::string& name, const Value& value, const List& arguments, const Site& site);
Value call_method(const Value& object, const std::string& name, const List& arguments, const Arguments& keywords,
                  const Site& site);
bool contains(const Value& container, const Value& item, const Site& site);
bool less(const Value& a, const Value& b, const Site& site);
List items_of(const Value& value, const Site& site);
Value attribute(const Value& value, const std::string& name, int line);

}  // namespace attar::jinja
