// generate and chat: streaming text on stdout.
#include "runtime/text/generate.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <type_traits>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/cli/flags.h"
#include "runtime/cli/terminal.h"
#include "runtime/cli/verbs.h"
#include "runtime/formats/model_text.h"
#include "runtime/formats/tokenizer/unicode.h"

namespace attar::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string model, prompt, system, chat_template;
  bool special = false;
  int64_t context = 0;
  runtime::GenerateOptions generate;
};

void add_shared(CLI::App& command, Options& options) {
  add_model(command, options.model);
  add_text(command, "--system", options.system, "system message of a chat");
  add_chat_template(command, options.chat_template);
  add_special(command, options.special);
  add_whole(command, "--context", options.context, "most tokens kept; 0 for the model's own", {.least = 0});
  FlagAdder flags(command);
  visit_fields(options.generate, [&](auto& value, const std::string& name, const char* help) {
    if constexpr (std::is_same_v<decltype(value), int64_t&>)
      if (name == "max_tokens") return add_whole(command, "-n,--max-tokens", value, help, {.least = 1});
    flags(value, name.c_str(), help);
  });
}

// A model with all it needs to speak.
class Speaker {
 public:
  Speaker(const Options& options, const GlobalOptions& global)
      : options_(options),
        progress_(terminal_progress(global)),
        pool_(global.thread_count()),
        model_(runtime::Model::load(ModelFile::open(options.model), {}, pool_)),
        work_(model_, pool_),
        cache_(model_),
        reader_(model_.tokenizer(),
                {.chat_template = options.chat_template, .special = options.special, .day = Day::Today}) {
    answer_interrupts_with(nullptr);  // text stops at its next token
    const int64_t longest = model_.config().context_length;
    if (options.context > longest)
      throw usage_error("--context", "is longer than the model's context", "at most " + std::to_string(longest),
                        std::to_string(options.context));
    show_notes(model_.notes(), global);
  }

  std::vector<int32_t> chat_prompt(const std::vector<ChatMessage>& messages) {
    return encode(model_.tokenizer(), reader_.prompt(messages)).ids;
  }
  std::vector<int32_t> prompt_tokens(const Prompt& prompt) { return reader_.prompt_tokens(prompt); }
  // Before anything is said: the template of a chat is there, and whose it is.
  void begin_chat(const GlobalOptions& global) {
    reader_.require_template();
    show_notes(reader_.notes(), global);
  }

  // Tokens of prompt and answer together.
  int64_t room() const { return options_.context > 0 ? options_.context : model_.config().context_length; }

  // Continues `prompt`; what the cache already holds of it is not computed again.
  runtime::Generated speak(const std::vector<int32_t>& prompt, uint64_t seed,
                           const std::function<bool(std::string_view)>& show) {
    const int64_t left = room() - static_cast<int64_t>(prompt.size());
    if (left < 1)
      throw usage_error("the prompt", "is longer than the context", "fewer than " + std::to_string(room()) + " tokens",
                        std::to_string(prompt.size()), "shorten it");
    size_t common = 0;
    while (common < held_.size() && common + 1 < prompt.size() && held_[common] == prompt[common]) ++common;
    cache_.truncate(static_cast<int64_t>(common));
    runtime::GenerateOptions how = options_.generate;
    how.max_tokens = std::min(how.max_tokens, left);
    how.seed = seed;
    runtime::Generated out = runtime::generate(model_, cache_, prompt, how, work_, show, progress_);
    if (out.reason == runtime::StopReason::MaxTokens && left < options_.generate.max_tokens)
      out.reason = runtime::StopReason::ContextFull;
    held_ = prompt;
    held_.insert(held_.end(), out.tokens.begin(), out.tokens.end());
    held_.resize(static_cast<size_t>(cache_.length_tokens()));
    return out;
  }

 private:
  const Options& options_;
  Progress progress_;
  ThreadPool pool_;
  runtime::Model model_;
  runtime::Workspace work_;
  runtime::KvCache cache_;
  TextReader reader_;
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
  runtime::check(options.generate.sampling);
  Speaker speaker(options, global);
  Prompt asked{.text = options.prompt};
  if (!options.system.empty()) {
    speaker.begin_chat(global);
    asked.system = options.system;
  }
  const std::vector<int32_t> prompt = speaker.prompt_tokens(asked);
  if (prompt.empty()) throw usage_error("--prompt", "is empty and the model has no BOS token", "some text");
  const auto start = std::chrono::steady_clock::now();
  std::string echo = options.system.empty() ? options.prompt : "";  // shown once the prompt is read
  const auto on_text = [&](std::string_view text) {
    return global.json ? !interrupted() : show(std::exchange(echo, {})) && show(text);
  };
  const runtime::Generated out = speaker.speak(prompt, static_cast<uint64_t>(global.seed.value_or(0)), on_text);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!global.json) {
    show(echo);  // of a prompt that nothing followed
    std::fputc('\n', stdout);
  } else {
    const Json document = {{"schema_version", 1},
                           {"text", out.text},
                           {"tokens", out.tokens},
                           {"stop_reason", reason_name(out.reason)},
                           {"prompt_tokens", prompt.size()},
                           {"seconds", seconds}};
    std::printf("%s\n", document.dump(1, ' ', false, nlohmann::detail::error_handler_t::replace).c_str());
  }
  return out.reason == runtime::StopReason::Interrupted ? static_cast<int>(ErrorKind::Interrupted) : 0;
}

