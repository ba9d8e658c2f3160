// The pieces of JSON as a text: white space, strings, numbers, values. What is written is JSON on which all readers
// agree: no lone surrogates, numbers that fit into a double.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/text/grammar/rules.h"

namespace attar::runtime {

inline constexpr int64_t kMostWhole = 9'999'999'999'999'999;  // 16 digits: what a number without bounds may be

// A bound of numbers.
struct Bound {
  int64_t value;
  bool is_inside = true;
};

// A JSON string of exactly this text.
std::string json_string(std::string_view text);

// Rules with those of JSON in them, and pieces made of these.
class JsonText {
 public:
  explicit JsonText(const std::string& where);

  Rules rules;

  Piece white() { return rules.call(white_); }    // between two parts
  Piece colon() { return rules.call(colon_); }    // behind a key
  Piece value() { return rules.call(value_); }    // any
  Piece number() { return rules.call(number_); }  // any
  Piece object() { return rules.call(object_); }  // any
  Piece array() { return rules.call(array_); }    // any

  Piece string(uint32_t least, uint32_t most);  // of any characters, so many
  Piece literal(const nlohmann::ordered_json& value);
  // Keys that are none of these: of characters that need no escape.
  Piece other_keys(const std::vector<std::string>& names);
  // One of these characters as it stands in a JSON string: escaped where it must be. Rare control characters are left
  // out of what is more than one.
  Piece in_string(const std::vector<CodeRange>& characters);

  Piece whole_numbers(int64_t least, int64_t most);
  // Numbers with a fraction, or without, between the bounds; nullopt: there is none.
  std::optional<Piece> numbers(const Bound& least, const Bound& most);

 private:
  Piece digits(size_t n) {
    return rules.repeat(rules.one_of({{'0', '9'}}), static_cast<uint32_t>(n), static_cast<uint32_t>(n));
  }
  Piece same_length(std::string_view low, std::string_view high);
  Piece unsigned_numbers(uint64_t least, uint64_t most);
  void add_span(std::vector<Piece>& ways, std::string_view sign, const Bound& low, const Bound& high);

  const uint32_t white_, colon_, character_, plain_, value_, number_, object_, array_, any_fraction_, no_fraction_,
      some_fraction_;
};

}  // namespace attar::runtime
