#include "recipes/schema/yaml_reader.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "runtime/base/error.h"
#include "runtime/base/words/byte_size.h"
#include "runtime/base/words/suggestion.h"

namespace attar {
namespace {

constexpr int kDepthLimit = 16;
constexpr int64_t kNodeLimit = 100000;  // an alias counts as all it stands for: a few lines can stand for billions

// A number or a truth in quotes is text.
bool is_quoted(const YAML::Node& node) {
  return node.Tag() == "!";
}

bool parse_number(const YAML::Node& node, double& value) {
  if (!node.IsScalar() || is_quoted(node)) return false;
  const std::string& text = node.Scalar();
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  return code == std::errc() && end == text.data() + text.size() && std::isfinite(value);
}

// "100000", or "1e5".
bool parse_whole(const YAML::Node& node, int64_t& value) {
  if (!node.IsScalar() || is_quoted(node)) return false;
  const std::string& text = node.Scalar();
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code == std::errc() && end == text.data() + text.size()) return true;
  double number = 0.0;
  if (!parse_number(node, number) || number != std::floor(number) || std::abs(number) > 0x1p53) return false;
  value = static_cast<int64_t>(number);
  return true;
}

// Where "drop_ffn" or, of a map, "losses.forward_kl" stands.
YAML::Node value_of(const YAML::Node& node, const std::string& field) {
  const size_t dot = field.find('.');
  const YAML::Node child = node[field.substr(0, dot)];
  if (dot == std::string::npos || !child || !child.IsMap()) return child;
  const YAML::Node entry = child[field.substr(dot + 1)];
  return entry ? entry : child;
}

// `n_nodes` counts those seen so far.
void check_extent(const YAML::Node& node, int depth, int64_t& n_nodes, const std::string& file) {
  if (depth > kDepthLimit)
    throw usage_error(file, "is nested too deeply", "at most " + std::to_string(kDepthLimit) + " levels");
  if (++n_nodes > kNodeLimit) throw usage_error(file, "holds too many values", "at most " + std::to_string(kNodeLimit));
  if (node.IsMap())
    for (const auto& entry : node) check_extent(entry.second, depth + 1, n_nodes, file);
  else if (node.IsSequence())
    for (const YAML::Node& item : node) check_extent(item, depth + 1, n_nodes, file);
}

// What somebody may have put a key or a password into, which no message repeats.
bool may_be_secret(const std::string& field) {
  return field == "url" || field.find("key") != std::string::npos;
}
bool may_hold_secret(const YAML::Node& node) {
  bool found = false;
  if (node.IsMap())
    for (const auto& entry : node)
      found |= (entry.first.IsScalar() && may_be_secret(entry.first.Scalar())) || may_hold_secret(entry.second);
  else if (node.IsSequence())
    for (const YAML::Node& item : node) found |= may_hold_secret(item);
  return found;
}

// An override as messages repeat it.
std::string without_secret(const YAML::Node& value, const std::string& assignment) {
  const size_t equals = assignment.find('=');
  const std::string path = assignment.substr(0, equals);
  return may_be_secret(path.substr(path.rfind('.') + 1)) || may_hold_secret(value) ? path + "=..." : assignment;
}

}  // namespace

std::string shown(const YAML::Node& node) {
  if (node.IsScalar()) return printable(node.Scalar(), 40);
  return node.IsMap() ? "a map" : node.IsSequence() ? "a list" : "nothing";
}

void check_extent(const YAML::Node& root, const std::string& file) {
  int64_t n_nodes = 0;
  check_extent(root, 0, n_nodes, file);
}

struct YamlReader::Override {
  YAML::Node node;
  std::string text;
};

YamlReader::YamlReader() = default;
YamlReader::~YamlReader() = default;

void YamlReader::note_override(const YAML::Node& node, const std::string& assignment) {
  name_all(node, without_secret(node, assignment));
}

void YamlReader::name_all(const YAML::Node& node, const std::string& text) {
  overrides_.push_back({node, text});
  if (node.IsMap())
    for (const auto& entry : node) name_all(entry.second, text);
  else if (node.IsSequence())
    for (const YAML::Node& item : node) name_all(item, text);
}

void YamlReader::stand_at(const YAML::Node& node) {
  here_ = place(node);
}

void YamlReader::keep_place(const std::string& key, const YAML::Node& node) {
  places_[key] = place(node);
}

void YamlReader::problem(const YAML::Node& node, const std::string& text, ProblemKind kind) {
  problems_.push_back({kind, place(node), text});
}

