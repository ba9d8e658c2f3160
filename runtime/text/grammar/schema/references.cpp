#include "runtime/text/grammar/schema/references.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace attar::runtime {
namespace {

// A part of a JSON pointer: ~1 is / and ~0 is ~. Source: RFC 6901, section 4.
std::string unescaped(std::string_view part) {
  std::string out;
  for (size_t i = 0; i < part.size(); ++i) {
    const bool is_escape = part[i] == '~' && i + 1 < part.size() && (part[i + 1] == '0' || part[i + 1] == '1');
    out += is_escape ? (part[++i] == '0' ? '~' : '/') : part[i];
  }
  return out;
}

bool is_index(const std::string& part) {
  return !part.empty() && part.size() < 7 && part.find_first_not_of("0123456789") == std::string::npos;
}

SchemaNode referenced(const SchemaNode& root, const SchemaNode& node) {
  const std::string to = node.text("$ref");
  if (to.empty() || to[0] != '#' || (to.size() > 1 && to[1] != '/'))
    node.fail("the $ref cannot be followed", "", "# or #/$defs/NAME, in the same schema", to);
  SchemaNode at = root;
  for (size_t begin = 2; begin <= to.size();) {
    const size_t end = std::min(to.find('/', begin), to.size());
    const std::string part = unescaped(std::string_view(to).substr(begin, end - begin));
    if (at.json().is_object() && at.json().contains(part))
      at = at.below(part);
    else if (at.json().is_array() && is_index(part) && std::stoul(part) < at.json().size())
      at = at.below(std::stoul(part));
    else
      node.fail("the $ref names nothing", "", "a place in the schema", to);
    begin = end + 1;
  }
  return at;
}

}  // namespace

const SchemaNode& References::of(const SchemaNode& node) {
  auto found = found_.find(&node.json());
  if (found == found_.end()) found = found_.emplace(&node.json(), referenced(root_, node)).first;
  return found->second;
}

}  // namespace attar::runtime
