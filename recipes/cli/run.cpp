// run.
#include "recipes/run/run.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "recipes/cli/on_ranks.h"
#include "recipes/cli/verbs.h"
#include "recipes/report/report.h"
#include "recipes/run/folder/kept_recipe.h"
#include "recipes/run/machine.h"
#include "recipes/schema/recipe.h"
#include "runtime/base/error.h"
#include "runtime/cli/flags.h"
#include "runtime/cli/terminal/progress_line.h"
#include "runtime/cli/terminal/terminal.h"

namespace attar::cli {
namespace {

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
  std::printf("\nThe smallest file that quantizing the teacher alone gives: %.4g MB\n",
              plan.at("smallest_quantized_bytes").get<double>() * 1e-6);
}

int run(const Options& options, const GlobalOptions& global, Ranks* ranks) {
  std::vector<std::string> overrides = options.overrides;
  if (global.seed) overrides.push_back("seed=" + std::to_string(*global.seed));
  RunOptions how{.folder = options.out,
                 .resume = options.resume,
                 .threads = static_cast<int>(global.threads),
                 .runtime_program = {},
                 .log = options.log,
                 .ranks = ranks};
  const Recipe recipe = recipe_to_run(options.recipe, overrides, how, terminal_progress(global));
  if (options.dry_run) {
    const std::string plan = plan_recipe(recipe, how, terminal_progress(global));
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
    if (!outcome.gguf.empty()) std::printf("\nTalk to it:  attar chat %s\n", shell_quoted(outcome.gguf).c_str());
  }
  return outcome.gates_passed ? 0 : static_cast<int>(ErrorKind::GateMissed);
}

}  // namespace

Action add_run(CLI::App& command, const GlobalOptions& global) {
  const auto options = std::make_shared<Options>();
  command
      .add_option("RECIPE", options->recipe,
                  "a recipe file (.yaml), the name of one that comes with Attar (attar recipes), or with --resume the "
                  "folder of a run")
      ->required();
  command.add_option("OVERRIDES", options->overrides, "changes such as seed=3 or stages.distill.tokens=1000");
  command.add_option("--out", options->out, "run folder; runs/NAME by default");
  command.add_flag("--resume", options->resume,
                   "go on with the run that its folder holds, which knows its recipe and overrides");
  command.add_flag("--dry-run", options->dry_run, "print the plan with time, memory and disk, and stop");
  visit_fields(options->log, FlagAdder(command));
  return [options, &global] { return on_ranks(global, [&](Ranks* ranks) { return run(*options, global, ranks); }); };
}

}  // namespace attar::cli
