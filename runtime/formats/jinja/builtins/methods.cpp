// Methods of Python's str, list and dict. Those that would change their object are undefined, as in a sandbox of
// jinja2's.
#include <algorithm>

#include "runtime/formats/jinja/builtins/format.h"
#include "runtime/formats/jinja/interpreter/eval.h"
#include "runtime/formats/jinja/values/case.h"
#include "runtime/formats/jinja/values/print.h"
#include "runtime/formats/jinja/values/text.h"

namespace attar::jinja {
namespace {

using Given = const Call&;
using Subject = const Value&;

List list_of(const std::vector<TextView>& parts) {
  List out;
  for (const TextView part : parts) out.emplace_back(part);
  return out;
}

List pairs_of(const Dict& dict) {
  List out;
  for (const auto& [key, item] : dict) {
    List pair{key, item};
    pair.shape = Shape::Tuple;
    out.emplace_back(std::move(pair));
  }
  return out;
}

Value view(List items, const char* name) {
  items.shape = Shape::View;
  items.shown = name;
  return items;
}

const Text* chars(const Call& call) {
  return call[0].is_missing() ? nullptr : &text_of(call[0], call.site);
}

Value split_method(const Value& self, const Call& call, From from) {
  const int64_t most = clamped(int_or(call[1], -1, call.site));
  if (call[0].is_missing()) return list_of(split_at_blanks(*self.text(), most, from));
  return list_of(split(*self.text(), text_of(call[0], call.site).bytes, most, from, call.site.line));
}

// The part of the text that the optional [start, end) of `call`'s arguments 1 and 2 leave, and where it begins.
struct Part {
  std::string_view text;
  size_t begin;  // bytes
  bool beyond;   // it would begin behind the text's end
};
Part part_of(const Value& self, const Call& call) {
  const std::string_view text = self.text()->bytes;
  call.site.charge(text.size() / 256);
  const Whole start = int_or(call[1], 0, call.site);
  const bool whole = call[1].is_missing() && call[2].is_missing();
  const size_t begin = whole ? 0 : byte_of(text, clamped(start));
  const size_t end = call[2].is_missing() ? text.size() : byte_of(text, clamped(int_or(call[2], 0, call.site)));
  return {text.substr(begin, end > begin ? end - begin : 0), begin,
          start > 0 && (start > count_characters(text) || begin > end)};
}

enum class Side { First, Last };
int64_t found_at(const Value& self, const Call& call, Side side) {
  const Part part = part_of(self, call);
  const std::string_view wanted = text_of(call[0], call.site).bytes;
  const size_t at = part.beyond           ? std::string_view::npos
                    : side == Side::First ? find_text(part.text, wanted)
                                          : find_last(part.text, wanted);
  if (at == std::string_view::npos) return -1;
  return count_characters(std::string_view(self.text()->bytes).substr(0, part.begin + at));
}

Value index_of(const Value& self, const Call& call, Side side) {
  const int64_t at = found_at(self, call, side);
  if (at < 0) throw at_line(call.site.line, "a text is not found by index");
  return at;
}

Value has_end(const Value& self, const Call& call, Ends end) {
  const Part part = part_of(self, call);
  const auto fits = [&](const Value& one) {
    const std::string& wanted = text_of(one, call.site).bytes;
    return !part.beyond && (end == Ends::Left ? part.text.starts_with(wanted) : part.text.ends_with(wanted));
  };
  if (!call[0].is(Shape::Tuple)) return fits(call[0]);
  return std::any_of(call[0].list()->begin(), call[0].list()->end(), fits);
}

Value without_end(const Value& self, const Call& call, Ends end) {
  const TextView text = *self.text();
  const std::string& gone = text_of(call[0], call.site).bytes;
  if (end == Ends::Left) return text.bytes.starts_with(gone) ? text.substr(gone.size()) : text;
  return text.bytes.ends_with(gone) ? text.substr(0, text.size() - gone.size()) : text;
}

Value parted(const Value& self, const Call& call, Side side) {
  const TextView text = *self.text();
  const Text& by = text_of(call[0], call.site);
  if (by.empty()) throw at_line(call.site.line, "cannot split at an empty text");
  const size_t at = side == Side::First ? find_text(text.bytes, by.bytes) : find_last(text.bytes, by.bytes);
  List out;
  if (at != std::string_view::npos)
    out = {Value(text.substr(0, at)), Value(text.substr(at, by.size())), Value(text.substr(at + by.size()))};
  else if (side == Side::First)
    out = {self, Value(""), Value("")};
  else
    out = {Value(""), Value(""), self};
  out.shape = Shape::Tuple;
  return out;
}

// `left`: which share of the missing characters goes to the left, in halves.
Value padded(const Value& self, const Call& call, int left) {
  const TextView text = *self.text();
  const Text fill = call[1].is_undefined() ? Text(std::string(" ")) : text_of(call[1], call.site);
  if (count_characters(fill.bytes) != 1) throw at_line(call.site.line, "the filling must be one character");
  const Whole width = int_or(call[0], 0, call.site);
  const Whole missing = std::max<Whole>(width - count_characters(text.bytes), 0);
  const Whole before = left == 1 ? missing / 2 + (missing & width & 1) : left == 2 ? missing : 0;
  return repeated(fill, before).append(text).append(repeated(fill, missing - before));
}

Value filled_with_zeros(const Value& self, const Call& call) {
  const TextView text = *self.text();
  const Whole missing = int_or(call[0], 0, call.site) - count_characters(text.bytes);
  const size_t sign = text.bytes.starts_with('-') || text.bytes.starts_with('+');
  return Text(text.substr(0, sign)).append(repeated("0", missing)).append(text.substr(sign));
}

Value tabs_expanded(const Value& self, const Call& call) {
  const Whole size = int_or(call[0], 8, call.site);
  Whole column = 0;
  return with_each_character(*self.text(), [&](std::string_view character, std::string& to) {
    if (character != "\t") {
      to += character;
      column = character == "\n" || character == "\r" ? 0 : column + 1;
    } else if (size > 0) {
      to += repeated(" ", size - column % size).bytes;
      column = 0;
    }
  });
}

Value joined(const Value& self, const Call& call) {
  const List parts = items_of(call[0], call.site);
  Text out;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) out.append(*self.text());
    const Text& part = text_of(parts[i], call.site);
    out.append(self.text()->safe && !part.safe ? html_escaped(part) : part);
  }
  return out;
}

