#include "runtime/judge/verify.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "runtime/base/error.h"
#include "runtime/cli/flags.h"
#include "runtime/cli/terminal/terminal.h"
#include "runtime/cli/verbs.h"
#include "runtime/formats/text_paths.h"
#include "runtime/judge/gates.h"
#include "runtime/judge/headline.h"
#include "runtime/judge/measure.h"
#include "runtime/judge/statistics/paired_difference.h"
#include "runtime/judge/verify_json.h"

namespace attar::cli {
namespace {

struct Options {
  std::string teacher, student;
  std::vector<std::string> data;
  runtime::VerifyOptions verify;
  std::map<std::string, double> gates;
  std::string against;
  bool bench = true;
  bool context_given = false;  // otherwise a window is no longer than the models allow
};

// The same verification of another student, position by position.
runtime::PairedDifference compared(const ModelFile& teacher, const runtime::VerifyResults& results,
                                   const std::vector<Document>& text, const Options& options,
                                   const runtime::VerifyOptions& how, const GlobalOptions& global) {
  ThreadPool pool(global.thread_count());
  const runtime::VerifyResults other = runtime::verify(teacher, ModelFile::open(options.against, global.hub), text, how,
                                                       pool, terminal_progress(global));
  const runtime::Fidelity& a = results.deployed ? *results.deployed : *results.fp32;
  const runtime::Fidelity& b = other.deployed ? *other.deployed : *other.fp32;
  if (a.window_ends != b.window_ends)
    throw usage_error("--against", "is scored on other positions", "a student with the same vocabulary",
                      printable(options.against));
  return runtime::paired_difference(a.kl_values, b.kl_values, a.window_ends);
}

int run(const Options& options, const GlobalOptions& global) {
  runtime::check_gates(options.gates, options.verify, options.bench);
  runtime::VerifyOptions how = options.verify;
  how.tasks = text_paths(how.tasks);  // what is not there is said before anything is scored
  const std::vector<Document> text = read_all_documents(options.data);
  const ModelFile teacher = ModelFile::open(options.teacher, global.hub),
                  student = ModelFile::open(options.student, global.hub);
  if (!options.context_given)
    how.context = std::min({how.context, teacher.config().context_length, student.config().context_length});
  runtime::VerifyResults results;
  {
    ThreadPool pool(global.thread_count());
    results = runtime::verify(teacher, student, text, how, pool, terminal_progress(global));
    if (global.on_tasks != nullptr)
      results.tasks = global.on_tasks(teacher, student, how, pool, terminal_progress(global));
  }
  std::optional<runtime::PairedDifference> less;
  if (!options.against.empty()) less = compared(teacher, results, text, options, how, global);
  show_notes(results.notes, global);
  runtime::Speeds speeds;
  if (options.bench)
    speeds = runtime::measure_both(runtime::runtime_program(), resolve_model_path(options.teacher, global.hub),
                                   resolve_model_path(options.student, global.hub), options.verify.kv.value_or(""),
                                   global.thread_count(), terminal_progress(global));
  const std::vector<runtime::GateResult> judged =
      runtime::judge(options.gates, results, speeds.teacher, speeds.student, student.size_bytes());
  bool passed = true;
  for (const runtime::GateResult& gate : judged) passed &= gate.pass;
  nlohmann::ordered_json document = nlohmann::ordered_json::parse(runtime::verify_document(results, speeds, judged));
  if (global.json) {
    if (less) document["results"]["kl_against"] = {{"mean", less->mean}, {"low95", less->low}, {"high95", less->high}};
    std::printf("%s\n", document.dump(1).c_str());
    return passed ? 0 : static_cast<int>(ErrorKind::GateMissed);
  }
  std::printf("%lld tokens in %lld windows of at most %lld", static_cast<long long>(results.scored_tokens),
              static_cast<long long>(results.windows), static_cast<long long>(results.context));
  if (results.skipped_tokens > 0)
    std::printf(", %lld more left out where the two tokenize differently",
                static_cast<long long>(results.skipped_tokens));
  std::vector<runtime::HeadlineRow> rows = runtime::efficiency_rows(document.at("measurements").dump());
  if (rows.empty()) rows.push_back(runtime::size_row(teacher.size_bytes(), student.size_bytes()));
  std::printf("\n\n%s%s", runtime::headline_title().c_str(), runtime::headline_lines(rows).c_str());
  for (const auto& [mode, title] :
       {std::pair{"fp32", "fp32 (reference numbers)"}, {"deployed", "deployed (what users run)"}})
    if (const auto& fidelity = document.at("results").at(mode); !fidelity.is_null())
      std::printf("\n%s\n%s", title, runtime::headline_lines(runtime::fidelity_rows(fidelity.dump())).c_str());
  std::printf("\n%s", runtime::headline_note().c_str());
  for (const runtime::TaskComparison& task : results.tasks)
    std::printf(
        "\n%s, %lld items: teacher %.1f %%, student %.1f %% right, difference %+.1f (95 %% interval %+.1f to %+.1f); "
        "the "
        "same answer %.1f %%\n",
        task.name.c_str(), static_cast<long long>(task.items), 100 * task.teacher, 100 * task.student,
        100 * task.difference, 100 * task.low, 100 * task.high, 100 * task.agreement);
  if (less)
    std::printf("\nKL minus that of %s: %.5f nats, 95 %% interval %.5f to %.5f\n", options.against.c_str(), less->mean,
                less->low, less->high);
  for (const runtime::GateResult& gate : judged)
    std::printf("gate %-20s limit %-10g value %-12g %s\n", gate.name.c_str(), gate.limit, gate.value,
                gate.pass ? "passed" : "MISSED");
  return passed ? 0 : static_cast<int>(ErrorKind::GateMissed);
}

}  // namespace

Action add_verify(CLI::App& command, const GlobalOptions& global) {
  const auto options = std::make_shared<Options>();
  add_text(command, "TEACHER", options->teacher, "the model to be faithful to");
  add_text(command, "STUDENT", options->student, "the model to judge");
  add_data(command, options->data, "text to judge on");
  for (const char* name : {"TEACHER", "STUDENT", "--data"}) require(command, name);
  FlagAdder flags(command);
  flags(options->gates, "gate", runtime::kGatesHelp);
  add_text(command, "--against", options->against,
           "another student: also print how much more or less STUDENT diverges, paired by position");
  add_switch(command, "--bench,!--no-bench", options->bench, "measure speed and memory of both models");
  visit_fields(options->verify, [&](auto& value, const std::string& name, const char* help) {
    if (global.on_tasks != nullptr || !name.starts_with("task")) flags(value, name.c_str(), help);
  });
  return [options, &command, &global] {
    options->context_given = is_given(command, "--context");
    return run(*options, global);
  };
}

}  // namespace attar::cli
