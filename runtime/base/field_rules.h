// What a field of an options struct may hold beyond its type, as data: the checks of recipes, flags and Python
// arguments read it, and so does the JSON Schema that editors check recipes by.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/fields.h"

namespace attar {

struct FieldRule {
  std::string field;
  std::optional<double> least{}, above{}, most{}, below{};  // of a number, and of each number in a list or a map
  bool or_zero = false;                                     // 0 stands for a default
  int64_t multiple_of = 1;
  std::vector<std::string> choices{};  // of a text, and of each text in a list or a map
  bool any_case = false;               // of the choices
  std::vector<std::string> keys{};     // of a map
  bool filled = false;                 // a list has an entry
  bool is_size = false;                // a text that parse_size takes
  std::string words{};                 // what is expected of a value; "": made of the rest
};

// "0 <= x < 1", "a whole number of at least 1", "fast, best or learned"
std::string expected_by(const FieldRule& rule, bool whole_number);
std::string one_of(const std::vector<std::string>& choices);  // "a, b or c"

// A visitor of an options struct: adds what breaks a rule to `problems`.
class RuleCheck {
 public:
  RuleCheck(std::span<const FieldRule> rules, std::vector<FieldProblem>& problems)
      : rules_(rules), problems_(problems) {}
  void operator()(bool&, const char*, const char*) {}
  void operator()(int64_t& value, const char* name, const char*);
  void operator()(double& value, const char* name, const char*);
  void operator()(std::string& value, const char* name, const char*);
  void operator()(std::vector<std::string>& value, const char* name, const char*);
  void operator()(std::vector<int64_t>& value, const char* name, const char*);
  void operator()(std::map<std::string, double>& value, const char* name, const char*);
  void operator()(std::map<std::string, std::string>& value, const char* name, const char*);
  template <class T>
  void operator()(std::optional<T>& value, const char* name, const char* help) {
    if (value) (*this)(*value, name, help);
  }

 private:
  const FieldRule* rule_of(const std::string& name) const;
  void check(const FieldRule& rule, double value, bool whole, const std::string& place);
  void check(const FieldRule& rule, const std::string& text, const std::string& place);
  bool check_key(const FieldRule& rule, const std::string& key);

  std::span<const FieldRule> rules_;
  std::vector<FieldProblem>& problems_;
};

template <class Options>
std::vector<FieldProblem> broken_rules(const Options& options, std::span<const FieldRule> rules) {
  std::vector<FieldProblem> problems;
  Options copy = options;
  visit_fields(copy, RuleCheck(rules, problems));
  return problems;
}

}  // namespace attar
