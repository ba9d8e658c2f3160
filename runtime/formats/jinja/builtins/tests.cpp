// `is` tests, as jinja2 has them.
#include <algorithm>
#include <cmath>

#include "runtime/formats/jinja/interpreter/eval.h"
#include "runtime/formats/jinja/values/case.h"
#include "runtime/formats/jinja/values/print.h"

namespace attar::jinja {
namespace {

bool can_be_iterated(const Value& value) {
  return value.list() != nullptr || value.dict() != nullptr || value.text() != nullptr || value.is_undefined();
}

bool leaves(const Value& value, const Value& divisor, double rest, const Site& site) {
  if (!value.is_number() || !divisor.is_number()) throw at_line(site.line, "the test needs numbers");
  return equal(binary("%", value, divisor, site), rest, site);
}

bool same(const Value& a, const Value& b, const Site& site) {
  if (a.data.index() != b.data.index()) return false;
  if (a.list() != nullptr || a.dict() != nullptr) return a.list() == b.list() && a.dict() == b.dict();
  return equal(a, b, site);
}

bool is_cased(const Value& value, const char* kind, const Site& site) {
  const auto text = to_text(value);
  site.charge(text->size() / 2);
  return is_of_kind(text->bytes, kind);
}

using Given = const Call&;
using Subject = const Value&;
// Sorted by what they ask. Each `*` row takes one value to compare with.
constexpr Builtin kTests[] = {
    {"defined", [](Subject v, Given) -> Value { return !v.is_undefined(); }},
    {"undefined", [](Subject v, Given) -> Value { return v.is_undefined(); }},
    {"none", [](Subject v, Given) -> Value { return v.is_none(); }},
    {"string", [](Subject v, Given) -> Value { return v.text() != nullptr; }},
    {"mapping", [](Subject v, Given) -> Value { return v.dict() != nullptr; }},
    {"boolean", [](Subject v, Given) -> Value { return v.is_bool(); }},
    {"integer", [](Subject v, Given) -> Value { return v.is_int(); }},
    {"float", [](Subject v, Given) -> Value { return v.is_number() && !v.is_whole(); }},
    {"number", [](Subject v, Given) -> Value { return v.is_number(); }},
    {"iterable", [](Subject v, Given) -> Value { return can_be_iterated(v); }},
    {"sequence",
     [](Subject v, Given) -> Value { return can_be_iterated(v) && !v.is(Shape::Generator) && !v.is(Shape::View); }},
    {"callable",
     [](Subject v, Given) -> Value { return v.function() != nullptr || v.is_undefined() || v.loop() != nullptr; }},
    {"true", [](Subject v, Given) -> Value { return v.is_bool() && truthy(v); }},
    {"false", [](Subject v, Given) -> Value { return v.is_bool() && !truthy(v); }},
    {"escaped", [](Subject v, Given) -> Value { return v.text() != nullptr && v.text()->safe; }},
    {"lower", [](Subject v, Given call) -> Value { return is_cased(v, "islower", call.site); }},
    {"upper", [](Subject v, Given call) -> Value { return is_cased(v, "isupper", call.site); }},
    {"odd", [](Subject v, Given call) -> Value { return leaves(v, 2, 1.0, call.site); }},
    {"even", [](Subject v, Given call) -> Value { return leaves(v, 2, 0.0, call.site); }},
    {"divisibleby num!", [](Subject v, Given call) -> Value { return leaves(v, call[0], 0.0, call.site); }},
    {"in seq!", [](Subject v, Given call) -> Value { return contains(call[0], v, call.site); }},
    {"sameas other!", [](Subject v, Given call) -> Value { return same(v, call[0], call.site); }},
    {"filter", [](Subject v, Given call) -> Value { return is_filter(text_of(v, call.site).bytes); }},
    {"test", [](Subject v, Given call) -> Value { return is_test(text_of(v, call.site).bytes); }},
};

// Tests that compare, by all their names.
constexpr std::string_view kComparisons[][2] = {
    {"eq", "=="}, {"equalto", "=="},    {"==", "=="}, {"ne", "!="}, {"!=", "!="},
    {"lt", "<"},  {"lessthan", "<"},    {"<", "<"},   {"le", "<="}, {"<=", "<="},
    {"gt", ">"},  {"greaterthan", ">"}, {">", ">"},   {"ge", ">="}, {">=", ">="},
};

}  // namespace

bool is_test(std::string_view name) {
  return std::any_of(std::begin(kTests), std::end(kTests), [&](const Builtin& test) { return test.name() == name; }) ||
         std::any_of(std::begin(kComparisons), std::end(kComparisons),
                     [&](const auto& test) { return test[0] == name; });
}

bool apply_test(const std::string& name, const Value& value, const Call& call) {
  call.site.charge(work_on(value));
  for (const auto& [known, op] : kComparisons)
    if (known == name) {
      const Call given = bound({"comparison other!", nullptr}, call);
      return compare(std::string(op), value, given[0], call.site);
    }
  for (const Builtin& test : kTests)
    if (test.name() == name) return truthy(test.run(value, bound(test, call)));
  throw at_line(call.site.line, "the test `" + printable(name) + "` is not supported");
}

}  // namespace attar::jinja
