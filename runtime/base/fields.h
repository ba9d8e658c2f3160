// How an options struct lists its fields, once. The listing feeds recipe keys, command-line flags, Python arguments,
// help text and the echoed, resolved recipe:
//
//   struct PruneOptions { double drop_ffn = 0.0; int64_t drop_layers = 0; };
//   template <class Visitor>
//   void visit_fields(PruneOptions& o, Visitor&& field) {
//     field(o.drop_ffn, "drop_ffn", "share of the feed-forward channels to remove, 0 <= x < 1");
//     field(o.drop_layers, "drop_layers", "number of layers to remove");
//   }
//
// A field's default is the member's initial value. A visitor is a generic callable field(T& value, const char* name,
// const char* help) for T in: bool, int64_t, double, std::string, std::vector<int64_t>, std::optional of those,
// std::vector<std::string>, std::map<std::string, double>, std::map<std::string, std::string>. Values are checked where
// they are used.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace attar {

// The names of all fields of an options struct.
template <class Options>
std::vector<std::string> field_names() {
  std::vector<std::string> names;
  Options options;
  visit_fields(options, [&](auto&, const char* name, const char*) { names.emplace_back(name); });
  return names;
}

// A name that a field had before. Recipes, flags and Python refuse it with the name of now; a struct that has such
// names overloads renamed_fields.
struct RenamedField {
  const char* before;
  const char* now;
};
template <class Options>
std::span<const RenamedField> renamed_fields(const Options&) {
  return {};
}

// What is wrong with the value of a field.
struct FieldProblem {
  std::string field;     // "drop_ffn"; a map entry as "losses.forward_kl"
  std::string expected;  // "0 <= x < 1"
  std::string got{};     // the value, where it helps
  bool across = false;   // it follows from several fields together
};

template <class T>
struct is_optional : std::false_type {};
template <class T>
struct is_optional<std::optional<T>> : std::true_type {};

}  // namespace attar
