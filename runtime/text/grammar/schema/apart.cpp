#include "runtime/text/grammar/schema/apart.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "runtime/text/grammar/schema/references.h"

namespace attar::runtime {
namespace {

constexpr int kMostDepth = 8;                      // properties of properties that are looked at
constexpr uint64_t kMostWork = uint64_t{1} << 22;  // of one oneOf: values and names that are compared
constexpr uint64_t kSchemas = 64;                  // as many of these take as long as to look at two schemas

class Comparison {
 public:
  Comparison(const SchemaNode& root, const SchemaNode& list) : root_(root), list_(list) {}

  bool apart(const SchemaNode& a, const SchemaNode& b, int depth) {
    if (depth > kMostDepth) return false;
    work(kSchemas);
    const SchemaNode one = followed(a), other = followed(b);
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
  SchemaNode followed(SchemaNode node) const {
    for (int i = 0; i < kMostDepth && node.find("$ref") != nullptr; ++i) node = referenced(root_, node);
    return node;
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
    work(uint64_t{one.size()} * other.size());
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

  const SchemaNode &root_, &list_;
  uint64_t done_ = 0;
};

}  // namespace

void require_apart(const SchemaNode& root, const SchemaNode& list) {
  Comparison comparison(root, list);
  for (size_t i = 0; i < list.json().size(); ++i)
    for (size_t j = i + 1; j < list.json().size(); ++j)
      if (!comparison.apart(list.below(i), list.below(j), 0))
        list.fail(
            "a value could be both ",
            std::to_string(i) + " and " + std::to_string(j) + ", which oneOf forbids and no grammar can keep apart",
            "another type, or a required property with another const, in each", "", "or anyOf");
}

}  // namespace attar::runtime
