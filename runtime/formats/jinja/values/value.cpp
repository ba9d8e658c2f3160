#include "runtime/formats/jinja/values/value.h"

#include <algorithm>
#include <cmath>

namespace attar::jinja {
namespace {

constexpr size_t kManyKeys = 16;
constexpr size_t kMostKey_bytes = 1 << 16;  // of a tuple

// Two keys are the same when their texts are.
std::string key_text(const Value& key) {
  if (const Text* text = key.text()) return "'" + text->bytes;
  if (key.is_missing()) return key.is_none() ? "none" : "undefined";
  if (key.is_number()) {
    const double number = as_number(key);
    if (!key.is_whole() && (std::nearbyint(number) != number || std::fabs(number) > 1e18))
      return std::to_string(number);
    const Whole whole = key.is_whole() ? as_int(key) : Whole{static_cast<int64_t>(number)};
    return std::to_string(static_cast<int64_t>(whole >> 64)) + ":" + std::to_string(static_cast<uint64_t>(whole));
  }
  if (!can_be_key(key)) throw input_error("chat template", "a " + type_name(key) + " cannot be the key of a mapping");
  std::string out = "(";
  for (const Value& item : *key.list()) {
    const std::string one = key_text(item);
    out += std::to_string(one.size()) + one;
    if (out.size() > kMostKey_bytes) throw input_error("chat template", "the key of a mapping is too long");
  }
  return out;
}

int depth_around(const Value& inner, int outer) {
  return std::max(outer, inner.depth() + 1);
}

void check_nesting(int depth) {
  if (depth > kMostNesting) throw input_error("chat template", "a value is nested too deeply", "at most 100 levels");
}

}  // namespace

Error at_line(int line, const std::string& what) {
  return input_error("chat template, line " + std::to_string(line), what);
}

void Site::charge(size_t n) const {
  steps -= static_cast<int64_t>(n);
  if (steps < 0) throw at_line(line, "the template takes too many steps");
}

Value::Value(List list) {
  if (list.size() > kMostItems) throw input_error("chat template", "a list grows too long", "at most 200000 items");
  list.depth = 1;
  for (const Value& item : list) list.depth = depth_around(item, list.depth);
  list.can_be_key = (list.shape == Shape::Tuple || list.shape == Shape::Group) &&
                    std::all_of(list.begin(), list.end(), jinja::can_be_key);
  check_nesting(list.depth);
  data = std::make_shared<List>(std::move(list));
}

Value::Value(Dict dict) {
  if (dict.size() > kMostItems) throw input_error("chat template", "a mapping grows too long", "at most 200000 keys");
  dict.depth = 1;
  for (const auto& [key, item] : dict) dict.depth = depth_around(item, depth_around(key, dict.depth));
  check_nesting(dict.depth);
  data = std::make_shared<Dict>(std::move(dict));
}

Value::Value(Function function) {
  check_nesting(function.depth);
  data = std::make_shared<Function>(std::move(function));
}

bool Value::is(Shape shape) const {
  return list() != nullptr && list()->shape == shape;
}

int Value::depth() const {
  if (list() != nullptr) return list()->depth;
  if (dict() != nullptr) return dict()->depth;
  return function() != nullptr ? function()->depth : 0;
}

Dict::Dict(std::initializer_list<Entry> entries) {
  for (const Entry& entry : entries) assign(entry.first, entry.second);
}

size_t Dict::place(const Value& key) const {
  if (places_.empty()) {
    const auto same = [&](const Entry& entry) { return same_key(entry.first, key); };
    return static_cast<size_t>(std::find_if(entries_.begin(), entries_.end(), same) - entries_.begin());
  }
  const auto found = places_.find(key_text(key));
  return found != places_.end() ? found->second : entries_.size();
}

const Value* Dict::find(const Value& key) const {
  const size_t at = place(key);
  return at < entries_.size() ? &entries_[at].second : nullptr;
}

void Dict::assign(Value key, Value value) {
  std::string text = key_text(key);
  if (const size_t at = place(key); at < entries_.size()) return void(entries_[at].second = std::move(value));
  entries_.emplace_back(std::move(key), std::move(value));
  if (!places_.empty()) {
    places_.emplace(std::move(text), entries_.size() - 1);
  } else if (entries_.size() == kManyKeys) {
    for (size_t i = 0; i < entries_.size(); ++i) places_.emplace(key_text(entries_[i].first), i);
  }
}

const Value* Call::keyword(std::string_view name) const {
  for (const auto& [given, value] : named)
    if (given.bytes == name) return &value;
  return nullptr;
}

bool truthy(const Value& value) {
  if (value.is_missing()) return false;
  if (value.text() != nullptr) return !value.text()->empty();
  if (value.list() != nullptr) return value.is(Shape::Generator) || !value.list()->empty();
  if (value.dict() != nullptr) return !value.dict()->empty();
  return !value.is_number() || as_number(value) != 0.0;
}

size_t work_on(const Value& value) {
  return 1 + (value.text() != nullptr ? value.text()->size() / 16 : 0);
}

Whole as_int(const Value& value) {
  return value.is_bool() ? Whole{std::get<bool>(value.data)} : std::get<Whole>(value.data);
}

int64_t clamped(Whole number) {
  return static_cast<int64_t>(std::clamp<Whole>(number, INT64_MIN, INT64_MAX));
}

double as_number(const Value& value) {
  if (value.is_whole()) return static_cast<double>(as_int(value));
  const auto* number = std::get_if<double>(&value.data);
  return number != nullptr ? *number : 0.0;
}

bool can_be_key(const Value& value) {
  if (value.text() != nullptr || value.is_missing() || value.is_number()) return true;
  return value.list() != nullptr && value.list()->can_be_key;
}

bool same_key(const Value& a, const Value& b) {
  if (const Text* x = a.text(), *y = b.text(); x != nullptr || y != nullptr)
    return x != nullptr && y != nullptr && x->bytes == y->bytes;
  return key_text(a) == key_text(b);
}

bool equal(const Value& a, const Value& b, const Site& site) {
  site.charge(1);
  if (a.is_whole() && b.is_whole()) return as_int(a) == as_int(b);
  if (a.is_number() && b.is_number()) return as_number(a) == as_number(b);
  if (a.data.index() != b.data.index()) return false;
  if (const Text* text = a.text()) {
    site.charge(text->size() / 256);
    return text->bytes == b.text()->bytes;
  }
  if (const List* x = a.list(), *y = b.list(); x != nullptr) {
    if (x == y) return true;
    const auto kind = [](Shape shape) { return shape == Shape::Group ? Shape::Tuple : shape; };
    if (kind(x->shape) != kind(y->shape) || x->shape == Shape::Generator || x->size() != y->size()) return false;
    return std::equal(x->begin(), x->end(), y->begin(),
                      [&](const Value& one, const Value& other) { return equal(one, other, site); });
  }
  if (const Dict* x = a.dict(), *y = b.dict(); x != nullptr)
    return x->size() == y->size() && std::all_of(x->begin(), x->end(), [&](const auto& entry) {
             const Value* other = y->find(entry.first);
             return other != nullptr && equal(entry.second, *other, site);
           });
  return a.is_missing() || (a.function() == b.function() && a.space() == b.space() && a.loop() == b.loop());
}

bool less(const Value& a, const Value& b, const Site& site) {
  site.charge(1);
  if (a.is_whole() && b.is_whole()) return as_int(a) < as_int(b);
  if (a.is_number() && b.is_number()) return as_number(a) < as_number(b);
  if (a.text() != nullptr && b.text() != nullptr) {
    site.charge(std::min(a.text()->size(), b.text()->size()) / 256);
    return a.text()->bytes < b.text()->bytes;
  }
  const List *x = a.list(), *y = b.list();
  if (x == nullptr || y == nullptr || x->shape != y->shape || x->shape > Shape::Group)
    throw at_line(site.line, "cannot compare a " + type_name(a) + " with a " + type_name(b));
  for (size_t i = 0; i < std::min(x->size(), y->size()); ++i)
    if (!equal((*x)[i], (*y)[i], site)) return less((*x)[i], (*y)[i], site);
  return x->size() < y->size();
}

std::string type_name(const Value& value) {
  static constexpr const char* kNames[] = {"undefined", "none",    "boolean",  "integer",   "float", "string",
                                           "list",      "mapping", "function", "namespace", "loop"};
  return value.is(Shape::Generator) ? "generator" : value.is(Shape::Tuple) ? "tuple" : kNames[value.data.index()];
}

}  // namespace attar::jinja
