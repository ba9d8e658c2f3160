// generate and chat: streaming text on stdout.
#include "runtime/generate.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "runtime/base/error.h"
#include "runtime/cli/terminal.h"
#include "runtime/cli/verbs.h"
#include "runtime/formats/chat_template.h"

namespace attar::cli {
namespace {

struct Options {
  std::string model, prompt, system;
  int64_t max_tokens = 256;
  int64_t context = 0;
  std::vector<std::string> stop;
  runtime::SampleOptions sampling;
};

void add_shared(CLI::App& command, Options& options) {
  command.add_option("MODEL", options.model, "a GGUF file, a Hugging Face directory or pip:PACKAGE")->required();
  command.add_option("-n,--max-tokens", options.max_tokens, "most tokens of an answer")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command.add_option("--system", options.system, "system message of a chat");
  command.add_option("--stop", options.stop, "end before this text; may be given several times");
  command.add_option("--context", options.context, "most tokens kept; 0 for the model's own")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  visit_fields(options.sampling, FlagAdder(command));
}

// A model with all it needs to speak.
class Speaker {
 public:
  Speaker(const Options& options, const GlobalOptions& global)
      : options_(options),
        global_(global),
        pool_(global.thread_count()),
        model_(runtime::Model::load(ModelFile::open(options.model), {}, pool_)),
        work_(model_, pool_),
        cache_(model_) {}

  const Tokenizer& tokenizer() const { return model_.tokenizer(); }
  std::vector<int32_t> chat_prompt(const std::vector<ChatMessage>& messages) const {
    const TokenizerData& data = tokenizer().data();
    const auto text = [&](int32_t id) { return id < 0 ? std::string() : data.tokens[static_cast<size_t>(id)].text; };
    const ChatTemplate chat(data.chat_template.empty() ? kChatMlTemplate : data.chat_template);
    return tokenizer().encode(
        chat.render({.messages = messages, .bos_token = text(data.bos), .eos_token = text(data.eos)}),
        {.add_special = false, .parse_special = true});
  }

  // Continues `prompt`; what the cache already holds of it is not computed again.
  runtime::Generated speak(const std::vector<int32_t>& prompt, uint64_t seed,
                           const std::function<bool(std::string_view)>& show) {
    const int64_t room = options_.context > 0 ? std::min(options_.context, model_.config().context_length)
                                              : model_.config().context_length;
    if (static_cast<int64_t>(prompt.size()) >= room)
      throw usage_error("the prompt", "is longer than the context", "fewer than " + std::to_string(room) + " tokens",
                        std::to_string(prompt.size()), "shorten it, or start a new chat");
    size_t common = 0;
    while (common < held_.size() && common + 1 < prompt.size() && held_[common] == prompt[common]) ++common;
    cache_.truncate(static_cast<int64_t>(common));
    runtime::GenerateOptions how;
    how.max_tokens = std::min(options_.max_tokens, room - static_cast<int64_t>(prompt.size()));
    how.sampling = options_.sampling;
    how.seed = seed;
    how.stop = options_.stop;
    const runtime::Generated out = runtime::generate(model_, cache_, prompt, how, work_, show);
    held_ = prompt;
    held_.insert(held_.end(), out.tokens.begin(), out.tokens.end());
    held_.resize(static_cast<size_t>(cache_.length_tokens()));
    return out;
  }

 private:
  const Options& options_;
  const GlobalOptions& global_;
  ThreadPool pool_;
  runtime::Model model_;
  runtime::Workspace work_;
  runtime::KvCache cache_;
  std::vector<int32_t> held_;
};

bool show(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (!text.empty()) check_output();
  return !interrupted();
}

const char* reason_name(runtime::StopReason reason) {
  static constexpr const char* kNames[] = {"end_of_text", "stop_string", "max_tokens", "context_full", "interrupted"};
  return kNames[static_cast<size_t>(reason)];
}

int run_generate(const Options& options, const GlobalOptions& global) {
  runtime::check(options.sampling);
  Speaker speaker(options, global);
  std::vector<int32_t> prompt;
  if (options.system.empty()) {
    prompt = speaker.tokenizer().encode(options.prompt);
  } else {
    prompt = speaker.chat_prompt({{"system", options.system}, {"user", options.prompt}});
  }
  if (prompt.empty() && speaker.tokenizer().data().bos >= 0) prompt.push_back(speaker.tokenizer().data().bos);
  if (prompt.empty()) throw usage_error("--prompt", "is empty and the model has no BOS token", "some text");
  const auto start = std::chrono::steady_clock::now();
  if (!global.json && options.system.empty()) show(options.prompt);
  const runtime::Generated out =
      speaker.speak(prompt, static_cast<uint64_t>(global.seed.value_or(0)),
                    [&](std::string_view text) { return global.json ? !interrupted() : show(text); });
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!global.json) {
    std::fputc('\n', stdout);
  } else {
    const nlohmann::ordered_json document = {{"schema_version", 1},
                                             {"text", out.text},
                                             {"tokens", out.tokens},
                                             {"stop_reason", reason_name(out.reason)},
                                             {"prompt_tokens", prompt.size()},
                                             {"seconds", seconds}};
    std::printf("%s\n", document.dump(1, ' ', false, nlohmann::detail::error_handler_t::replace).c_str());
  }
  return out.reason == runtime::StopReason::Interrupted ? static_cast<int>(ErrorKind::Interrupted) : 0;
}

int run_chat(const Options& options, const GlobalOptions& global) {
  runtime::check(options.sampling);
  Speaker speaker(options, global);
  if (speaker.tokenizer().data().chat_template.empty())
    std::fprintf(stderr, "note: the model has no chat template; ChatML is used\n");
  std::vector<ChatMessage> messages;
  if (!options.system.empty()) messages.push_back({"system", options.system});
  const bool terminal = ::isatty(STDIN_FILENO) == 1;
  if (terminal && !global.quiet) std::fprintf(stderr, "Type a message; /new starts over, Ctrl-D ends.\n");
  for (uint64_t turn = 0;; ++turn) {
    if (terminal) std::fprintf(stderr, "\n> ");
    std::string line;
    if (!std::getline(std::cin, line) || interrupted()) break;
    if (line.empty()) continue;
    if (line == "/new") {
      messages.resize(options.system.empty() ? 0 : 1);
      continue;
    }
    messages.push_back({"user", line});
    const runtime::Generated out =
        speaker.speak(speaker.chat_prompt(messages), static_cast<uint64_t>(global.seed.value_or(0)) + turn, show);
    std::fputc('\n', stdout);
    messages.push_back({"assistant", out.text});
    if (out.reason == runtime::StopReason::Interrupted) return static_cast<int>(ErrorKind::Interrupted);
  }
  return interrupted() ? static_cast<int>(ErrorKind::Interrupted) : 0;
}

}  // namespace

Action add_generate(CLI::App& command, const GlobalOptions& global) {
  const auto options = std::make_shared<Options>();
  add_shared(command, *options);
  command.add_option("-p,--prompt", options->prompt, "text to continue, or with --system the user's message")
      ->required();
  return [options, &global] { return run_generate(*options, global); };
}

Action add_chat(CLI::App& command, const GlobalOptions& global) {
  const auto options = std::make_shared<Options>();
  add_shared(command, *options);
  return [options, &global] { return run_chat(*options, global); };
}

}  // namespace attar::cli
