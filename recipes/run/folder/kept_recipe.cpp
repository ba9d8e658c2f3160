#include "recipes/run/folder/kept_recipe.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/base/sha256.h"

namespace attar {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kAbsent = "nothing";
constexpr size_t kShownKeys = 8;

// Nothing, where env.json is damaged or of a version that did not write it.
RecipeOrigin kept_origin(const std::string& folder) {
  const std::string path = folder + "/env.json";
  if (!fs::exists(path)) return {};
  const Json json = Json::parse(read_file(path), nullptr, false);
  if (!json.is_object() || !json.contains("recipe")) return {};
  try {
    const Json& recipe = json.at("recipe");
    return {recipe.at("file"), recipe.at("sha256"), recipe.at("overrides").get<std::vector<std::string>>()};
  } catch (const Json::exception&) {
    return {};
  }
}

bool holds_run(const std::string& folder) {
  return fs::exists(folder + "/resolved.yaml");
}

Recipe kept_recipe(const std::string& folder, const std::vector<std::string>& overrides,
                   const Progress& progress = {}) {
  const RecipeOrigin origin = kept_origin(folder);
  Recipe recipe = parse_recipe(folder + "/resolved.yaml", overrides, progress);
  recipe.overrides = origin.overrides;
  recipe.overrides.insert(recipe.overrides.end(), overrides.begin(), overrides.end());
  return recipe;
}

std::string run_folder_of(const RunOptions& options, const Recipe& recipe) {
  return options.folder.empty() ? "runs/" + recipe.name : options.folder;
}

// "stages.1.distill.tokens" -> "1000"
void flatten(const YAML::Node& node, const std::string& key, std::map<std::string, std::string>& into) {
  const auto below = [&](const std::string& name) { return key.empty() ? name : key + "." + name; };
  if (node.IsMap()) {
    for (const auto& entry : node) flatten(entry.second, below(entry.first.Scalar()), into);
  } else if (node.IsSequence()) {
    for (size_t i = 0; i < node.size(); ++i) flatten(node[i], below(std::to_string(i)), into);
  } else {
    into[key] = node.IsScalar() ? node.Scalar() : kAbsent;
  }
}

}  // namespace

RecipeOrigin origin_of(const Recipe& recipe) {
  return {fs::absolute(recipe.file).lexically_normal().string(),
          fs::is_regular_file(recipe.file) ? sha256_of_file(recipe.file) : "", recipe.overrides};
}

std::string origin_json(const RecipeOrigin& origin) {
  const Json json = {{"file", origin.file}, {"sha256", origin.sha256}, {"overrides", origin.overrides}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);  // names of files may be no UTF-8
}

Recipe recipe_to_run(const std::string& given, const std::vector<std::string>& overrides, RunOptions& options,
                     const Progress& progress) {
  const fs::path asked(given);
  if (options.resume && !fs::exists(asked) && asked.has_parent_path() && asked.extension() != ".yaml")
    throw usage_error(printable(given), "is not there: nothing to resume", "a run folder, or a recipe file (.yaml)");
  if (fs::is_directory(given)) {
    if (!options.resume)
      throw usage_error(printable(given), "is a folder", "a recipe file (.yaml)", "",
                        holds_run(given) ? "attar run --resume " + given + " goes on with the run that it holds" : "");
    if (!holds_run(given))
      throw usage_error(printable(given), "holds no run to resume", "a run folder, with its resolved.yaml");
    if (!options.folder.empty() && fs::weakly_canonical(options.folder) != fs::weakly_canonical(given))
      throw usage_error("--out", "is not the folder of the run to resume", printable(given), printable(options.folder));
    options.folder = given;
    return kept_recipe(given, overrides, progress);
  }
  Recipe recipe = parse_recipe(given, overrides, progress);
  const std::string folder = run_folder_of(options, recipe);
  if (!options.resume || !holds_run(folder)) return recipe;
  const RecipeOrigin before = kept_origin(folder);
  if (overrides.empty() && !before.overrides.empty()) recipe = parse_recipe(given, before.overrides, progress);
  const RecipeOrigin now = origin_of(recipe);
  if (now.sha256 != before.sha256 || now.overrides != before.overrides) return recipe;
  Recipe kept = kept_recipe(folder, {}, progress);
  kept.path = recipe.path, kept.file = recipe.file;
  return kept;
}

std::string kept_resolved_yaml(const std::string& folder) {
  return resolved_yaml(kept_recipe(folder, {}));
}

std::string differing_keys(const std::string& before, const std::string& now) {
  std::map<std::string, std::string> old_values, new_values;
  flatten(YAML::Load(before), "", old_values);
  flatten(YAML::Load(now), "", new_values);
  std::vector<std::string> differing;
  const auto add = [&](const std::string& key, const std::string& then, const std::string& here) {
    differing.push_back(key + " (" + printable(then) + " before, " + printable(here) + " now)");
  };
  for (const auto& [key, value] : old_values) {
    const auto found = new_values.find(key);
    if (found == new_values.end() || found->second != value)
      add(key, value, found == new_values.end() ? kAbsent : found->second);
  }
  for (const auto& [key, value] : new_values)
    if (!old_values.contains(key)) add(key, kAbsent, value);
  std::string list;
  for (size_t i = 0; i < std::min(differing.size(), kShownKeys); ++i) list += (i == 0 ? "" : ", ") + differing[i];
  if (differing.size() > kShownKeys) list += " and " + std::to_string(differing.size() - kShownKeys) + " more";
  return list;
}

}  // namespace attar
