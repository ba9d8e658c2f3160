// prune, distill, quantize, export, eval, doctor.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "recipes/cli/verbs.h"
#include "recipes/commands/commands.h"
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

// What every stage verb takes.
struct Shared {
  CommandOptions command;
  explicit Shared(CLI::App& app, const char* model_name) {
    app.add_option(model_name, command.model, "a GGUF file, a Hugging Face directory or pip:PACKAGE")->required();
    app.add_option("-o,--out", command.out, "what to write: a file ending in .gguf, or a folder")->required();
  }
  CommandOptions with(const GlobalOptions& global) const {
    CommandOptions out = command;
    out.threads = static_cast<int>(global.threads);
    out.seed = global.seed.value_or(0);
    return out;
  }
  // How its text is read.
  void add_text_flags(CLI::App& app) { visit_fields(command.text, FlagAdder(app)); }
};

}  // namespace

Action add_prune(CLI::App& command, const GlobalOptions& global) {
  struct State : Shared {
    using Shared::Shared;
    PruneOptions options;
  };
  const auto state = std::make_shared<State>(command, "MODEL");
  command.add_option("--calibration", state->command.data, "text to measure the model on: .txt or .jsonl, also .gz");
  command.add_option("--to", state->command.to, "tensor type of a GGUF; F16 without it");
  state->add_text_flags(command);
  visit_fields(state->options, FlagAdder(command));
  return [state, &global] {
    return show(prune_model(state->with(global), state->options, terminal_progress(global)), global);
  };
}

Action add_distill(CLI::App& command, const GlobalOptions& global) {
  struct State : Shared {
    using Shared::Shared;
    DistillOptions options;
    std::string student;
    bool resume = false;
  };
  const auto state = std::make_shared<State>(command, "TEACHER");
  command.add_option("--student", state->student, "the model that learns")->required();
  command.add_option("--data", state->command.data, "text to learn from: .txt or .jsonl, also .gz")->required();
  command.add_option("--to", state->command.to, "tensor type of a GGUF; F16 without it");
  command.add_flag("--resume", state->resume, "go on from the last checkpoint beside OUT");
  state->add_text_flags(command);
  visit_fields(state->options, FlagAdder(command));
  return [state, &global] {
    return show(
        distill_model(state->with(global), state->student, state->options, state->resume, terminal_progress(global)),
        global);
  };
}

Action add_quantize(CLI::App& command, const GlobalOptions& global) {
  struct State : Shared {
    using Shared::Shared;
    QuantizeOptions options;
    std::string imatrix;
  };
  const auto state = std::make_shared<State>(command, "MODEL");
  command.add_option("--calibration", state->command.data,
                     "text that says which inputs matter: .txt or .jsonl, also .gz");
  command.add_option("--imatrix", state->imatrix, "an importance matrix of llama-imatrix (GGUF) instead");
  state->add_text_flags(command);
  visit_fields(state->options, FlagAdder(command));
  return [state, &global] {
    return show(quantize_model(state->with(global), state->options, state->imatrix, terminal_progress(global)), global);
  };
}

Action add_export(CLI::App& command, const GlobalOptions& global) {
  struct State : Shared {
    using Shared::Shared;
    ExportTarget target;
  };
  const auto state = std::make_shared<State>(command, "MODEL");
  command
      .add_option("--format", state->target.format,
                  "gguf, or hf: a Hugging Face directory, of a GGUF the values that its codes stand for")
      ->capture_default_str();
  command.add_option("--to", state->command.to, "tensor type of the GGUF; without it tensors keep theirs");
  command.add_option("--dtype", state->target.dtype,
                     "numbers of a Hugging Face directory: float32 (without it) or bfloat16");
  command.add_flag("--dequantized", state->target.dequantized,
                   "hf: write the values that codes of type --to stand for, or those of a GGUF's own codes");
  command.add_option("--split-size", state->target.split_size,
                     "gguf: most bytes of one file, such as 2GB; a larger model becomes OUT-00001-of-0000N.gguf, ...");
  return [state, &global] {
    return show(export_model(state->with(global), state->target, terminal_progress(global)), global);
  };
}

Action add_eval(CLI::App& command, const GlobalOptions& global) {
  struct State {
    CommandOptions command;
    EvalOptions options;
  };
  const auto state = std::make_shared<State>();
  add_model(command, state->command.model);
  command.add_option("--data", state->command.data, "text for perplexity and bits per byte");
  command.add_option("--task", state->options.tasks,
                     "multiple-choice or cloze items (.jsonl, also .gz), scored as lm-evaluation-harness does");
  command.add_option("--numerics", state->options.numerics, "fp32 or deployed")->capture_default_str();
  add_whole(command, "--context", state->options.context, "window length in tokens for --data", {.least = 2});
  add_text(
      command, "--chat-template", state->options.chat_template,
      "chat template of chats, of which what the assistant says is scored: a file, or chatml, llama3, gemma, phi3 or "
      "zephyr; without it the model's own");
  add_whole(command, "--limit", state->options.limit, "items of each task; 0 for all", {.least = 0});
  command.add_flag("--per-item", state->options.per_item, "list each item's log-probabilities and choice too");
  return [state, &global] {
    state->command.threads = static_cast<int>(global.threads);
    return show(eval_model(state->command, state->options, terminal_progress(global)), global);
  };
}

Action add_doctor(CLI::App&, const GlobalOptions& global) {
  return [&global] { return show(doctor(runtime::runtime_program()), global); };
}

}  // namespace attar::cli
