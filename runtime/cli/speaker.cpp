#include "runtime/cli/speaker.h"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <map>
#include <type_traits>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/host/freed_memory.h"
#include "runtime/base/input_file.h"
#include "runtime/cli/flags.h"
#include "runtime/cli/terminal/terminal.h"
#include "runtime/text/session_file.h"

namespace attar::cli {

void add_speaker(CLI::App& command, SpeakerOptions& options) {
  add_model(command, options.model);
  add_text(command, "--system", options.system, "system message of a chat");
  add_chat_template(command, options.chat_template);
  add_special(command, options.special);
  add_kv(command, options.kv);
  add_text(command, "--draft", options.draft,
           "a smaller model with the same vocabulary, which guesses what MODEL will write: the same text, sooner where "
           "it guesses well");
  add_whole(command, "--context", options.context, "most tokens kept; 0 for the model's own", {.least = 0});
  FlagAdder flags(command);
  visit_fields(options.generate, [&](auto& value, const std::string& name, const char* help) {
    if constexpr (std::is_same_v<decltype(value), int64_t&>)
      if (name == "max_tokens") return add_whole(command, "-n,--max-tokens", value, help, {.least = 1});
    flags(value, name.c_str(), help);
  });
}

Speaker::Speaker(const SpeakerOptions& options, const GlobalOptions& global)
    : options_(options),
      progress_(terminal_progress(global)),
      pool_(global.thread_count()),
      model_(runtime::Model::load(ModelFile::open(options.model, global.hub), {.kv = kv_format_of(options.kv, "--kv")},
                                  pool_)),
      work_(model_, pool_),
      said_(model_),
      grammars_(model_.tokenizer()),
      grammar_(runtime::grammar_of(options.generate, grammars_)),
      reader_(model_.tokenizer(),
              {.chat_template = options.chat_template, .special = options.special, .day = Day::Today}) {
  give_back_freed_memory();
  answer_interrupts_with(nullptr);  // text stops at its next token
  const int64_t longest = model_.config().context_length;
  if (options.context > longest)
    throw usage_error("--context", "is longer than the model's context", "at most " + std::to_string(longest),
                      std::to_string(options.context));
  show_notes(model_.notes(), global);
  if (options.draft.empty()) return;
  runtime::Model draft = runtime::Model::load(ModelFile::open(options.draft, global.hub), {}, pool_);
  show_notes(draft.notes(), global);
  draft_.emplace(std::move(draft), model_, pool_);
}

void Speaker::begin_chat(const GlobalOptions& global) {
  reader_.require_template();
  show_notes(reader_.notes(), global);
}

std::vector<int32_t> Speaker::prompt_tokens(const Document& prompt) {
  if (prompt.is_chat()) {
    std::vector<ChatMessage> messages;
    const bool has_own = options_.system.empty() || prompt.messages[0].role == "system";
    if (!has_own) messages.push_back({"system", options_.system});
    for (const ChatMessage& message : prompt.messages) messages.push_back(message);
    return encode(model_.tokenizer(), reader_.prompt(messages, prompt.tools)).ids;
  }
  Prompt asked{.text = prompt.text};
  if (!options_.system.empty()) asked.system = options_.system;
  return prompt_tokens(asked);
}

// As they were given, as far as the context has room.
runtime::GenerateOptions Speaker::options_for(size_t prompt_tokens, uint64_t seed) const {
  const int64_t left = room() - static_cast<int64_t>(prompt_tokens);
  if (left < 1)
    throw usage_error("the prompt", "is longer than the context", "fewer than " + std::to_string(room()) + " tokens",
                      std::to_string(prompt_tokens), "shorten it");
  runtime::GenerateOptions how = options_.generate;
  how.max_tokens = std::min(how.max_tokens, left);
  how.seed = seed;
  how.keeps_to = grammar_;
  return how;
}

// A text that the room for it ended.
void Speaker::say_why(runtime::Generated& out, size_t prompt_tokens) const {
  const int64_t left = room() - static_cast<int64_t>(prompt_tokens);
  if (out.reason == runtime::StopReason::MaxTokens && left < options_.generate.max_tokens)
    out.reason = runtime::StopReason::ContextFull;
}

runtime::Generated Speaker::speak(const std::vector<int32_t>& prompt, uint64_t seed,
                                  const std::function<bool(std::string_view)>& on_text) {
  runtime::GenerateOptions how = options_for(prompt.size(), seed);
  how.draft = draft_ ? &*draft_ : nullptr;
  said_.begin(prompt);
  try {
    runtime::Generated out = runtime::generate(model_, said_.cache(), prompt, how, work_, on_text, progress_);
    say_why(out, prompt.size());
    said_.hold(prompt, out.tokens);
    return out;
  } catch (...) {
    said_.truncate(said_.tokens().size());  // the cache may have gone on: keep() writes what both have
    throw;
  }
}

std::optional<std::string> Speaker::restore(const std::string& path) {
  if (!path_exists(path)) return std::nullopt;
  return runtime::restore_session(path, model_, said_, pool_);
}

void Speaker::keep(const std::string& path, std::string_view added) {
  runtime::save_session(path, model_, said_, added, pool_);
}

bool Speaker::speak_all(const std::vector<std::vector<int32_t>>& prompts, uint64_t seed, int64_t at_once,
                        const std::function<void(size_t index, const runtime::Ended& ended)>& on_end) {
  std::map<uint64_t, runtime::Ended> ended;  // waiting for earlier ones
  runtime::BatchEngine engine(model_, work_, {.max_sequences = at_once, .draft = draft_ ? &*draft_ : nullptr});
  for (const std::vector<int32_t>& prompt : prompts) {
    runtime::BatchRequest request;
    request.prompt = prompt;
    request.options = options_for(prompt.size(), seed);
    request.on_token = [](int32_t) { return interrupted() ? Flow::Stop : Flow::GoOn; };
    request.on_prompt = [](int64_t, int64_t) { return interrupted() ? Flow::Stop : Flow::GoOn; };
    request.on_end = [&ended](const runtime::Ended& one) { ended.emplace(one.id, one); };
    engine.submit(std::move(request));
  }
  size_t told = 0;
  Event texts{.stage = "generate", .unit = "texts", .total = static_cast<int64_t>(prompts.size())};
  for (bool more = true; more && !interrupted();) {
    more = engine.step();
    for (auto next = ended.find(told + 1); next != ended.end() && !interrupted(); next = ended.find(told + 1)) {
      if (next->second.error) std::rethrow_exception(next->second.error);
      say_why(next->second.text, prompts[told].size());
      on_end(told++, next->second);
      ended.erase(next);
    }
    texts.done = static_cast<int64_t>(told);
    report(progress_, texts);
  }
  return !interrupted();
}

bool show(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (!text.empty()) check_output();
  return !interrupted();
}

const char* reason_name(runtime::StopReason reason) {
  static constexpr const char* kNames[] = {"end_of_text", "stop_string", "max_tokens", "context_full", "interrupted"};
  return kNames[static_cast<size_t>(reason)];
}

}  // namespace attar::cli
