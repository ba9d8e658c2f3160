// A model that goes on with text on stdout: what generate and chat share.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/progress.h"
#include "runtime/cli/program.h"
#include "runtime/formats/model_text.h"
#include "runtime/text/batch_engine.h"
#include "runtime/text/conversation.h"
#include "runtime/text/generate.h"

namespace attar::cli {

struct SpeakerOptions {
  std::string model, prompt, system, chat_template, kv, draft;
  bool special = false;
  int64_t context = 0;
  runtime::GenerateOptions generate;
};
void add_speaker(CLI::App& command, SpeakerOptions& options);  // all flags but the prompt

// A model with all it needs to speak.
class Speaker {
 public:
  Speaker(const SpeakerOptions& options, const GlobalOptions& global);  // the options must outlive it

  std::vector<int32_t> chat_prompt(const std::vector<ChatMessage>& messages) {
    return encode(model_.tokenizer(), reader_.prompt(messages)).ids;
  }
  std::vector<int32_t> prompt_tokens(const Prompt& prompt) { return reader_.prompt_tokens(prompt); }
  // A chat or a text, behind the system message where it has none of its own.
  std::vector<int32_t> prompt_tokens(const Document& prompt);
  // Before anything is said: the template of a chat is there, and whose it is.
  void begin_chat(const GlobalOptions& global);

  // Tokens of prompt and answer together.
  int64_t room() const { return options_.context > 0 ? options_.context : model_.config().context_length; }

  // Continues `prompt`; what the cache already holds of it is not computed again.
  runtime::Generated speak(const std::vector<int32_t>& prompt, uint64_t seed,
                           const std::function<bool(std::string_view)>& on_text);
  // Goes on from a file of keep(), where there is one. -> what was added to it, or nullopt
  std::optional<std::string> restore(const std::string& path);
  void keep(const std::string& path, std::string_view added);
  // Continues each prompt, `at_once` together: the texts that speak() gives. `on_end` is called in the order of the
  // prompts. False after Ctrl-C.
  bool speak_all(const std::vector<std::vector<int32_t>>& prompts, uint64_t seed, int64_t at_once,
                 const std::function<void(size_t index, const runtime::Ended& ended)>& on_end);

 private:
  runtime::GenerateOptions options_for(size_t prompt_tokens, uint64_t seed) const;
  void say_why(runtime::Generated& out, size_t prompt_tokens) const;

  const SpeakerOptions& options_;
  Progress progress_;
  ThreadPool pool_;
  runtime::Model model_;
  runtime::Workspace work_;
  runtime::Conversation said_;
  std::optional<runtime::Draft> draft_;
  runtime::Grammars grammars_;
  std::shared_ptr<runtime::TokenGrammar> grammar_;  // that every answer keeps to, or nullptr
  TextReader reader_;
};

// Writes a piece of an answer. False after Ctrl-C.
bool show(std::string_view text);

const char* reason_name(runtime::StopReason reason);  // "end_of_text", ...

}  // namespace attar::cli
