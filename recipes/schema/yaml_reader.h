// Values out of the nodes of a YAML document into C++ ones, and every problem on the way with its place.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "recipes/schema/option_checks.h"
#include "recipes/schema/problems.h"
#include "runtime/base/fields.h"

namespace YAML {
class Node;
}

namespace attar {

// How a problem calls what it found: the text of a scalar, "a map", "a list", "nothing".
std::string shown(const YAML::Node& node);

// Error{Usage} for a document that is nested too deeply or too large to walk.
void check_extent(const YAML::Node& root, const std::string& file);

// Fills values and collects every problem with its place. `key` is what a problem calls a node: "prune.drop_ffn".
class YamlReader {
 public:
  YamlReader();
  ~YamlReader();
  YamlReader(const YamlReader&) = delete;
  YamlReader& operator=(const YamlReader&) = delete;

  // Values given on the command line have no place in the file; they are named by their own text, but for what may be
  // secret in it.
  void note_override(const YAML::Node& node, const std::string& assignment);
  // Problems of what has no place of its own, such as a null's, are said at the place of `node` from now on.
  void stand_at(const YAML::Node& node);
  // What later checks find at `key` is said at the place of `node`.
  void keep_place(const std::string& key, const YAML::Node& node);

  void problem(const YAML::Node& node, const std::string& text, ProblemKind kind = ProblemKind::Value);
  std::vector<RecipeProblem> take_problems() { return std::move(problems_); }
  RecipePlaces take_places() { return std::move(places_); }

  // Checks that `node` is a map whose keys are among `known` (empty: any), each once.
  bool map(const YAML::Node& node, const std::string& key, const std::vector<std::string>& known,
           std::span<const RenamedField> renamed = {});

  void value(const YAML::Node& node, const std::string& key, std::string& out);
  void value(const YAML::Node& node, const std::string& key, int64_t& out);
  void value(const YAML::Node& node, const std::string& key, double& out);
  void value(const YAML::Node& node, const std::string& key, bool& out);
  void value(const YAML::Node& node, const std::string& key, std::vector<std::string>& out);
  void value(const YAML::Node& node, const std::string& key, std::vector<int64_t>& out);
  void value(const YAML::Node& node, const std::string& key, std::map<std::string, double>& out);
  void value(const YAML::Node& node, const std::string& key, std::map<std::string, std::string>& out);
  template <class T>
  void value(const YAML::Node& node, const std::string& key, std::optional<T>& out) {
    value(node, key, out.emplace());
  }

  // An options struct: its listed fields, then what values they may have.
  template <class Options>
  void options(const YAML::Node& node, const std::string& key, Options& out) {
    std::vector<Field> fields;
    visit_fields(out, [&](auto& field, const char* name, const char*) { fields.push_back({name, &field}); });
    if (read_fields(node, key, fields, renamed_fields(out))) note_problems(node, key, problems_of(out));
  }

 private:
  struct Override;
  void name_all(const YAML::Node& node, const std::string& text);
  // A field that is listed, and where its value goes.
  struct Field {
    const char* name;
    std::variant<bool*, int64_t*, double*, std::string*, std::optional<bool>*, std::optional<int64_t>*,
                 std::optional<double>*, std::optional<std::string>*, std::optional<std::vector<int64_t>>*,
                 std::vector<std::string>*, std::map<std::string, double>*, std::map<std::string, std::string>*>
        out;
  };

  // True where every value that is there has its type.
  bool read_fields(const YAML::Node& node, const std::string& key, const std::vector<Field>& fields,
                   std::span<const RenamedField> renamed);
  void note_problems(const YAML::Node& node, const std::string& key, const std::vector<FieldProblem>& found);
  void wrong(const YAML::Node& node, const std::string& key, const char* expected);
  bool is_override(const YAML::Node& node) const;
  RecipePlace place(const YAML::Node& node) const;

  std::vector<RecipeProblem> problems_;
  RecipePlaces places_;
  RecipePlace here_;
  std::vector<Override> overrides_;
};

}  // namespace attar
