// generate: streaming text on stdout.
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/cli/flags.h"
#include "runtime/cli/speaker.h"
#include "runtime/cli/verbs.h"
#include "runtime/formats/text_file.h"
#include "runtime/formats/text_paths.h"

namespace attar::cli {
namespace {

using Json = nlohmann::ordered_json;

// Standard input without the line breaks at its end, which a shell puts there.
std::string whole_input() {
  std::string text = read_standard_input();
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text;
}

int run_generate(const SpeakerOptions& options, const GlobalOptions& global) {
  runtime::check(options.generate.sampling);
  const std::string text = options.prompt == kStandardInput ? whole_input() : options.prompt;
  Speaker speaker(options, global);
  Prompt asked{.text = text};
  if (!options.system.empty()) {
    speaker.begin_chat(global);
    asked.system = options.system;
  }
  const std::vector<int32_t> prompt = speaker.prompt_tokens(asked);
  if (prompt.empty()) throw usage_error("--prompt", "is empty and the model has no BOS token", "some text");
  const auto start = std::chrono::steady_clock::now();
  std::string echo = options.system.empty() ? text : "";  // shown once the prompt is read
  const auto on_text = [&](std::string_view piece) {
    return global.json ? !interrupted() : show(std::exchange(echo, {})) && show(piece);
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
                           {"stop_reason", name_of(out.reason)},
                           {"prompt_tokens", prompt.size()},
                           {"seconds", seconds},
                           {"speculation",
                            {{"passes", out.speculation.passes},
                             {"guessed", out.speculation.guessed},
                             {"accepted", out.speculation.accepted}}}};
    std::printf("%s\n", document.dump(1, ' ', false, nlohmann::detail::error_handler_t::replace).c_str());
  }
  return out.reason == runtime::StopReason::Interrupted ? static_cast<int>(ErrorKind::Interrupted) : 0;
}

}  // namespace

Action add_generate(CLI::App& command, const GlobalOptions& global) {
  const auto options = std::make_shared<SpeakerOptions>();
  add_speaker(command, *options);
  add_text(command, "PROMPT,-p,--prompt", options->prompt,
           "text to continue, or with --system the user's message; - for standard input");
  require(command, "--prompt");
  return [options, &global] { return run_generate(*options, global); };
}

}  // namespace attar::cli
