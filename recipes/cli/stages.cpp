// prune, distill, quantize, export, eval, doctor.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "recipes/cli/on_ranks.h"
#include "recipes/cli/summary.h"
#include "recipes/cli/verbs.h"
#include "recipes/commands/commands.h"
#include "recipes/hub/hub_model.h"
#include "recipes/run/machine.h"
#include "recipes/run/run_log.h"
#include "runtime/base/error.h"
#include "runtime/base/host/cpu_limits.h"
#include "runtime/cli/flags.h"
#include "runtime/cli/terminal/terminal.h"
#include "runtime/judge/doctor.h"
#include "runtime/judge/measure.h"
#include "runtime/judge/tasks/eval_json.h"

namespace attar::cli {
namespace {

// What these verbs have in common: a command and its log.
struct Given {
  CommandOptions command;
  LogOptions log;
  bool verbose = false;

  Detail detail() const { return verbose ? Detail::All : Detail::Brief; }
};

void add_model_and_out(CLI::App& app, const char* model_name, Given& given,
                       const char* out = "what to write: a file ending in .gguf, or a folder") {
  add_text(app, model_name, given.command.model, "a GGUF file, a Hugging Face directory, pip:PACKAGE or hf:ORG/NAME");
  add_text(app, "-o,--out", given.command.out, out);
  for (const char* name : {model_name, "--out"}) require(app, name);
  add_switch(app, "--force", given.command.force, "write over what is there");
  add_switch(app, "--verbose", given.verbose, "show every tensor and every fallback");
}

constexpr RenamedField kCalibrationRenamed[] = {{"calibration", "data"}};

void add_type(CLI::App& app, std::string& to) {
  add_text(app, "--to", to, "tensor type of a GGUF; F16 without it");
}

// The flags of the log, and the action: calls `work` (a function of commands.h) and shows its document, with --json as
// it is, else by `print`.
template <class State, class Work, class Print>
Action logged(CLI::App& app, const GlobalOptions& global, std::shared_ptr<State> state, Work work, Print print) {
  visit_fields(state->log, FlagAdder(app));
  return [&app, &global, state, work, print] {
    CommandOptions command = state->command;
    command.threads = static_cast<int>(global.threads);
    command.seed = global.seed.value_or(0);
    const RunLog log(state->log);
    log.write(LogLevel::Info, "Attar " ATTAR_VERSION ": " + command_line());
    return log.around([&] {
      const std::string document = work(*state, command, log.watching(terminal_progress(global)));
      const auto json = nlohmann::json::parse(document);
      for (const char* key : {"fallbacks", "notes"})
        for (const std::string& line : json.value(key, std::vector<std::string>()))
          log.write(LogLevel::Warning, app.get_name() + ": " + line);
      log.write(LogLevel::Info, "done");
      if (global.json)
        std::fputs(document.c_str(), stdout);
      else
        print(document, state->detail());
      return 0;
    });
  };
}

// An action of `logged` that trains.
template <class State>
Action trains(const GlobalOptions& global, std::shared_ptr<State> state, Action action) {
  return [&global, state, action] {
    return on_ranks(global, [&](Ranks* ranks) {
      state->command.ranks = ranks;
      return action();
    });
  };
}

}  // namespace

Action add_prune(CLI::App& app, const GlobalOptions& global) {
  struct State : Given {
    PruneOptions options;
    bool resume = false;
  };
  const auto state = std::make_shared<State>();
  add_model_and_out(app, "MODEL", *state);
  add_data(app, state->command.data, "text to measure the model on");
  add_type(app, state->command.to);
  add_switch(app, "--resume", state->resume,
             "go on where a run was broken off: with the cuts that it left in OUT.steps");
  visit_fields(state->command.text, FlagAdder(app));
  visit_fields(state->options, FlagAdder(app));
  refuse_renamed(app, renamed_fields(state->options));
  refuse_renamed(app, kCalibrationRenamed);
  return logged(
      app, global, state,
      [](const State& given, const CommandOptions& command, const Progress& progress) {
        return prune_model(command, given.options, progress, given.resume);
      },
      print_fields);
}

Action add_distill(CLI::App& app, const GlobalOptions& global) {
  struct State : Given {
    DistillStage options;
    DistillInputs inputs;
  };
  const auto state = std::make_shared<State>();
  add_model_and_out(app, "TEACHER", *state);
  add_text(app, "--student", state->inputs.student, "the model that learns");
  add_data(app, state->command.data, "text to learn from");
  for (const char* name : {"--student", "--data"}) require(app, name);
  add_texts(app, "--evaluation", state->inputs.evaluation, "arms: text to judge on, which nobody learns from");
  add_type(app, state->command.to);
  add_switch(app, "--resume", state->inputs.resume, "go on from the last checkpoint in OUT.steps");
  visit_fields(state->command.text, FlagAdder(app));
  visit_fields(state->options, FlagAdder(app));
  return trains(global, state,
                logged(
                    app, global, state,
                    [](const State& given, const CommandOptions& command, const Progress& progress) {
                      return distill_model(command, given.inputs, given.options, progress);
                    },
                    print_distill));
}

Action add_quantize(CLI::App& app, const GlobalOptions& global) {
  struct State : Given {
    QuantizeOptions options;
    QuantizeInputs inputs;
  };
  const auto state = std::make_shared<State>();
  add_model_and_out(app, "MODEL", *state, "what to write: a file ending in .gguf");
  add_data(app, state->command.data, "text that says which inputs matter, and that preset learned learns from");
  add_text(app, "--imatrix", state->inputs.imatrix, "an importance matrix of llama-imatrix (GGUF) instead");
  add_text(app, "--imatrix-out", state->inputs.imatrix_out,
           "write what the text of --data says as an importance matrix, for llama-quantize or --imatrix");
  add_texts(app, "--train", state->inputs.training, "preset learned: text to learn from in place of that of --data");
  add_switch(
      app, "--resume", state->inputs.resume,
      "go on where a run was broken off: with the codes, measurements and checkpoints that it left in OUT.steps");
  add_text(app, "--cache", state->inputs.cache,
           "a folder that keeps what is measured for a size or a loss: another budget of the same model and text takes "
           "it from there");
  visit_fields(state->command.text, FlagAdder(app));
  visit_fields(state->options, FlagAdder(app));
  refuse_renamed(app, kCalibrationRenamed);
  return trains(global, state,
                logged(
                    app, global, state,
                    [](const State& given, const CommandOptions& command, const Progress& progress) {
                      return quantize_model(command, given.options, given.inputs, progress);
                    },
                    print_quantize));
}

Action add_export(CLI::App& app, const GlobalOptions& global) {
  struct State : Given {
    ExportTarget target;
  };
  const auto state = std::make_shared<State>();
  add_model_and_out(app, "MODEL", *state);
  add_text(app, "--to", state->command.to, "tensor type of the GGUF; without it tensors keep theirs");
  visit_fields(state->target, FlagAdder(app));
  return logged(
      app, global, state,
      [](const State& given, const CommandOptions& command, const Progress& progress) {
        return export_model(command, given.target, progress);
      },
      print_fields);
}

Action add_eval(CLI::App& app, const GlobalOptions& global) {
  struct State : Given {
    runtime::EvalOptions options;
  };
  const auto state = std::make_shared<State>();
  add_model(app, state->command.model);
  add_data(app, state->command.data, "text for perplexity and bits per byte, - for standard input");
  visit_fields(state->options, FlagAdder(app));
  refuse_renamed(app, renamed_fields(state->options));
  return logged(
      app, global, state,
      [](const State& given, const CommandOptions& command, const Progress& progress) {
        runtime::check_evaluation(command.data, given.options);
        ThreadPool pool(command.threads > 0 ? command.threads : default_threads());
        const ModelFile file = ModelFile::open(command.model, hub_source(progress));
        return runtime::eval_document(command.model, file, command.data, given.options, pool, progress);
      },
      [](const std::string& document, Detail) { print_eval(document); });
}

Action add_doctor(CLI::App&, const GlobalOptions& global) {
  return [&global] {
    const std::string document = runtime::doctor_document(runtime::runtime_program());
    if (global.json)
      std::fputs(document.c_str(), stdout);
    else
      print_fields(document, Detail::All);
    return 0;
  };
}

}  // namespace attar::cli