Value replaced_in(const Value& self, const Call& call) {
  const Text& to = text_of(call[1], call.site);
  return replaced(*self.text(), text_of(call[0], call.site).bytes,
                  self.text()->safe && !to.safe ? html_escaped(to) : to, clamped(int_or(call[2], -1, call.site)));
}

Value is_identifier(const Value& self, const Call&) {
  const std::string& text = self.text()->bytes;
  const auto fits = [](unsigned char c) { return c == '_' || c >= 0x80 || std::isalnum(c) != 0; };
  return !text.empty() && std::isdigit(static_cast<unsigned char>(text[0])) == 0 &&
         std::all_of(text.begin(), text.end(), fits);
}

Value index_in_list(const Value& self, const Call& call) {
  const List& list = *self.list();
  for (size_t i = 0; i < list.size(); ++i)
    if (equal(list[i], call[0], call.site)) return i;
  throw at_line(call.site.line, "a value is not found by index");
}

Value got(const Value& self, const Call& call) {
  if (call[0].list() != nullptr || call[0].dict() != nullptr)
    throw at_line(call.site.line, "a " + type_name(call[0]) + " cannot be the key of a mapping");
  const Value* found = self.dict()->find(call[0]);
  return found != nullptr ? *found : call[1].is_undefined() ? Value(None{}) : call[1];
}

Value is_kind(const Value& self, const char* kind, const Call& call) {
  call.site.charge(self.text()->size() / 2);
  return is_of_kind(self.text()->bytes, kind);
}

