#include "runtime/text/grammar/schema/apart.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace attar::runtime {
namespace {

constexpr int kMostDepth = 8;                      // properties of properties that are looked at
constexpr uint64_t kMostWork = uint64_t{1} << 24;  // of all oneOf of a schema: values and names that are compared
constexpr uint64_t kSchemas = 64;                  // as many of these take as long as to look at two small schemas
constexpr size_t kLetters = 16;                    // that are copied while one of these is compared

// Values in a value, itself too; long texts count as several.
uint64_t size_of(const SchemaJson* value) {
  if (value == nullptr) return 0;
  uint64_t size = 1;
  if (value->is_string()) size += value->get_ref<const std::string&>().size() / kLetters;
  if (value->is_structured())
    for (const SchemaJson& each : *value) size += size_of(&each);
  return size;
}

uint64_t size_of_values(const SchemaNode& node) {
  return size_of(node.find("const")) + size_of(node.find("enum"));
}

class Comparison {
 public:
  Comparison(References& references, const SchemaNode& list, uint64_t& done)
      : references_(references), list_(list), done_(done) {}

  bool apart(const SchemaNode& a, const SchemaNode& b, int depth) {
    if (depth > kMostDepth) return false;
    work(kSchemas + (a.pointer().size() + b.pointer().size()) / kLetters);
    const SchemaNode &one = followed(a), &other = followed(b);
    for (const bool swapped : {false, true}) {
      const SchemaNode &x = swapped ? other : one, &y = swapped ? one : other;
      for (const char* keyword : {"anyOf", "oneOf"})
        if (x.find(keyword) != nullptr && x.find(keyword)->is_array()) {
          const SchemaNode list = x.below(keyword);
          for (size_t i = 0; i < list.json().size(); ++i)
            if (!apart(list.below(i), y, depth + 1)) return false;
          return true;
        }
    }
    if ((types(one) & types(other)) == 0) return true;
    return values_apart(one, other) || properties_apart(one, other, depth);
  }

 private:
  void work(uint64_t steps) {
    done_ += steps;
    if (done_ > kMostWork)
      list_.fail("its schemas are too many, or too large, to be told apart", "", "", "", "fewer of them, or anyOf");
  }
  // What a schema stands for. What every comparison looks at of it, and of those on the way, is counted.
  const SchemaNode& followed(const SchemaNode& node) {
    const SchemaNode* at = &node;
    for (int i = 0; i < kMostDepth && at->find("$ref") != nullptr; ++i) {
      work(at->json().size());
      at = &references_.of(*at);
    }
    work(at->json().size() + size_of(at->find("type")) + size_of(at->find("required")) + size_of_values(*at));
    return *at;
  }
  // The listed values, one behind the other; none: any.
  static std::vector<const SchemaJson*> values(const SchemaNode& node) {
    std::vector<const SchemaJson*> all;
    if (const SchemaJson* value = node.find("const"))
      all.push_back(value);
    else if (const SchemaJson* list = node.find("enum"); list != nullptr && list->is_array())
      for (const SchemaJson& each : *list) all.push_back(&each);
    return all;
  }
  static uint32_t types(const SchemaNode& node) {
    if (!node.json().is_object() || node.find("$ref") != nullptr) return kEveryType;
    uint32_t all = 0;
    for (const SchemaJson* value : values(node)) all |= type_of(*value);
    if (all != 0) return all;
    return node.find("allOf") != nullptr || node.find("type") == nullptr ? kEveryType : node.types();
  }
  bool values_apart(const SchemaNode& a, const SchemaNode& b) {
    const std::vector<const SchemaJson*> one = values(a), other = values(b);
    work(std::min(size_of_values(a) * other.size(), size_of_values(b) * one.size()));
    for (const SchemaJson* x : one)
      for (const SchemaJson* y : other)
        if (*x == *y) return false;
    return !one.empty() && !other.empty();
  }
  // A property that one requires tells them apart where the other has none of that name, and no others, or another.
  bool properties_apart(const SchemaNode& a, const SchemaNode& b, int depth) {
    if ((types(a) & types(b)) != kObject) return false;
    for (const bool swapped : {false, true}) {
      const SchemaNode &x = swapped ? b : a, &y = swapped ? a : b;
      const SchemaJson *mine = x.find("properties"), *theirs = y.find("properties");
      for (const std::string& name : x.names("required")) {
        work(1 + (mine != nullptr ? mine->size() : 0) + (theirs != nullptr ? theirs->size() : 0));
        const bool has = theirs != nullptr && theirs->contains(name);
        const SchemaJson* others = y.find("additionalProperties");
        if (!has && others != nullptr && *others == false) return true;
        if (has && mine != nullptr && mine->contains(name) &&
            apart(x.below("properties").below(name), y.below("properties").below(name), depth + 1))
          return true;
      }
    }
    return false;
  }

  References& references_;
  const SchemaNode& list_;
  uint64_t& done_;
};

}  // namespace

void require_apart(References& references, const SchemaNode& list, uint64_t& work) {
  Comparison comparison(references, list, work);
  for (size_t i = 0; i < list.json().size(); ++i)
    for (size_t j = i + 1; j < list.json().size(); ++j)
      if (!comparison.apart(list.below(i), list.below(j), 0))
        list.fail(
            "a value could be both ",
            std::to_string(i) + " and " + std::to_string(j) + ", which oneOf forbids and no grammar can keep apart",
            "another type, or a required property with another const, in each", "", "or anyOf");
}

}  // namespace attar::runtime
