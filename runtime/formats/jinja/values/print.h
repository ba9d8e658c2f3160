// Values as text: Python's str() and repr(), and json.dumps().
#pragma once

#include <memory>

#include "runtime/formats/jinja/values/value.h"

namespace attar::jinja {

struct JsonStyle {
  Value indent{};  // a text, or none: all on one line
  Text comma{std::string(", ")}, colon{std::string(": ")};
  enum class Letters { All, Ascii } letters = Letters::All;
  enum class Keys { AsGiven, Sorted } keys = Keys::AsGiven;
};

std::shared_ptr<const Text> to_text(const Value& value);  // str(); the text itself where it is one
Text repr(const Value& value);
Text to_json(const Value& value, const JsonStyle& style, const Site& site);
std::string integer_text(Whole number);

}  // namespace attar::jinja
