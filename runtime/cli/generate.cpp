// generate: streaming text on stdout; or many prompts of a file, several at once.
#include <algorithm>
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

struct Options {
  SpeakerOptions speaker;
  std::string prompts, prompt_cache;
  int64_t batch = 16;
};

// Of a .jsonl file its texts and chats, of any other its lines.
std::vector<Document> prompts_of(const std::string& path) {
  if (path.ends_with(".jsonl") || path.ends_with(".jsonl.gz")) return read_documents(path);
  const std::string text = path == kStandardInput ? read_standard_input() : read_text_file(path);
  std::vector<Document> prompts;
  for (size_t begin = 0, line = 1; begin < text.size(); ++line) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string prompt = text.substr(begin, end - begin);
    if (!prompt.empty() && prompt.back() == '\r') prompt.pop_back();
    begin = end + 1;
    if (!prompt.empty()) prompts.push_back({.text = std::move(prompt), .where = path + ":" + std::to_string(line)});
  }
  if (prompts.empty()) throw input_error(path, "holds no prompts", "one a line");
  return prompts;
}

Json json_of(const runtime::Speculation& guesses) {
  return {{"passes", guesses.passes}, {"guessed", guesses.guessed}, {"accepted", guesses.accepted}};
}

// One document of JSON a line, or prompts with their texts as a text file has documents.
int run_prompts(const Options& options, const GlobalOptions& global) {
  const std::vector<Document> given = prompts_of(options.prompts);
  Speaker speaker(options.speaker, global);
  if (!options.speaker.system.empty() || given[0].is_chat()) speaker.begin_chat(global);
  std::vector<std::vector<int32_t>> prompts;
  for (const Document& prompt : given) {
    prompts.push_back(speaker.prompt_tokens(prompt));
    if (static_cast<int64_t>(prompts.back().size()) >= speaker.room())
      throw input_error(prompt.where, "the prompt is longer than the context",
                        "fewer than " + std::to_string(speaker.room()) + " tokens",
                        std::to_string(prompts.back().size()), "shorten it");
  }
  const auto tell = [&](size_t index, const runtime::Ended& ended) {
    if (!global.json) {
      if (index > 0) show("<|endoftext|>\n");
      if (options.speaker.system.empty()) show(given[index].text);
      show(ended.text.text);
      show("\n");
      return;
    }
    const Json line = {{"schema_version", 1},
                       {"index", index},
                       {"text", ended.text.text},
                       {"tokens", ended.text.tokens},
                       {"stop_reason", name_of(ended.text.reason)},
                       {"prompt_tokens", ended.prompt_tokens},
                       {"held_tokens", ended.held_tokens},
                       {"speculation", json_of(ended.text.speculation)}};
    show(line.dump(-1, ' ', false, nlohmann::detail::error_handler_t::replace) + "\n");
    std::fflush(stdout);
  };
  const bool whole = speaker.speak_all(prompts, static_cast<uint64_t>(global.seed.value_or(0)), options.batch, tell);
  return whole ? 0 : static_cast<int>(ErrorKind::Interrupted);
}

int run_generate(const SpeakerOptions& options, const std::string& prompt_cache, const GlobalOptions& global) {
  const std::string text = options.prompt == kStandardInput ? whole_input() : options.prompt;
  Speaker speaker(options, global);
  Prompt asked{.text = text};
  if (!options.system.empty()) {
    speaker.begin_chat(global);
    asked.system = options.system;
  }
  const std::vector<int32_t> prompt = speaker.prompt_tokens(asked);
  if (prompt.empty()) throw usage_error("--prompt", "is empty and the model has no BOS token", "some text");
  std::string added;  // by a chat whose session it is
  if (!prompt_cache.empty()) added = speaker.restore(prompt_cache).value_or("");
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
                           {"speculation", json_of(out.speculation)}};
    std::printf("%s\n", document.dump(1, ' ', false, nlohmann::detail::error_handler_t::replace).c_str());
  }
  if (!prompt_cache.empty()) speaker.keep(prompt_cache, added);
  return out.reason == runtime::StopReason::Interrupted ? static_cast<int>(ErrorKind::Interrupted) : 0;
}

}  // namespace

Action add_generate(CLI::App& command, const GlobalOptions& global) {
  const auto options = std::make_shared<Options>();
  add_speaker(command, options->speaker);
  add_text(command, "PROMPT,-p,--prompt", options->speaker.prompt,
           "text to continue, or with --system the user's message; - for standard input");
  add_text(
      command, "--prompts", options->prompts,
      "many prompts instead of one: a file with a prompt a line, or .jsonl with texts and chats; - for standard input");
  add_whole(command, "--batch", options->batch,
            "with --prompts: how many texts are written at once; it changes no text", {.least = 1, .most = 512});
  add_text(
      command, "--prompt-cache", options->prompt_cache,
      "a file that keeps what was read and written: a prompt that begins likewise is gone on with, not read again");
  require_one(command, "--prompt", "--prompts");
  return [options, &command, &global] {
    const bool many = is_given(command, "--prompts");
    if (!many && is_given(command, "--batch")) throw usage_error("--batch", "is of --prompts, which is not given");
    if (many && is_given(command, "--prompt-cache")) throw usage_error("--prompt-cache", "is of one prompt");
    runtime::check(options->speaker.generate);
    return many ? run_prompts(*options, global) : run_generate(options->speaker, options->prompt_cache, global);
  };
}

}  // namespace attar::cli
