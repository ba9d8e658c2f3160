// Filters of lists and mappings, as jinja2 has them, and the door to all filters.
#include <algorithm>
#include <charconv>

#include "runtime/formats/jinja/builtins/filters.h"
#include "runtime/formats/jinja/values/case.h"
#include "runtime/formats/jinja/values/print.h"
#include "runtime/formats/jinja/values/text.h"

namespace attar::jinja {
namespace {

using Given = const Call&;
using Subject = const Value&;

// What `fill` puts into a list. As in Python nothing is worked out before it is asked for, so neither does it fail
// before.
Value generated(const std::function<void(List&)>& fill) {
  List out;
  out.shape = Shape::Generator;
  try {
    fill(out);
  } catch (const Error& error) {
    out.failure = std::make_shared<const Error>(error);
  }
  return out;
}

Value length_of(const Value& value, const Call& call) {
  if (value.is_undefined()) return 0;
  if (value.list() != nullptr && !value.is(Shape::Generator)) return value.list()->size();
  if (value.dict() != nullptr) return value.dict()->size();
  if (value.text() == nullptr) throw at_line(call.site.line, "a " + type_name(value) + " has no length");
  return count_characters(value.text()->bytes);
}

List pairs_of(const Value& value, const Site& site) {
  if (value.dict() == nullptr) throw at_line(site.line, "needs a mapping, got a " + type_name(value));
  List out;
  for (const auto& [key, item] : *value.dict()) {
    List pair{key, item};
    pair.shape = Shape::Tuple;
    out.emplace_back(std::move(pair));
  }
  return out;
}

Value items_filter(const Value& value, const Call& call) {
  return generated([&](List& out) {
    if (!value.is_undefined()) static_cast<std::vector<Value>&>(out) = pairs_of(value, call.site);
  });
}

// select, reject, selectattr, rejectattr. What is false in itself (none, an empty text) has no items.
enum class Keep { Fits, Fails };
enum class Of { Items, Attributes };
Value chosen(const Value& value, const Call& call, Of of, Keep keep) {
  size_t used = 0;
  const auto next = [&] { return used < call.positional.size() ? call[used++] : Value(); };
  const Value path = of == Of::Attributes ? next() : Value();
  if (of == Of::Attributes && path.is_undefined()) throw at_line(call.site.line, "needs an attribute");
  const Value test = next();
  Call rest{{}, call.named, call.site};
  rest.positional.assign(call.positional.begin() + static_cast<std::ptrdiff_t>(used), call.positional.end());
  return generated([&](List& out) {
    if (!truthy(value)) return;
    for (Value& item : items_of(value, call.site)) {
      const Value subject = attribute_path(item, path, {}, call.site);
      const bool fits =
          test.is_undefined() ? truthy(subject) : apply_test(text_of(test, call.site).bytes, subject, rest);
      if (fits == (keep == Keep::Fits)) out.push_back(std::move(item));
    }
  });
}

Value mapped(const Value& value, const Call& call) {
  const Value *path = call.keyword("attribute"), *fallback = call.keyword("default");
  const bool by_path = call.positional.empty() && path != nullptr;
  if (call.positional.empty() && !by_path) throw at_line(call.site.line, "map needs a filter or an attribute");
  if (by_path && call.named.size() > (fallback != nullptr ? 2 : 1))
    throw at_line(call.site.line, "map takes attribute and default only");
  Call rest{{}, call.named, call.site};
  if (!by_path) rest.positional.assign(call.positional.begin() + 1, call.positional.end());
  return generated([&](List& out) {
    if (!truthy(value)) return;
    for (Value& item : items_of(value, call.site))
      out.push_back(by_path
                        ? attribute_path(std::move(item), *path, fallback != nullptr ? *fallback : Value(), call.site)
                        : apply_filter(text_of(call[0], call.site).bytes, item, rest));
  });
}

enum class Letters { Matter, DoNotMatter };
Letters letters(const Value& case_sensitive) {
  return truthy(case_sensitive) ? Letters::Matter : Letters::DoNotMatter;
}
Value key_of(const Value& item, const Value& path, Letters letters, const Site& site) {
  Value key = attribute_path(item, path, {}, site);
  return letters == Letters::DoNotMatter && key.text() != nullptr ? Value(lower_cased(*key.text())) : key;
}

enum class Order { Rising, Falling };
List sorted(const List& items, const std::function<List(const Value&)>& keys, Order order, const Site& site) {
  std::vector<std::pair<List, Value>> keyed;
  for (const Value& item : items) keyed.emplace_back(keys(item), item);
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    const auto& [left, right] = order == Order::Falling ? std::tie(b.first, a.first) : std::tie(a.first, b.first);
    for (size_t i = 0; i < left.size(); ++i)
      if (i + 1 == left.size() || !equal(left[i], right[i], site)) return less(left[i], right[i], site);
    return false;
  });
  List out;
  for (auto& entry : keyed) out.push_back(std::move(entry.second));
  return out;
}

