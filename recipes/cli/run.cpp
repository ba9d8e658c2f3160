// run, recipes.
#include "recipes/run/run.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "recipes/cli/verbs.h"
#include "recipes/report/report.h"
#include "recipes/schema/recipe.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/cli/flags.h"
#include "runtime/cli/terminal.h"

namespace attar::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string recipe, out;
  std::vector<std::string> overrides;
  bool resume = false, dry_run = false;
  LogOptions log;
};

void print_plan(const std::string& plan_json) {
  const auto plan = nlohmann::ordered_json::parse(plan_json);
  std::printf("%s -> %s\n\n%-10s %9s %11s %10s   %s\n", plan.at("name").get<std::string>().c_str(),
              plan.at("folder").get<std::string>().c_str(), "stage", "time", "memory", "disk", "what");
  const auto row = [](const nlohmann::ordered_json& entry, const std::string& stage, const std::string& what) {
    std::printf("%-10s %9s %8.0f MB %7.0f MB   %s\n", stage.c_str(), duration_text(entry.at("seconds")).c_str(),
                entry.at("memory_bytes").get<double>() * 1e-6, entry.at("disk_bytes").get<double>() * 1e-6,
                what.c_str());
  };
  for (const auto& stage : plan.at("stages")) row(stage, stage.at("stage"), stage.at("what"));
  row(plan.at("estimate"), "all", "estimates; nothing was run");
}

int run(const Options& options, const GlobalOptions& global) {
  std::vector<std::string> overrides = options.overrides;
  if (global.seed) overrides.push_back("seed=" + std::to_string(*global.seed));
  const Recipe recipe = parse_recipe(options.recipe, overrides);
  const RunOptions how{.folder = options.out,
                       .resume = options.resume,
                       .threads = static_cast<int>(global.threads),
                       .runtime_program = {},
                       .log = options.log};
  if (options.dry_run) {
    const std::string plan = plan_recipe(recipe, how);
    if (global.json)
      std::fputs(plan.c_str(), stdout);
    else
      print_plan(plan);
    return 0;
  }
  const RunOutcome outcome = run_recipe(recipe, how, terminal_progress(global));
  if (global.json) {
    std::fputs(outcome.report.c_str(), stdout);
  } else {
    std::printf("\n%s\n", report_table(outcome.report).c_str());
    if (!outcome.gguf.empty()) std::printf("model   %s\n", outcome.gguf.c_str());
    std::printf("report  %s\n", outcome.report_html.c_str());
    if (!outcome.gguf.empty()) std::printf("\nTalk to it:  attar-run chat %s\n", outcome.gguf.c_str());
  }
  return outcome.gates_passed ? 0 : static_cast<int>(ErrorKind::GateMissed);
}

// The recipe library lies beside the sources, or beside an installed program.
std::vector<fs::path> recipe_folders() {
  std::error_code code;
  const fs::path program = fs::read_symlink("/proc/self/exe", code).parent_path();
  return {"recipes", program / "../../recipes", program / "../recipes", program / "../share/attar/recipes"};
}

std::vector<fs::path> recipe_files() {
  for (const fs::path& folder : recipe_folders()) {
    if (!fs::is_directory(folder)) continue;
    std::vector<fs::path> found;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder))
      if (entry.path().extension() == ".yaml") found.push_back(entry.path().lexically_normal());
    std::sort(found.begin(), found.end());
    if (!found.empty()) return found;
  }
  throw usage_error("attar recipes", "finds no recipes", "a folder `recipes` here or beside the program");
}

// The first line of a recipe's second comment.
std::string about(const fs::path& recipe) {
  const std::string text = read_file(recipe.string());
  const size_t begin = text.find("#\n# ");
  return begin == std::string::npos ? "" : text.substr(begin + 4, text.find('\n', begin + 4) - begin - 4);
}

int list_recipes(const GlobalOptions& global) {
  nlohmann::ordered_json document = {{"schema_version", 1}, {"recipes", nlohmann::ordered_json::array()}};
  for (const fs::path& path : recipe_files()) {
    document["recipes"].push_back({{"path", path.string()}, {"about", about(path)}});
    if (!global.json) std::printf("%-36s %s\n", path.string().c_str(), about(path).c_str());
  }
  if (global.json) std::printf("%s\n", document.dump(1).c_str());
  return 0;
}

}  // namespace

Action add_run(CLI::App& command, const GlobalOptions& global) {
  const auto options = std::make_shared<Options>();
  command.add_option("RECIPE", options->recipe, "a recipe file (.yaml)")->required();
  command.add_option("OVERRIDES", options->overrides, "changes such as seed=3 or stages.distill.tokens=1000");
  command.add_option("--out", options->out, "run folder; runs/NAME by default");
  command.add_flag("--resume", options->resume, "go on with the run that the folder holds");
  command.add_flag("--dry-run", options->dry_run, "print the plan with time, memory and disk, and stop");
  visit_fields(options->log, FlagAdder(command));
  return [options, &global] { return run(*options, global); };
}

Action add_recipes(CLI::App&, const GlobalOptions& global) {
  return [&global] { return list_recipes(global); };
}

}  // namespace attar::cli
