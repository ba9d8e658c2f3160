// Runs a syntax tree. Nothing of the host can be reached: values are data, and the functions are those of
// jinja_builtins.
#pragma once

#include <string>

#include "runtime/formats/jinja_parser.h"

namespace attar::jinja {

struct Limits {
  int64_t steps = 5'000'000;
  int depth = 150;
  size_t output_bytes = size_t{16} << 20;
};

// `globals` are the variables the template sees. Error{Input} naming the line.
std::string render(const Node& program, const Dict& globals, const Limits& limits = {});

// jinja_builtins.cpp: filters, tests and string or mapping methods by name.
Value apply_filter(const std::string& name, const Value& value, const List& arguments, const Arguments& keywords,
                   int line);
bool apply_test(const std::string& name, const Value& value, const List& arguments, int line);
Value call_method(const Value& object, const std::string& name, const List& arguments, int line);
bool contains(const Value& container, const Value& item, int line);
bool less(const Value& a, const Value& b, int line);

}  // namespace attar::jinja
