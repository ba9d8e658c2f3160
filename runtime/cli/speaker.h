// A model that goes on with text on stdout: what generate and chat share.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/progress.h"
#include "runtime/cli/program.h"
#include "runtime/formats/model_text.h"
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
  // Before anything is said: the template of a chat is there, and whose it is.
  void begin_chat(const GlobalOptions& global);

  // Tokens of prompt and answer together.
  int64_t room() const { return options_.context > 0 ? options_.context : model_.config().context_length; }

  // Continues `prompt`; what the cache already holds of it is not computed again.
  runtime::Generated speak(const std::vector<int32_t>& prompt, uint64_t seed,
                           const std::function<bool(std::string_view)>& on_text);

 private:
  const SpeakerOptions& options_;
  Progress progress_;
  ThreadPool pool_;
  runtime::Model model_;
  runtime::Workspace work_;
  runtime::Conversation said_;
  std::optional<runtime::Draft> draft_;
  TextReader reader_;
};

// Writes a piece of an answer. False after Ctrl-C.
bool show(std::string_view text);

const char* reason_name(runtime::StopReason reason);  // "end_of_text", ...

}  // namespace attar::cli