// sort(attribute="a,b"): by a, then by b.
Value sorted_filter(const Value& value, const Call& call) {
  List paths;
  if (call[2].text() != nullptr)
    for (const TextView path : split(*call[2].text(), ",", -1, From::Left, call.site.line)) paths.emplace_back(path);
  else
    paths.push_back(call[2]);
  return sorted(
      items_of(value, call.site),
      [&](const Value& item) {
        List keys;
        for (const Value& path : paths) keys.push_back(key_of(item, path, letters(call[1]), call.site));
        return keys;
      },
      truthy(call[0]) ? Order::Falling : Order::Rising, call.site);
}

Value dict_sorted(const Value& value, const Call& call) {
  const std::string by = call[1].is_undefined() ? "key" : to_text(call[1])->bytes;
  if (by != "key" && by != "value") throw at_line(call.site.line, "dictsort goes by key or value");
  return sorted(
      pairs_of(value, call.site),
      [&](const Value& pair) { return List{key_of(pair, by == "key" ? 0 : 1, letters(call[0]), call.site)}; },
      truthy(call[2]) ? Order::Falling : Order::Rising, call.site);
}

Value grouped(const Value& value, const Call& call) {
  const Letters care = letters(call[2]);
  const auto key = [&](const Value& item) {
    Value found = attribute_path(item, call[0], call[1], call.site);
    return care == Letters::DoNotMatter && found.text() != nullptr ? Value(lower_cased(*found.text())) : found;
  };
  const List items = sorted(
      items_of(value, call.site), [&](const Value& v) { return List{key(v)}; }, Order::Rising, call.site);
  List out, members;
  for (size_t i = 0; i < items.size(); ++i) {
    members.push_back(items[i]);
    if (i + 1 < items.size() && equal(key(items[i]), key(items[i + 1]), call.site)) continue;
    List group{attribute_path(members[0], call[0], call[1], call.site), Value()};
    group[1] = std::exchange(members, List{});
    group.shape = Shape::Group;
    out.emplace_back(std::move(group));
  }
  return out;
}

Value unique(const Value& value, const Call& call) {
  return generated([&](List& out) {
    Dict seen;
    for (Value& item : items_of(value, call.site)) {
      call.site.charge(1);
      Value key = key_of(item, call[1], letters(call[0]), call.site);
      if (seen.find(key) != nullptr) continue;
      seen.assign(std::move(key), None{});
      out.push_back(std::move(item));
    }
  });
}

Value extreme(const Value& value, const Call& call, Order order) {
  Value best, best_key;
  bool first = true;
  for (Value& item : items_of(value, call.site)) {
    Value key = key_of(item, call[1], letters(call[0]), call.site);
    if (!first && !(order == Order::Rising ? less(key, best_key, call.site) : less(best_key, key, call.site))) continue;
    best = std::move(item);
    best_key = std::move(key);
    first = false;
  }
  return best;
}

Value sum_of(const Value& value, const Call& call) {
  Value sum = call[1].is_undefined() ? Value(0) : call[1];
  if (sum.text() != nullptr) throw at_line(call.site.line, "sum adds no texts");
  for (const Value& item : items_of(value, call.site))
    sum = binary("+", sum, attribute_path(item, call[0], {}, call.site), call.site);
  return sum;
}

Value joined(const Value& value, const Call& call) {
  const auto separator = to_text(call[0]);
  Text out;
  bool first = true;
  for (const Value& item : items_of(value, call.site)) {
    if (!first) out.append(*separator);
    const auto part = to_text(attribute_path(item, call[1], {}, call.site));
    out.append(*part);
    first = false;
  }
  return out;
}

Value first_of(const Value& value, const Call& call) {
  List* list = value.list();
  if (list == nullptr || list->shape != Shape::Generator) {
    const List items = items_of(value, call.site);
    return items.empty() ? Value() : items.front();
  }
  const bool empty = list->used == list->size();
  if (empty && list->failure != nullptr) throw Error(*list->failure);
  if (empty) return {};
  return (*list)[list->used++];
}

Value last_of(const Value& value, const Call& call) {
  if (value.is(Shape::Generator)) throw at_line(call.site.line, "a generator has no last item; add `| list`");
  const List items = items_of(value, call.site);
  return items.empty() ? Value() : items.back();
}

Value reversed(const Value& value, const Call& call) {
  List items = items_of(value, call.site);
  std::reverse(items.begin(), items.end());
  if (value.is(Shape::Generator)) return items;
  items.shape = Shape::Generator;
  if (value.text() == nullptr) return items;
  Text out;
  for (const Value& letter : items) out.append(*letter.text());
  return out;
}

