// Operators and subscripts, as Python has them.
#include <algorithm>
#include <cmath>
#include <optional>

#include "runtime/formats/jinja/builtins/format.h"
#include "runtime/formats/jinja/interpreter/eval.h"
#include "runtime/formats/jinja/values/print.h"
#include "runtime/formats/jinja/values/text.h"

namespace attar::jinja {
namespace {

Error too_large(const Site& site) {
  return at_line(site.line, "a whole number grows too large");
}

Whole floor_quotient(Whole a, Whole b) {
  return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

Value power(const Value& base, const Value& exponent, const Site& site) {
  if (!base.is_whole() || !exponent.is_whole() || as_int(exponent) < 0) {
    if (as_number(base) == 0.0 && as_number(exponent) < 0) throw at_line(site.line, "division by zero");
    const double result = std::pow(as_number(base), as_number(exponent));
    if (!std::isfinite(result) && std::isfinite(as_number(base))) throw too_large(site);
    return result;
  }
  Whole result = 1, factor = as_int(base);
  for (Whole left = as_int(exponent); left > 0; left >>= 1) {
    site.charge(1);
    if ((left & 1) != 0 && __builtin_mul_overflow(result, factor, &result)) throw too_large(site);
    if (left > 1 && __builtin_mul_overflow(factor, factor, &factor)) throw too_large(site);
  }
  return result;
}

Value whole_arithmetic(char op, Whole a, Whole b, const Site& site) {  // `/` stands for `//`
  Whole result = 0;
  bool overflows = false;
  if (op == '+')
    overflows = __builtin_add_overflow(a, b, &result);
  else if (op == '-')
    overflows = __builtin_sub_overflow(a, b, &result);
  else if (op == '*')
    overflows = __builtin_mul_overflow(a, b, &result);
  else if (b == -1)  // the least number divided by it does not fit
    overflows = op == '/' && __builtin_sub_overflow(Whole{0}, a, &result);
  else
    result = op == '/' ? floor_quotient(a, b) : a - b * floor_quotient(a, b);
  if (overflows) throw too_large(site);
  return result;
}

Value real_arithmetic(const std::string& op, double a, double b) {
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "/") return a / b;
  double rest = std::fmod(a, b), quotient = (a - rest) / b;
  if (rest != 0.0 && (b < 0) != (rest < 0)) rest += b, quotient -= 1.0;
  if (op == "%") return rest == 0.0 ? std::copysign(0.0, b) : rest;
  const double whole = std::floor(quotient);
  return quotient == 0.0 ? std::copysign(0.0, a / b) : quotient - whole > 0.5 ? whole + 1.0 : whole;
}

Value joined(const Value& left, const Value& right) {
  const Text &a = *left.text(), &b = *right.text();
  if (!a.safe && !b.safe) return Text(a).append(b);
  Text out = a.safe ? a : html_escaped(a);
  out.append(b.safe ? b : html_escaped(b)).safe = true;
  return out;
}

Value repeated_list(const List& list, Whole times) {
  List out;
  out.shape = list.shape;
  if (times > 0 && list.size() * static_cast<double>(times) > kMostItems)
    throw input_error("chat template", "a list grows too long", "at most 200000 items");
  for (Whole i = 0; i < times && !list.empty(); ++i) out.insert(out.end(), list.begin(), list.end());
  return out;
}

std::optional<Value> of_sequences(const std::string& op, const Value& left, const Value& right) {
  const List *a = left.list(), *b = right.list();
  if (op == "+" && left.text() != nullptr && right.text() != nullptr) return joined(left, right);
  if (op == "+" && a != nullptr && b != nullptr && a->shape == b->shape && a->shape <= Shape::Tuple) {
    List both = *a;
    both.insert(both.end(), b->begin(), b->end());
    return both;
  }
  if (op != "*") return std::nullopt;
  if (left.is_whole() && (right.text() != nullptr || b != nullptr)) return of_sequences(op, right, left);
  if (!right.is_whole()) return std::nullopt;
  if (const Text* text = left.text()) {
    Text out = repeated(*text, as_int(right));
    out.safe = text->safe;
    return out;
  }
  if (a != nullptr && a->shape <= Shape::Group) return repeated_list(*a, as_int(right));
  return std::nullopt;
}

Value loop_attribute(const Loop& loop, const std::string& name) {
  const size_t n = loop.items.size(), at = loop.at;
  if (name == "index") return at + 1;
  if (name == "index0") return at;
  if (name == "revindex") return n - at;
  if (name == "revindex0") return n - at - 1;
  if (name == "first") return at == 0;
  if (name == "last") return at + 1 == n;
  if (name == "length") return n;
  if (name == "depth") return loop.nesting + 1;
  if (name == "depth0") return loop.nesting;
  if (name == "previtem" && at > 0) return loop.items[at - 1];
  if (name == "nextitem" && at + 1 < n) return loop.items[at + 1];
  return {};
}

Value loop_method(const std::shared_ptr<Loop>& loop, const std::string& name) {
  if (name == "cycle")
    return Function{name, [loop](const Call& call) -> Value {
                      if (call.positional.empty()) throw at_line(call.site.line, "cycle needs values");
                      return call[loop->at % call.positional.size()];
                    }};
  if (name != "changed") return loop_attribute(*loop, name);
  return Function{name, [loop](const Call& call) -> Value {
                    List now = call.positional;
                    now.shape = Shape::Tuple;
                    const Value before = std::exchange(loop->seen, Value(std::move(now)));
                    return before.is_undefined() || !equal(before, loop->seen, call.site);
                  }};
}

}  // namespace

Value binary(const std::string& op, const Value& left, const Value& right, const Site& site) {
  if (op == "~") return Text(*to_text(left)).append(*to_text(right));
  if (op == "%" && left.text() != nullptr) return percent_formatted(*left.text(), right, site);
  if (std::optional<Value> made = of_sequences(op, left, right)) return *std::move(made);
  if (!left.is_number() || !right.is_number())
    throw at_line(site.line, "cannot apply `" + op + "` to a " + type_name(left) + " and a " + type_name(right));
  if (op == "**") return power(left, right, site);
  if ((op == "/" || op == "//" || op == "%") && as_number(right) == 0.0) throw at_line(site.line, "division by zero");
  if (left.is_whole() && right.is_whole() && op != "/")
    return whole_arithmetic(op[0], as_int(left), as_int(right), site);
  return real_arithmetic(op, as_number(left), as_number(right));
}

bool compare(const std::string& op, const Value& left, const Value& right, const Site& site) {
  if (op == "in") return contains(right, left, site);
  if (op == "not in") return !contains(right, left, site);
  if (op == "==") return equal(left, right, site);
  if (op == "!=") return !equal(left, right, site);
  if (op == "<") return less(left, right, site);
  if (op == ">") return less(right, left, site);
  return op == "<=" ? less(left, right, site) || equal(left, right, site)
                    : less(right, left, site) || equal(left, right, site);
}

bool contains(const Value& container, const Value& item, const Site& site) {
  if (container.is_undefined()) return false;
  if (const Text* text = container.text()) {
    if (item.text() == nullptr) throw at_line(site.line, "`in` on text needs text");
    site.charge(text->size() / 256);
    return find_text(text->bytes, item.text()->bytes) != std::string::npos;
  }
  if (container.dict() != nullptr && !can_be_key(item))
    throw at_line(site.line, "a " + type_name(item) + " cannot be the key of a mapping");
  if (container.dict() != nullptr) return container.dict()->find(item) != nullptr;
  if (List* list = container.list()) {
    const auto from = list->begin() + static_cast<std::ptrdiff_t>(list->used);
    const auto found = std::find_if(from, list->end(), [&](const Value& v) { return equal(v, item, site); });
    const bool any = found != list->end();
    if (!any && list->failure != nullptr) throw Error(*list->failure);
    if (list->shape == Shape::Generator) list->used = static_cast<size_t>(found - list->begin()) + any;
    return any;
  }
  throw at_line(site.line, "`in` needs text, a list or a mapping, got a " + type_name(container));
}

List items_of(const Value& value, const Site& site) {
  List out;
  if (List* list = value.list()) {
    site.charge(list->size() / 16);
    if (list->failure != nullptr) throw Error(*list->failure);
    out.assign(list->begin() + static_cast<std::ptrdiff_t>(list->used), list->end());
    if (list->shape == Shape::Generator) list->clear(), list->used = 0;
  } else if (value.dict() != nullptr) {
    for (const auto& entry : *value.dict()) out.emplace_back(entry.first);
  } else if (value.text() != nullptr) {
    for (const TextView character : characters(*value.text(), site)) out.emplace_back(character);
  } else if (!value.is_undefined()) {
    throw at_line(site.line, "a " + type_name(value) + " cannot be iterated");
  }
  return out;
}

Value attribute(const Value& value, const std::string& name, const Site& site) {
  if (value.is_undefined()) throw at_line(site.line, "`" + printable(name) + "` of something undefined");
  if (const auto* loop = std::get_if<std::shared_ptr<Loop>>(&value.data)) return loop_method(*loop, name);
  const auto or_none = [](const Value* found) { return found != nullptr ? *found : Value(); };
  if (value.space() != nullptr) return or_none(value.space()->attributes.find(Value(name)));
  if (value.is(Shape::Group) && (name == "grouper" || name == "list")) return (*value.list())[name == "list"];
  bool known = false;
  Value found;
  if (value.text() != nullptr) found = method(value, Owner::Text, name, known);
  if (value.list() != nullptr && value.list()->shape <= Shape::Range) found = method(value, Owner::List, name, known);
  if (value.dict() != nullptr) found = method(value, Owner::Dict, name, known);
  if (known || value.dict() == nullptr) return found;
  return or_none(value.dict()->find(Value(name)));
}

Value item(const Value& value, const Value& key, const Site& site) {
  if (value.is_undefined()) throw at_line(site.line, "an item of something undefined");
  const Text* text = value.text();
  const bool indexed = value.list() != nullptr && value.list()->shape <= Shape::Range;
  if (key.is_whole() && (indexed || text != nullptr)) {
    const int64_t n = indexed ? static_cast<int64_t>(value.list()->size()) : count_characters(text->bytes);
    const Whole at = as_int(key) < 0 ? as_int(key) + n : as_int(key);
    if (at < 0 || at >= n) return {};
    if (indexed) return (*value.list())[static_cast<size_t>(at)];
    site.charge(text->size() / 64);
    const size_t begin = byte_of(text->bytes, static_cast<int64_t>(at));
    Text letter(TextView(*text).substr(begin, character_length(text->bytes, begin)));
    letter.safe = text->safe;
    return letter;
  }
  if (value.dict() != nullptr && can_be_key(key))
    if (const Value* found = value.dict()->find(key)) return *found;
  return key.text() != nullptr ? attribute(value, key.text()->bytes, site) : Value();
}

Value slice(const Value& value, const Value (&parts)[3], const Site& site) {
  const bool listed = value.list() != nullptr && value.list()->shape <= Shape::Range;
  if (!listed && value.text() == nullptr) throw at_line(site.line, "a " + type_name(value) + " cannot be sliced");
  for (const Value& part : parts)
    if (!part.is_none() && !part.is_whole()) throw at_line(site.line, "a slice needs whole numbers");
  const List items = items_of(value, site);
  const auto n = static_cast<int64_t>(items.size());
  const auto given = [&](size_t i, int64_t fallback) {
    return parts[i].is_none() ? fallback : clamped(as_int(parts[i]));
  };
  const int64_t stride = std::clamp(given(2, 1), -n - 1, n + 1);  // further steps end the same way
  if (stride == 0) throw at_line(site.line, "a slice cannot step by 0");
  const auto bound = [&](size_t i, int64_t fallback) {
    if (parts[i].is_none()) return fallback;
    const int64_t at = given(i, 0) < 0 ? given(i, 0) + n : given(i, 0);
    return std::clamp<int64_t>(at, stride > 0 ? 0 : -1, stride > 0 ? n : n - 1);
  };
  const int64_t begin = bound(0, stride > 0 ? 0 : n - 1), end = bound(1, stride > 0 ? n : -1);
  List out;
  if (listed) out.shape = value.list()->shape == Shape::Group ? Shape::Tuple : value.list()->shape;
  for (int64_t i = begin; stride > 0 ? i < end : i > end; i += stride) out.push_back(items[static_cast<size_t>(i)]);
  if (listed) return out;
  Text text;
  for (const Value& letter : out) text.append(*letter.text());
  text.safe = value.text()->safe;
  return text;
}

Whole int_or(const Value& value, Whole fallback, const Site& site) {
  if (value.is_missing()) return fallback;
  if (!value.is_whole()) throw at_line(site.line, "needs a whole number, got a " + type_name(value));
  return as_int(value);
}

const Text& text_of(const Value& value, const Site& site) {
  if (value.text() == nullptr) throw at_line(site.line, "needs text, got a " + type_name(value));
  return *value.text();
}

Whole whole_part(double number, const Site& site) {
  if (!(std::fabs(number) < 1.7e38)) throw at_line(site.line, "a number is too large, or none");
  return static_cast<Whole>(number);
}

}  // namespace attar::jinja
