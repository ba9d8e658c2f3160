#include "runtime/text/grammar/schema/schema_node.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "runtime/base/words/suggestion.h"

namespace attar::runtime {
namespace {

constexpr double kMostBound = 1e15;  // whole in a double, with digits to spare

struct TypeName {
  const char* name;
  uint32_t types;
};
constexpr TypeName kTypes[] = {
    {"object", kObject},   {"array", kArray},     {"string", kString}, {"number", kNumber | kInteger},
    {"integer", kInteger}, {"boolean", kBoolean}, {"null", kNull}};

// Keywords that are read, with the types that they are about; 0: they say by themselves what a value is.
struct Keyword {
  const char* name;
  uint32_t types;
};
constexpr uint32_t kNumbers = kNumber | kInteger;
constexpr Keyword kKeywords[] = {
    {"type", 0},
    {"enum", 0},
    {"const", 0},
    {"anyOf", 0},
    {"oneOf", 0},
    {"allOf", 0},
    {"$ref", 0},
    {"properties", kObject},
    {"required", kObject},
    {"additionalProperties", kObject},
    {"items", kArray},
    {"prefixItems", kArray},
    {"minItems", kArray},
    {"maxItems", kArray},
    {"uniqueItems", kArray},
    {"minLength", kString},
    {"maxLength", kString},
    {"pattern", kString},
    {"format", kString},
    {"minimum", kNumbers},
    {"maximum", kNumbers},
    {"exclusiveMinimum", kNumbers},
    {"exclusiveMaximum", kNumbers},
    {"multipleOf", kNumbers},
};
// What says nothing about values, or is looked at where a $ref points to it.
constexpr const char* kAnnotations[] = {"title",       "description", "default",      "examples", "$schema",
                                        "$id",         "$comment",    "deprecated",   "readOnly", "writeOnly",
                                        "definitions", "$defs",       "discriminator"};

bool is_annotation(const std::string& key) {
  return std::ranges::any_of(kAnnotations, [&](const char* known) { return key == known; });
}

std::string escaped(std::string key) {
  for (size_t at = 0; (at = key.find_first_of("~/", at)) != std::string::npos; at += 2)
    key.replace(at, 1, key[at] == '~' ? "~0" : "~1");
  return key;
}

}  // namespace

uint32_t type_named(const std::string& name) {
  for (const TypeName& type : kTypes)
    if (name == type.name) return type.types;
  return 0;
}

uint32_t type_of(const SchemaJson& value) {
  if (value.is_object()) return kObject;
  if (value.is_array()) return kArray;
  if (value.is_string()) return kString;
  if (value.is_boolean()) return kBoolean;
  if (value.is_null()) return kNull;
  const double number = value.get<double>();
  return number == std::floor(number) ? kInteger : kNumber;
}

std::string SchemaNode::place() const {
  return *where_ + " at " + printable(pointer_, 160);
}

void SchemaNode::fail(std::string_view what, std::string_view rest, std::string_view expected, std::string_view got,
                      std::string_view hint) const {
  throw usage_error(place(), std::string(what).append(rest), std::string(expected), printable(std::string(got)),
                    std::string(hint));
}

SchemaNode SchemaNode::below(const std::string& key) const {
  return {(*json_)[key], pointer_ + "/" + escaped(key), *where_};
}
SchemaNode SchemaNode::below(size_t index) const {
  return {(*json_)[index], pointer_ + "/" + std::to_string(index), *where_};
}

const SchemaJson* SchemaNode::find(const char* keyword) const {
  if (!json_->is_object()) return nullptr;
  const auto found = json_->find(keyword);
  return found == json_->end() ? nullptr : &*found;
}

void SchemaNode::check_keywords() const {
  if (!json_->is_object()) fail("is no schema", "", "an object, true or false", json_->dump());
  std::vector<std::string> known;
  for (const Keyword& keyword : kKeywords) known.emplace_back(keyword.name);
  for (auto entry = json_->begin(); entry != json_->end(); ++entry) {
    const std::string& key = entry.key();
    if (is_annotation(key) || std::ranges::find(known, key) != known.end()) continue;
    const std::string near = nearest(key, known);
    fail("the keyword ",
         printable(key) + " cannot be honoured" + (near.empty() ? "" : "; did you mean `" + near + "`?"), "", "",
         "leave it out, and check what is written against the whole schema");
  }
  if (const SchemaJson* unique = find("uniqueItems"); unique != nullptr && *unique != false)
    fail("the keyword uniqueItems cannot be honoured", "", "false");
}

void SchemaNode::check_alone(std::string_view keyword, std::string_view also) const {
  for (auto entry = json_->begin(); entry != json_->end(); ++entry) {
    const std::string& key = entry.key();
    if (key != keyword && key != also && !is_annotation(key))
      fail("the keyword ", printable(key).append(" cannot be honoured beside ").append(keyword), "", "",
           "write it into each of the schemas that it goes with");
  }
}

uint32_t SchemaNode::types() const {
  if (const SchemaJson* type = find("type")) {
    uint32_t all = 0;
    const auto add = [&](const SchemaJson& name) {
      const uint32_t one = name.is_string() ? type_named(name.get_ref<const std::string&>()) : 0;
      if (one == 0)
        fail("the type is unknown", "", "object, array, string, number, integer, boolean or null", name.dump());
      all |= one;
    };
    if (type->is_array())
      for (const SchemaJson& name : *type) add(name);
    else
      add(*type);
    if (all == 0) fail("type is an empty list", "", "at least one type");
    return all;
  }
  uint32_t about = 0;
  for (const Keyword& keyword : kKeywords)
    if (find(keyword.name) != nullptr) about |= keyword.types;
  return about != 0 ? about : kEveryType;
}

uint32_t SchemaNode::count(const char* keyword, uint32_t otherwise) const {
  const SchemaJson* value = find(keyword);
  if (value == nullptr) return otherwise;
  const double number = value->is_number() ? value->get<double>() : -1.0;
  if (number < 0.0 || number != std::floor(number) || number > kMostRepeats)
    fail(keyword, " has an impossible value", "a whole number from 0 to " + std::to_string(kMostRepeats),
         value->dump());
  return static_cast<uint32_t>(number);
}

std::string SchemaNode::text(const char* keyword) const {
  const SchemaJson& value = *find(keyword);
  if (!value.is_string()) fail(keyword, " is no text", "a string", value.dump());
  return value.get<std::string>();
}

std::vector<std::string> SchemaNode::names(const char* keyword) const {
  std::vector<std::string> all;
  std::set<std::string_view> seen;
  const SchemaJson* list = find(keyword);
  if (list == nullptr) return all;
  for (const SchemaJson& name : *list) {
    if (!list->is_array() || !name.is_string()) fail(keyword, " is no list of names", "[\"name\", ...]");
    const auto& one = name.get_ref<const std::string&>();
    if (seen.insert(one).second) all.push_back(one);
  }
  return all;
}

bool SchemaNode::is_bounded() const {
  return std::ranges::any_of(
      kKeywords, [&](const Keyword& keyword) { return keyword.types == kNumbers && find(keyword.name) != nullptr; });
}

// Of bounds times `sign` the larger, times `sign` again.
Bound SchemaNode::narrower(const char* keyword, const char* exclusive, double sign, Of numbers) const {
  Bound bound{static_cast<int64_t>(-sign) * kMostWhole};
  for (const char* name : {keyword, exclusive}) {
    const SchemaJson* value = find(name);
    if (value == nullptr) continue;
    const double given = value->is_number() ? value->get<double>() : NAN;
    if (!(std::abs(given) <= kMostBound))
      fail(name, " has an impossible value", "a number from -1e15 to 1e15", value->dump());
    double least = sign * given;
    Bound one{0, name == keyword};
    if (numbers == Of::Whole) {
      least = one.is_inside ? std::ceil(least) : std::floor(least) + 1.0;
      one.is_inside = true;
    } else if (least != std::floor(least)) {
      fail(name, " of a number is not whole", "a whole number", value->dump());
    }
    one.value = static_cast<int64_t>(sign * least);
    const double before = sign * static_cast<double>(bound.value);
    if (least > before || (least == before && !one.is_inside)) bound = one;
  }
  return bound;
}

Bound SchemaNode::least(Of numbers) const {
  return narrower("minimum", "exclusiveMinimum", 1.0, numbers);
}
Bound SchemaNode::most(Of numbers) const {
  return narrower("maximum", "exclusiveMaximum", -1.0, numbers);
}

}  // namespace attar::runtime
