// Functions that templates find without anybody's giving them.
#include "runtime/formats/jinja/interpreter/eval.h"
#include "runtime/formats/jinja/values/text.h"

namespace attar::jinja {
namespace {

constexpr int64_t kLongestRange = 100'000;  // jinja2's sandbox allows as much

Value range(const Call& call) {
  const size_t n = call.positional.size();
  if (n < 1 || n > 3 || !call.named.empty()) throw at_line(call.site.line, "range needs one to three numbers");
  Whole numbers[3] = {0, 0, 1};
  for (size_t i = 0; i < n; ++i) {
    if (!call[i].is_whole()) throw at_line(call.site.line, "range needs whole numbers, got a " + type_name(call[i]));
    numbers[n == 1 ? 1 : i] = as_int(call[i]);
  }
  const auto [begin, end, step] = numbers;
  if (step == 0) throw at_line(call.site.line, "range cannot step by 0");
  List out;
  out.shape = Shape::Range;
  for (Whole i = begin; step > 0 ? i < end : i > end;) {
    if (static_cast<int64_t>(out.size()) >= kLongestRange)
      throw at_line(call.site.line, "range is too long: at most 100000 numbers");
    out.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  const std::string by = step != 1 ? ", " + std::to_string(clamped(step)) : "";
  out.shown = "range(" + std::to_string(clamped(begin)) + ", " + std::to_string(clamped(end)) + by + ")";
  return out;
}

// dict(pairs or mapping, name=value, ...), as of Python.
Dict dict_of(const Call& call) {
  if (call.positional.size() > 1) throw at_line(call.site.line, "takes one mapping at most");
  Dict out;
  if (!call.positional.empty() && call[0].dict() != nullptr) {
    out = *call[0].dict();
  } else if (!call.positional.empty()) {
    for (const Value& pair : items_of(call[0], call.site)) {
      const List both = items_of(pair, call.site);
      if (both.size() != 2) throw at_line(call.site.line, "a mapping is made of pairs");
      out.assign(both[0], both[1]);
    }
  }
  for (const auto& [name, value] : call.named) out.assign(Value(name), value);
  return out;
}

Value joiner(const Call& call) {
  const Value separator = call.positional.empty() ? Value(", ") : call[0];
  return Function{"joiner",
                  [separator, used = std::make_shared<bool>(false)](const Call&) -> Value {
                    return std::exchange(*used, true) ? separator : Value("");
                  },
                  separator.depth() + 1};
}

Value cycler(const Call& call, Spaces& spaces) {
  if (call.positional.empty()) throw at_line(call.site.line, "cycler needs values");
  call.site.charge(16);  // it stays until the end
  const auto space = std::make_shared<Namespace>();
  spaces.push_back(space);
  const auto go = [at = std::make_shared<size_t>(0), items = call.positional, whole = space.get()](bool on) -> Value {
    const Value& before = items[*at];
    *at = on ? (*at + 1) % items.size() : 0;
    whole->attributes.assign(Value("current"), items[*at]);
    return on ? before : Value(None{});
  };
  space->attributes = {{"next", Function{"next", [go](const Call&) { return go(true); }}},
                       {"reset", Function{"reset", [go](const Call&) { return go(false); }}},
                       {"current", call[0]}};
  return space;
}

Value refused(const Call& call) {
  throw at_line(call.site.line, "lipsum is not supported");
}

}  // namespace

void add_globals(Dict& globals, Spaces& spaces) {
  const auto add = [&](const char* name, Callable body) { globals.assign(name, Function{name, std::move(body)}); };
  add("range", range);
  add("dict", [](const Call& call) -> Value { return dict_of(call); });
  add("joiner", joiner);
  add("cycler", [&spaces](const Call& call) { return cycler(call, spaces); });
  add("namespace", [&spaces](const Call& call) -> Value {
    call.site.charge(16);  // it stays until the end
    const auto space = std::make_shared<Namespace>();
    space->attributes = dict_of(call);
    spaces.push_back(space);
    return space;
  });
  add("lipsum", refused);
  globals.assign("self", std::make_shared<Namespace>());
}

}  // namespace attar::jinja