bool YamlReader::map(const YAML::Node& node, const std::string& key, const std::vector<std::string>& known,
                     std::span<const RenamedField> renamed) {
  if (!node.IsMap()) {
    problem(node, (key.empty() ? "" : key + ": ") + "expected a map, got " + shown(node));
    return false;
  }
  std::set<std::string> seen;
  for (const auto& entry : node) {
    const std::string name = entry.first.IsScalar() ? entry.first.Scalar() : "";
    const std::string full = key.empty() ? name : key + "." + name;
    const YAML::Node at = is_override(entry.second) ? entry.second : entry.first;
    if (!seen.insert(name).second) problem(entry.first, "duplicate key `" + printable(full) + "`");
    if (!known.empty() && std::find(known.begin(), known.end(), name) == known.end())
      problem(at, "unknown key `" + printable(full) + "`" + suggestion(name, known, renamed));
  }
  return true;
}

void YamlReader::value(const YAML::Node& node, const std::string& key, std::string& out) {
  if (node.IsScalar())
    out = node.Scalar();
  else
    wrong(node, key, "text");
}

void YamlReader::value(const YAML::Node& node, const std::string& key, int64_t& out) {
  if (!parse_whole(node, out)) wrong(node, key, "a whole number");
}

void YamlReader::value(const YAML::Node& node, const std::string& key, double& out) {
  if (!parse_number(node, out)) wrong(node, key, "a number");
}

void YamlReader::value(const YAML::Node& node, const std::string& key, bool& out) {
  if (node.IsScalar() && !is_quoted(node) && (node.Scalar() == "true" || node.Scalar() == "false"))
    out = node.Scalar() == "true";
  else
    wrong(node, key, "true or false");
}

void YamlReader::value(const YAML::Node& node, const std::string& key, std::vector<std::string>& out) {
  out.clear();
  if (!node.IsSequence()) return wrong(node, key, "a list");
  for (const YAML::Node& item : node) value(item, key, out.emplace_back());
}

void YamlReader::value(const YAML::Node& node, const std::string& key, std::vector<int64_t>& out) {
  out.clear();
  if (!node.IsSequence()) return wrong(node, key, "a list");
  for (const YAML::Node& item : node) value(item, key, out.emplace_back());
}

void YamlReader::value(const YAML::Node& node, const std::string& key, std::map<std::string, double>& out) {
  out.clear();
  if (!map(node, key, {})) return;
  for (const auto& entry : node) {
    const std::string name = entry.first.Scalar();
    double& number = out[name];
    const bool size = counts_bytes(name);
    if (!parse_number(entry.second, number) &&
        !(size && entry.second.IsScalar() && parse_amount(name, entry.second.Scalar(), number)))
      wrong(entry.second, key + "." + printable(name), size ? "a number or a size such as 60MB" : "a number");
  }
}

void YamlReader::value(const YAML::Node& node, const std::string& key, std::map<std::string, std::string>& out) {
  out.clear();
  if (!map(node, key, {})) return;
  for (const auto& entry : node) value(entry.second, key + "." + entry.first.Scalar(), out[entry.first.Scalar()]);
}

bool YamlReader::read_fields(const YAML::Node& node, const std::string& key, const std::vector<Field>& fields,
                             std::span<const RenamedField> renamed) {
  std::vector<std::string> names;
  for (const Field& field : fields) names.emplace_back(field.name);
  if (!map(node, key, names, renamed)) return false;
  const size_t before = problems_.size();
  for (const Field& field : fields)
    if (const YAML::Node child = node[field.name])
      std::visit([&](auto* out) { value(child, key + "." + field.name, *out); }, field.out);
  return problems_.size() == before;
}

void YamlReader::note_problems(const YAML::Node& node, const std::string& key, const std::vector<FieldProblem>& found) {
  for (const FieldProblem& each : found) {
    const YAML::Node child = value_of(node, each.field);
    const std::string got = child && child.IsScalar() && !may_be_secret(each.field) ? " = " + shown(child) : "";
    problem(child ? child : node, key + "." + each.field + got + ": expected " + each.expected,
            each.across ? ProblemKind::Whole : ProblemKind::Value);
  }
}

void YamlReader::wrong(const YAML::Node& node, const std::string& key, const char* expected) {
  const bool quoted = node.IsScalar() && is_quoted(node);
  problem(node, key + ": expected " + expected + ", got " + shown(node) + (quoted ? " in quotes" : ""));
}

bool YamlReader::is_override(const YAML::Node& node) const {
  return std::any_of(overrides_.begin(), overrides_.end(), [&](const Override& given) { return given.node.is(node); });
}

RecipePlace YamlReader::place(const YAML::Node& node) const {
  for (const Override& given : overrides_)
    if (given.node.is(node)) return {.given = given.text};
  const YAML::Mark mark = node.Mark();
  if (mark.line < 0) return here_;
  return {mark.line + 1, mark.column + 1};
}

}  // namespace attar