// The messages so far, and those of them that the model still sees.
class Chat {
 public:
  Chat(Speaker& speaker, const Options& options, const GlobalOptions& global)
      : speaker_(speaker), options_(options), global_(global) {
    start_over();
  }

  void start_over() {
    seen_.clear();
    transcript_ = Json::array();
    if (!options_.system.empty()) add({{"role", "system"}, {"content", options_.system}});
  }

  // False when the answer was interrupted. A message that cannot be answered is refused alone.
  bool answer(const std::string& line, uint64_t seed) {
    const size_t broken = valid_utf8_prefix(line);
    if (broken < line.size()) {
      refuse("it is not UTF-8 at byte " + std::to_string(broken + 1));
      return true;
    }
    const std::vector<int32_t> prompt = fitting_prompt(line);
    if (prompt.empty()) return true;
    add({{"role", "user"}, {"content", line}});
    const runtime::Generated out =
        speaker_.speak(prompt, seed, [&](std::string_view text) { return global_.json ? !interrupted() : show(text); });
    if (!global_.json) std::fputc('\n', stdout);
    if (out.reason == runtime::StopReason::ContextFull)
      show_notes({"the context is full: the answer ends here"}, global_);
    add({{"role", "assistant"},
         {"content", out.text},
         {"tokens", out.tokens.size()},
         {"stop_reason", reason_name(out.reason)}});
    return out.reason != runtime::StopReason::Interrupted;
  }

  void print() const {
    const Json document = {{"schema_version", 1}, {"messages", transcript_}};
    std::printf("%s\n", document.dump(1, ' ', false, nlohmann::detail::error_handler_t::replace).c_str());
  }

 private:
  void add(const Json& message) {
    seen_.push_back({message["role"], message["content"]});
    transcript_.push_back(message);
  }

  static void refuse(const std::string& why) {
    std::fprintf(stderr, "error: the message is left out: %s\n", why.c_str());
  }

  // All that was said and then `line`. The oldest turns behind a system message are dropped until there is room for an
  // answer. Empty when not even `line` alone fits.
  std::vector<int32_t> fitting_prompt(const std::string& line) {
    const int64_t room = speaker_.room(),
                  answer = std::min(options_.generate.max_tokens, std::max<int64_t>(1, room / 4));
    const auto first = static_cast<std::ptrdiff_t>(options_.system.empty() ? 0 : 1);
    std::vector<ChatMessage> messages = seen_;
    messages.push_back({"user", line});
    while (true) {
      std::vector<int32_t> prompt = speaker_.chat_prompt(messages);
      const bool alone = static_cast<std::ptrdiff_t>(messages.size()) == first + 1;
      const auto length = static_cast<int64_t>(prompt.size());
      if (length + (alone ? 1 : answer) <= room) {
        const size_t dropped = seen_.size() + 1 - messages.size();
        if (dropped > 0)
          show_notes({"the context is full: the oldest " + std::to_string(dropped) + " messages are forgotten"},
                     global_);
        messages.pop_back();
        seen_ = std::move(messages);
        return prompt;
      }
      if (alone) {
        refuse("it takes " + std::to_string(length) + " tokens of a context of " + std::to_string(room) +
               "; shorten it");
        return {};
      }
      messages.erase(messages.begin() + first, messages.begin() + first + 2);  // a question and its answer
    }
  }

  Speaker& speaker_;
  const Options& options_;
  const GlobalOptions& global_;
  std::vector<ChatMessage> seen_;
  Json transcript_;
};

int run_chat(const Options& options, const GlobalOptions& global) {
  runtime::check(options.generate.sampling);
  Speaker speaker(options, global);
  speaker.begin_chat(global);
  Chat chat(speaker, options, global);
  const bool terminal = ::isatty(STDIN_FILENO) == 1;
  if (terminal && !global.quiet) std::fprintf(stderr, "Type a message; /new starts over, Ctrl-D ends.\n");
  bool going = true;
  for (uint64_t turn = 0; going; ++turn) {
    if (terminal) std::fprintf(stderr, "\n> ");
    std::string line;
    if (!std::getline(std::cin, line) || interrupted()) break;
    if (line == "/new")
      chat.start_over();
    else if (!line.empty())
      going = chat.answer(line, static_cast<uint64_t>(global.seed.value_or(0)) + turn);
  }
  if (global.json) chat.print();
  return interrupted() || !going ? static_cast<int>(ErrorKind::Interrupted) : 0;
}

}  // namespace

Action add_generate(CLI::App& command, const GlobalOptions& global) {
  const auto options = std::make_shared<Options>();
  add_shared(command, *options);
  add_text(command, "-p,--prompt", options->prompt, "text to continue, or with --system the user's message");
  require(command, "--prompt");
  return [options, &global] { return run_generate(*options, global); };
}

Action add_chat(CLI::App& command, const GlobalOptions& global) {
  const auto options = std::make_shared<Options>();
  add_shared(command, *options);
  return [options, &global] { return run_chat(*options, global); };
}

}  // namespace attar::cli
