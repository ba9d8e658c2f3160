#include "recipes/schema/library.h"

#include <dlfcn.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <filesystem>

#include "recipes/schema/inputs.h"
#include "recipes/schema/recipe.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/base/words/suggestion.h"

namespace attar {
namespace {

namespace fs = std::filesystem;

// The library lies beside the sources, an installed program, or the Python package.
std::vector<fs::path> library_folders() {
  std::error_code code;
  const fs::path program = fs::read_symlink("/proc/self/exe", code).parent_path();
  std::vector<fs::path> folders{"recipes", program / "../../recipes", program / "../recipes",
                                program / "../share/attar/recipes"};
  Dl_info own{};
  if (::dladdr(reinterpret_cast<const void*>(&library_recipes), &own) != 0 && own.dli_fname != nullptr)
    folders.push_back(fs::path(own.dli_fname).parent_path() / "recipes");
  return folders;
}

std::string about_of(const fs::path& path) {
  try {
    const YAML::Node root = YAML::LoadFile(path.string());
    return root.IsMap() && root["about"] && root["about"].IsScalar() ? root["about"].Scalar() : "";
  } catch (const YAML::Exception&) {
    return "";
  }
}

// Every path that a recipe names, as it stands there.
std::vector<std::string> named_files(const Recipe& recipe) {
  std::vector<std::string> files{recipe.teacher.model, recipe.teacher.tokenizer, recipe.text.chat_template};
  if (recipe.student) files.insert(files.end(), {recipe.student->model, recipe.student->tokenizer});
  for (const auto* split : {&recipe.train, &recipe.calibration, &recipe.evaluation})
    for (const DataSource& source : *split) files.push_back(source.texts());
  for (const Stage& stage : recipe.stages)
    if (const auto* verify = std::get_if<VerifyStage>(&stage)) {
      files.insert(files.end(), verify->tasks.begin(), verify->tasks.end());
      files.push_back(verify->prompts);
    }
  return files;
}

struct Copy {
  fs::path from, to;
};

void add_copies(const fs::path& from, const fs::path& to, std::vector<Copy>& copies) {
  if (!fs::is_directory(from)) return copies.push_back({from, to});
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(from))
    if (entry.is_regular_file()) copies.push_back({entry.path(), to / fs::relative(entry.path(), from)});
}

}  // namespace

std::vector<LibraryRecipe> library_recipes() {
  for (const fs::path& folder : library_folders()) {
    if (!fs::is_directory(folder)) continue;
    std::vector<LibraryRecipe> found;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder))
      if (entry.path().extension() == ".yaml")
        found.push_back(
            {entry.path().stem().string(), entry.path().lexically_normal().string(), about_of(entry.path())});
    std::sort(found.begin(), found.end(),
              [](const LibraryRecipe& a, const LibraryRecipe& b) { return a.name < b.name; });
    if (!found.empty()) return found;
  }
  throw usage_error("attar recipes", "finds no recipes", "a folder `recipes` here or beside the program");
}

std::string schema_file() {
  for (const fs::path& folder : library_folders())
    if (const fs::path file = folder / "recipe.schema.json"; fs::exists(file)) return fs::canonical(file).string();
  return "";
}

std::string recipe_file(const std::string& given) {
  const fs::path path(given);
  if (fs::exists(path) && !fs::is_directory(path)) return given;
  if (path.has_parent_path() || path.has_extension()) throw input_error(given, "does not exist");
  std::vector<std::string> names;
  for (const LibraryRecipe& recipe : library_recipes()) {
    if (recipe.name == given) return recipe.path;
    names.push_back(recipe.name);
  }
  throw usage_error(printable(given), "is no file, and no recipe of the library" + suggestion(given, names, {}));
}

std::vector<std::string> copy_recipe(const std::string& given, const std::string& to, const Progress& progress) {
  const Recipe recipe = parse_recipe(given, {}, progress);
  const fs::path folder = fs::path(to).parent_path();
  std::vector<Copy> copies{{recipe.file, to}};
  const bool paths_stay = recipe.path != recipe.file;  // as its `paths_from` says
  for (const std::string& file : paths_stay ? std::vector<std::string>{} : named_files(recipe))
    if (const fs::path from = recipe_relative(recipe, file);
        !file.empty() && fs::path(file).is_relative() && fs::exists(from)) {
      if (*fs::path(file).lexically_normal().begin() == "..")
        throw usage_error(recipe.file, "reads a file outside of its folder, which a copy would put outside of its own",
                          "a path below the recipe", printable(file), "name it by its whole path, or copy it yourself");
      add_copies(from, folder / file, copies);
    }
  for (const auto& [from, target] : copies)
    if (fs::exists(target) && (target == to || read_file(target.string()) != read_file(from.string())))
      throw usage_error(target.string(), "is there already", "", "", "choose another place, or remove it");
  std::vector<std::string> written;
  for (const auto& [from, target] : copies) {
    if (fs::exists(target)) continue;
    if (target.has_parent_path()) fs::create_directories(target.parent_path());
    write_file_atomically(target.string(), read_file(from.string()));
    written.push_back(target.string());
  }
  return written;
}

}  // namespace attar
