#include "recipes/schema/overrides.h"

#include <yaml-cpp/yaml.h>

#include <charconv>
#include <vector>

#include "runtime/base/error.h"

namespace attar {
namespace {

// "stages.1.distill.tokens", "stages[1].distill.tokens" -> the names on the way.
std::vector<std::string> path_segments(const std::string& path) {
  std::vector<std::string> segments(1);
  for (const char c : path) {
    if (c == '.' || c == '[')
      segments.emplace_back();
    else if (c != ']')
      segments.back() += c;
  }
  return segments;
}

bool parse_index(const std::string& text, size_t& index) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), index);
  return code == std::errc() && end == text.data() + text.size();
}

// `- export` alone, which stands for `- export: {}`, with a place for its keys.
YAML::Node opened(const std::string& stage) {
  YAML::Node entry(YAML::NodeType::Map);
  entry[stage] = YAML::Node(YAML::NodeType::Map);
  return entry;
}

// The child that a segment names: a map's key; a list's index, or its first entry that is a map with that key or that
// word alone.
YAML::Node descend(const YAML::Node& node, const std::string& segment, const std::string& assignment) {
  YAML::Node here = node;
  if (!here.IsSequence()) return here[segment];
  size_t index = 0;
  if (parse_index(segment, index) && index < here.size()) return here[index];
  for (size_t i = 0; i < here.size(); ++i) {
    if (here[i].IsScalar() && here[i].Scalar() == segment) here[i] = opened(segment);
    if (here[i].IsMap() && here[i][segment]) return here[i][segment];
  }
  throw usage_error("'" + assignment + "'", "the list has no entry `" + printable(segment) + "`",
                    "an index below " + std::to_string(here.size()) + " or a stage that the recipe has");
}

}  // namespace

YAML::Node apply_override(YAML::Node root, const std::string& assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0)
    throw usage_error("'" + assignment + "'", "is not an override",
                      "key.path=value, such as stages.distill.tokens=1000");
  YAML::Node value;
  try {
    value = YAML::Load(assignment.substr(equals + 1));
  } catch (const YAML::Exception& error) {
    throw usage_error("'" + assignment + "'", "the value is not YAML: " + error.msg);
  }
  const std::vector<std::string> segments = path_segments(assignment.substr(0, equals));
  std::vector<YAML::Node> chain{root};
  for (size_t i = 0; i < segments.size(); ++i) {
    if (chain.back().IsDefined() && chain.back().IsScalar()) {
      if (i == 0 || !chain[i - 1].IsSequence() || chain.back().Scalar() != segments[i])
        throw usage_error("'" + assignment + "'", "`" + segments[i] + "` is below a plain value");
      chain.back() = opened(segments[i]);
    }
    if (i + 1 < segments.size()) chain.push_back(descend(chain.back(), segments[i], assignment));
  }
  size_t index = 0;
  if (chain.back().IsSequence() && parse_index(segments.back(), index) && index < chain.back().size())
    chain.back()[index] = value;
  else if (chain.back().IsSequence())
    descend(chain.back(), segments.back(), assignment) = value;
  else
    chain.back()[segments.back()] = value;
  return value;
}

}  // namespace attar