constexpr Builtin kMethods[] = {
    {"strip chars",
     [](Subject v, Given call) -> Value { return stripped(*v.text(), chars(call), Ends::Both, call.site); }},
    {"lstrip chars",
     [](Subject v, Given call) -> Value { return stripped(*v.text(), chars(call), Ends::Left, call.site); }},
    {"rstrip chars",
     [](Subject v, Given call) -> Value { return stripped(*v.text(), chars(call), Ends::Right, call.site); }},
    {"upper", [](Subject v, Given) -> Value { return upper_cased(*v.text()); }},
    {"lower", [](Subject v, Given) -> Value { return lower_cased(*v.text()); }},
    {"casefold", [](Subject v, Given) -> Value { return case_folded(*v.text()); }},
    {"swapcase", [](Subject v, Given) -> Value { return case_swapped(*v.text()); }},
    {"capitalize", [](Subject v, Given) -> Value { return capitalized(*v.text()); }},
    {"title", [](Subject v, Given) -> Value { return title_cased(*v.text(), Words::Letters); }},
    {"split sep maxsplit", [](Subject v, Given call) { return split_method(v, call, From::Left); }},
    {"rsplit sep maxsplit", [](Subject v, Given call) { return split_method(v, call, From::Right); }},
    {"splitlines keepends",
     [](Subject v, Given call) -> Value {
       return list_of(split_lines(*v.text(), truthy(call[0]) ? LineEnds::Kept : LineEnds::Dropped));
     }},
    {"partition sep!", [](Subject v, Given call) { return parted(v, call, Side::First); }},
    {"rpartition sep!", [](Subject v, Given call) { return parted(v, call, Side::Last); }},
    {"replace old! new! count", replaced_in},
    {"removeprefix prefix!", [](Subject v, Given call) { return without_end(v, call, Ends::Left); }},
    {"removesuffix suffix!", [](Subject v, Given call) { return without_end(v, call, Ends::Right); }},
    {"startswith prefix! start end", [](Subject v, Given call) { return has_end(v, call, Ends::Left); }},
    {"endswith suffix! start end", [](Subject v, Given call) { return has_end(v, call, Ends::Right); }},
    {"find sub! start end", [](Subject v, Given call) -> Value { return found_at(v, call, Side::First); }},
    {"rfind sub! start end", [](Subject v, Given call) -> Value { return found_at(v, call, Side::Last); }},
    {"index sub! start end", [](Subject v, Given call) { return index_of(v, call, Side::First); }},
    {"rindex sub! start end", [](Subject v, Given call) { return index_of(v, call, Side::Last); }},
    {"count sub! start end",
     [](Subject v, Given call) -> Value {
       const Part part = part_of(v, call);
       return part.beyond ? 0 : count_text(part.text, text_of(call[0], call.site).bytes);
     }},
    {"join iterable!", joined},
    {"format *", [](Subject v, Given call) -> Value { return brace_formatted(*v.text(), call); }},
    {"center width! fillchar", [](Subject v, Given call) { return padded(v, call, 1); }},
    {"ljust width! fillchar", [](Subject v, Given call) { return padded(v, call, 0); }},
    {"rjust width! fillchar", [](Subject v, Given call) { return padded(v, call, 2); }},
    {"zfill width!", filled_with_zeros},
    {"expandtabs tabsize", tabs_expanded},
    {"isidentifier", is_identifier},
    {"isalnum", [](Subject v, Given call) { return is_kind(v, "isalnum", call); }},
    {"isalpha", [](Subject v, Given call) { return is_kind(v, "isalpha", call); }},
    {"isascii", [](Subject v, Given call) { return is_kind(v, "isascii", call); }},
    {"isdecimal", [](Subject v, Given call) { return is_kind(v, "isdecimal", call); }},
    {"isdigit", [](Subject v, Given call) { return is_kind(v, "isdigit", call); }},
    {"islower", [](Subject v, Given call) { return is_kind(v, "islower", call); }},
    {"isnumeric", [](Subject v, Given call) { return is_kind(v, "isnumeric", call); }},
    {"isspace", [](Subject v, Given call) { return is_kind(v, "isspace", call); }},
    {"istitle", [](Subject v, Given call) { return is_kind(v, "istitle", call); }},
    {"isupper", [](Subject v, Given call) { return is_kind(v, "isupper", call); }},
    {"index value!", index_in_list, Owner::List},
    {"count value!",
     [](Subject v, Given call) -> Value {
       return std::count_if(v.list()->begin(), v.list()->end(),
                            [&](const Value& item) { return equal(item, call[0], call.site); });
     },
     Owner::List},
    {"copy", [](Subject v, Given) -> Value { return List(*v.list()); }, Owner::List},
    {"append", nullptr, Owner::List},
    {"clear", nullptr, Owner::List},
    {"extend", nullptr, Owner::List},
    {"insert", nullptr, Owner::List},
    {"pop", nullptr, Owner::List},
    {"remove", nullptr, Owner::List},
    {"reverse", nullptr, Owner::List},
    {"sort", nullptr, Owner::List},
    {"items", [](Subject v, Given) { return view(pairs_of(*v.dict()), "dict_items("); }, Owner::Dict},
    {"keys", [](Subject v, Given call) { return view(items_of(v, call.site), "dict_keys("); }, Owner::Dict},
    {"values",
     [](Subject v, Given) {
       List out;
       for (const auto& entry : *v.dict()) out.push_back(entry.second);
       return view(std::move(out), "dict_values(");
     },
     Owner::Dict},
    {"get key! default", got, Owner::Dict},
    {"copy", [](Subject v, Given) -> Value { return Dict(*v.dict()); }, Owner::Dict},
    {"clear", nullptr, Owner::Dict},
    {"fromkeys", nullptr, Owner::Dict},
    {"pop", nullptr, Owner::Dict},
    {"popitem", nullptr, Owner::Dict},
    {"setdefault", nullptr, Owner::Dict},
    {"update", nullptr, Owner::Dict},
};

// What a method of a safe text gives is safe as well.
Value kept_safe(Value value) {
  if (const Text* text = value.text()) {
    Text out = *text;
    out.safe = true;
    return out;
  }
  if (value.list() == nullptr) return value;
  List out = *value.list();
  for (Value& item : out) item = kept_safe(std::move(item));
  return out;
}

}  // namespace

Value method(const Value& object, Owner owner, const std::string& name, bool& known) {
  for (const Builtin& row : kMethods) {
    if (row.owner != owner || row.name() != name) continue;
    if (owner == Owner::List && name == "copy" && !object.is(Shape::List)) break;
    known = true;
    if (row.run == nullptr) return {};
    const auto run = [object, &row](const Call& call) -> Value {
      call.site.charge(work_on(object));
      Value made = row.run(object, bound(row, call));
      return object.text() != nullptr && object.text()->safe ? kept_safe(std::move(made)) : made;
    };
    return Function{name, run, object.depth() + 1};
  }
  return {};
}

}  // namespace attar::jinja