Value batched(const Value& value, const Call& call) {
  return generated([&](List& out) {
    const Whole size = int_or(call[0], 0, call.site);
    List batch;
    for (Value& item : items_of(value, call.site)) {
      if (static_cast<Whole>(batch.size()) == size) out.emplace_back(std::exchange(batch, List{}));
      batch.push_back(std::move(item));
    }
    if (batch.empty()) return;
    if (!call[1].is_missing()) {
      call.site.charge(static_cast<size_t>(clamped(std::max<Whole>(size, 0))));
      while (static_cast<Whole>(batch.size()) < size) batch.push_back(call[1]);
    }
    out.emplace_back(std::move(batch));
  });
}

Value sliced(const Value& value, const Call& call) {
  return generated([&](List& out) {
    const List items = items_of(value, call.site);
    const Whole n_slices = int_or(call[0], 0, call.site), n = static_cast<Whole>(items.size());
    if (n_slices < 1) throw at_line(call.site.line, "slice needs a number above 0");
    size_t at = 0;
    for (Whole i = 0; i < n_slices; ++i) {
      call.site.charge(16);
      if (out.size() >= kMostItems) throw at_line(call.site.line, "a list grows too long");
      List slice;
      for (Whole length = n / n_slices + (i < n % n_slices); length > 0; --length) slice.push_back(items[at++]);
      if (!call[1].is_missing() && i >= n % n_slices) slice.push_back(call[1]);
      out.emplace_back(std::move(slice));
    }
  });
}

constexpr Builtin kFilters[] = {
    {"length", length_of},
    {"list", [](Subject v, Given call) -> Value { return items_of(v, call.site); }},
    {"items", items_filter},
    {"join d attribute", joined},
    {"first", first_of},
    {"last", last_of},
    {"random", first_of},  // any item will do, and the same chat gives the same text
    {"reverse", reversed},
    {"sort reverse case_sensitive attribute", sorted_filter},
    {"dictsort case_sensitive by reverse", dict_sorted},
    {"groupby attribute! default case_sensitive", grouped},
    {"unique case_sensitive attribute", unique},
    {"min case_sensitive attribute", [](Subject v, Given call) { return extreme(v, call, Order::Rising); }},
    {"max case_sensitive attribute", [](Subject v, Given call) { return extreme(v, call, Order::Falling); }},
    {"sum attribute start", sum_of},
    {"batch linecount! fill_with", batched},
    {"slice slices! fill_with", sliced},
    {"map *", mapped},
    {"select *", [](Subject v, Given call) { return chosen(v, call, Of::Items, Keep::Fits); }},
    {"reject *", [](Subject v, Given call) { return chosen(v, call, Of::Items, Keep::Fails); }},
    {"selectattr *", [](Subject v, Given call) { return chosen(v, call, Of::Attributes, Keep::Fits); }},
    {"rejectattr *", [](Subject v, Given call) { return chosen(v, call, Of::Attributes, Keep::Fails); }},
};

const Builtin* filter_named(std::string_view name) {
  if (name == "count") name = "length";
  if (name == "d") name = "default";
  if (name == "e") name = "escape";
  for (const auto& filters : {text_filters(), list_filters()})
    for (const Builtin& filter : filters)
      if (filter.name() == name) return &filter;
  return nullptr;
}

}  // namespace

std::span<const Builtin> list_filters() {
  return kFilters;
}

Value attribute_path(Value value, const Value& path, const Value& fallback, const Site& site) {
  if (path.is_missing()) return value;
  if (path.text() == nullptr) {
    value = item(value, path, site);
    return value.is_undefined() ? fallback : value;
  }
  for (const TextView part : split(*path.text(), ".", -1, From::Left, site.line)) {
    int64_t place = 0;
    const char* end = part.bytes.data() + part.size();
    const bool is_place = !part.empty() && part.bytes.find_first_not_of("0123456789") == std::string_view::npos &&
                          std::from_chars(part.bytes.data(), end, place).ptr == end;
    value = item(value, is_place ? Value(place) : Value(part), site);
    if (value.is_undefined() && !fallback.is_undefined()) value = fallback;
  }
  return value;
}

bool is_filter(std::string_view name) {
  return filter_named(name) != nullptr;
}

Value apply_filter(const std::string& name, const Value& value, const Call& call) {
  call.site.charge(work_on(value));
  const Builtin* filter = filter_named(name);
  if (filter == nullptr) throw at_line(call.site.line, "the filter `" + printable(name) + "` is not supported");
  return filter->run(value, bound(*filter, call));
}

}  // namespace attar::jinja
