// prune, distill, quantize, export, eval, doctor.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "recipes/cli/verbs.h"
#include "recipes/commands/commands.h"
#include "recipes/run/machine.h"
#include "recipes/run/run_log.h"
#include "runtime/base/error.h"
#include "runtime/cli/flags.h"
#include "runtime/cli/terminal.h"
#include "runtime/judge/measure.h"

namespace attar::cli {
namespace {

// Prints a command's JSON document, or its fields a line each.
int show(const std::string& document, const GlobalOptions& global) {
  if (global.json) {
    std::fputs(document.c_str(), stdout);
    return 0;
  }
  const auto json = nlohmann::ordered_json::parse(document);
  for (const auto& [key, value] : json.items()) {
    if (key == "schema_version") continue;
    if (!value.is_array() && !value.is_object()) {
      std::printf("%-20s %s\n", key.c_str(),
                  value.is_string() ? value.get<std::string>().c_str() : value.dump().c_str());
      continue;
    }
    if (value.empty()) continue;
    std::printf("%s\n", key.c_str());
    size_t shown = 0;
    for (const auto& [name, item] : value.items()) {
      if (++shown > 12) {
        std::printf("  ... %zu more (--json shows all)\n", value.size() - 12);
        break;
      }
      const std::string text = item.is_string() ? item.get<std::string>() : item.dump();
      std::printf("  %s\n", (value.is_object() ? name + ": " + text : text).c_str());
    }
  }
  return 0;
}

// What these verbs have in common: a command and its log.
struct Given {
  CommandOptions command;
  LogOptions log;
};

void add_model_and_out(CLI::App& app, const char* model_name, CommandOptions& command) {
  add_text(app, model_name, command.model, "a GGUF file, a Hugging Face directory or pip:PACKAGE");
  add_text(app, "-o,--out", command.out, "what to write: a file ending in .gguf, or a folder");
  for (const char* name : {model_name, "--out"}) require(app, name);
}

void add_type(CLI::App& app, std::string& to) {
  add_text(app, "--to", to, "tensor type of a GGUF; F16 without it");
}

// The flags of the log, and the action: calls `work` (a function of commands.h) and shows its document.
template <class State, class Work>
Action logged(CLI::App& app, const GlobalOptions& global, std::shared_ptr<State> state, Work work) {
  visit_fields(state->log, FlagAdder(app));
  return [&app, &global, state, work] {
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
      return show(document, global);
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
  add_model_and_out(app, "MODEL", state->command);
  add_texts(app, "--calibration", state->command.data, "text to measure the model on: .txt or .jsonl, also .gz");
  add_type(app, state->command.to);
  add_switch(app, "--resume", state->resume,
             "go on where a run was broken off: with the cuts that it left in OUT.steps");
  visit_fields(state->command.text, FlagAdder(app));
  visit_fields(state->options, FlagAdder(app));
  return logged(app, global, state, [](const State& given, const CommandOptions& command, const Progress& progress) {
    return prune_model(command, given.options, progress, given.resume);
  });
}

Action add_distill(CLI::App& app, const GlobalOptions& global) {
  struct State : Given {
    DistillOptions options;
    std::string student;
    bool resume = false;
  };
  const auto state = std::make_shared<State>();
  add_model_and_out(app, "TEACHER", state->command);
  add_text(app, "--student", state->student, "the model that learns");
  add_texts(app, "--data", state->command.data, "text to learn from: .txt or .jsonl, also .gz");
  for (const char* name : {"--student", "--data"}) require(app, name);
  add_type(app, state->command.to);
  add_switch(app, "--resume", state->resume, "go on from the last checkpoint beside OUT");
  visit_fields(state->command.text, FlagAdder(app));
  visit_fields(state->options, FlagAdder(app));
  return logged(app, global, state, [](const State& given, const CommandOptions& command, const Progress& progress) {
    return distill_model(command, given.student, given.options, given.resume, progress);
  });
}

Action add_quantize(CLI::App& app, const GlobalOptions& global) {
  struct State : Given {
    QuantizeOptions options;
    QuantizeInputs inputs;
  };
  const auto state = std::make_shared<State>();
  add_model_and_out(app, "MODEL", state->command);
  add_texts(app, "--calibration", state->command.data, "text that says which inputs matter: .txt or .jsonl, also .gz");
  add_text(app, "--imatrix", state->inputs.imatrix, "an importance matrix of llama-imatrix (GGUF) instead");
  add_text(app, "--imatrix-out", state->inputs.imatrix_out,
           "write what the calibration text says as an importance matrix, for llama-quantize or --imatrix");
  add_texts(app, "--data", state->inputs.training,
            "qad: text to learn from, and to calibrate with where no other is given: .txt or .jsonl, also .gz");
  add_switch(
      app, "--resume", state->inputs.resume,
      "go on where a run was broken off: with the codes, measurements and checkpoints that it left in OUT.steps");
  add_text(app, "--cache", state->inputs.cache,
           "a folder that keeps what is measured for a size or a loss: another budget of the same model and text takes "
           "it from there");
  visit_fields(state->command.text, FlagAdder(app));
  visit_fields(state->options, FlagAdder(app));
  return logged(app, global, state, [](const State& given, const CommandOptions& command, const Progress& progress) {
    return quantize_model(command, given.options, given.inputs, progress);
  });
}

Action add_export(CLI::App& app, const GlobalOptions& global) {
  struct State : Given {
    ExportTarget target;
  };
  const auto state = std::make_shared<State>();
  add_model_and_out(app, "MODEL", state->command);
  add_text(app, "--to", state->command.to, "tensor type of the GGUF; without it tensors keep theirs");
  visit_fields(state->target, FlagAdder(app));
  return logged(app, global, state, [](const State& given, const CommandOptions& command, const Progress& progress) {
    return export_model(command, given.target, progress);
  });
}

Action add_eval(CLI::App& app, const GlobalOptions& global) {
  struct State : Given {
    EvalOptions options;
  };
  const auto state = std::make_shared<State>();
  add_model(app, state->command.model);
  add_texts(app, "--data", state->command.data, "text for perplexity and bits per byte");
  FlagAdder flags(app);
  visit_fields(state->options, [&](auto& value, const std::string& name, const char* help) {
    flags(value, name == "tasks" ? "task" : name.c_str(), help);  // one each time
  });
  return logged(app, global, state, [](const State& given, const CommandOptions& command, const Progress& progress) {
    return eval_model(command, given.options, progress);
  });
}

Action add_doctor(CLI::App&, const GlobalOptions& global) {
  return [&global] { return show(doctor(runtime::runtime_program()), global); };
}

}  // namespace attar::cli
