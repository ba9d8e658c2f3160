// A schema inside a schema, with its place for messages and what its keywords say.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/text/grammar/schema/json_text.h"

namespace attar::runtime {

using SchemaJson = nlohmann::ordered_json;

// What a value may be, as bits.
enum SchemaType : uint32_t {
  kObject = 1,
  kArray = 2,
  kString = 4,
  kNumber = 8,  // those that are whole too
  kInteger = 16,
  kBoolean = 32,
  kNull = 64,
  kEveryType = 127
};
// "object" -> kObject; "number" -> kNumber | kInteger; 0: no type has this name.
uint32_t type_named(const std::string& name);
uint32_t type_of(const SchemaJson& value);

class SchemaNode {
 public:
  SchemaNode(const SchemaJson& json, std::string pointer, const std::string& where)
      : json_(&json), pointer_(std::move(pointer)), where_(&where) {}

  const SchemaJson& json() const { return *json_; }
  const std::string& pointer() const { return pointer_; }  // "#/properties/age"
  std::string place() const;                               // for messages
  // Error{Usage} at this place; `what` in one clause, of one or two parts.
  [[noreturn]] void fail(std::string_view what, std::string_view rest = {}, std::string_view expected = {},
                         std::string_view got = {}, std::string_view hint = {}) const;

  // A schema or list of a keyword, or of an entry in it.
  SchemaNode below(const std::string& key) const;
  SchemaNode below(size_t index) const;
  const SchemaJson* find(const char* keyword) const;  // nullptr: it is not there

  // Error{Usage}: it is no object, or holds a keyword that is neither read nor an annotation.
  void check_keywords() const;
  // Error{Usage}: another keyword that restricts the value stands beside `keyword`.
  void check_alone(std::string_view keyword, std::string_view also = {}) const;
  // Of `type`, or of what the other keywords are about; kEveryType: of neither.
  uint32_t types() const;

  uint32_t count(const char* keyword, uint32_t otherwise) const;
  std::string text(const char* keyword) const;
  std::vector<std::string> names(const char* keyword) const;
  // minimum and exclusiveMinimum, or maximum and its like: the narrower, within 1e15. `Whole`: of numbers that are
  // whole, so that others are brought inside; else Error{Usage}: it is not whole.
  enum class Of { Numbers, Whole };
  Bound least(Of numbers) const;
  Bound most(Of numbers) const;
  bool is_bounded() const;

 private:
  Bound narrower(const char* keyword, const char* exclusive, double sign, Of numbers) const;

  const SchemaJson* json_;
  std::string pointer_;
  const std::string* where_;
};

}  // namespace attar::runtime
