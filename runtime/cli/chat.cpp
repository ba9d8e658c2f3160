// chat: a conversation on stdin and stdout.
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/words/suggestion.h"
#include "runtime/cli/flags.h"
#include "runtime/cli/speaker.h"
#include "runtime/cli/terminal/terminal.h"
#include "runtime/cli/verbs.h"
#include "runtime/formats/tokenizer/unicode.h"

namespace attar::cli {
namespace {

using Json = nlohmann::ordered_json;

// A system message where there is one, then questions, each with its answer.
bool is_chat(const std::vector<ChatMessage>& messages, const std::string& system) {
  const size_t first = system.empty() ? 0 : 1;
  if (messages.size() % 2 != first) return false;
  for (size_t i = 0; i < messages.size(); ++i)
    if (messages[i].role != (i < first ? "system" : i % 2 == first ? "user" : "assistant")) return false;
  return true;
}

// The messages so far, and those of them that the model still sees.
class Chat {
 public:
  Chat(Speaker& speaker, const SpeakerOptions& options, const GlobalOptions& global)
      : speaker_(speaker), options_(options), global_(global), system_(options.system) {
    start_over();
  }

  void start_over() {
    seen_.clear();
    transcript_ = Json::array();
    if (!system_.empty()) add({{"role", "system"}, {"content", system_}});
  }
  // "": none.
  void start_over(const std::string& system) {
    system_ = system;
    start_over();
  }

  // False when the answer was interrupted. A message that cannot be answered is refused alone; for whatever this throws
  // it was not said.
  bool answer(const std::string& line, uint64_t seed) {
    const size_t broken = valid_utf8_prefix(line);
    if (broken < line.size()) {
      refuse("it is not UTF-8 at byte " + std::to_string(broken + 1));
      return true;
    }
    const std::vector<int32_t> prompt = fitting_prompt(line);
    if (prompt.empty()) return true;
    const size_t seen = seen_.size(), said = transcript_.size();
    try {
      add({{"role", "user"}, {"content", line}});
      return say(prompt, seed) != runtime::StopReason::Interrupted;
    } catch (...) {
      seen_.resize(seen);
      transcript_.erase(transcript_.begin() + static_cast<std::ptrdiff_t>(said), transcript_.end());
      throw;
    }
  }

  // As text, to go on from another time; `next_turn` counts lines.
  std::string state(uint64_t next_turn) const {
    Json seen = Json::array();
    for (const ChatMessage& message : seen_) seen.push_back({{"role", message.role}, {"content", message.content}});
    const Json document = {{"system", system_}, {"turn", next_turn}, {"seen", seen}, {"messages", transcript_}};
    return document.dump(-1, ' ', false, nlohmann::detail::error_handler_t::replace);
  }
  // -> the next turn. Error{Input}: it is no state; Error{Usage}: --system says something else.
  uint64_t go_on(const std::string& state, const std::string& where) {
    const Json document = Json::parse(state, nullptr, false);
    const Error no_chat = input_error(where, "the session holds no chat", "a file of attar-run chat --session");
    try {
      const std::string system = document.at("system");
      if (!system_.empty() && system != system_)
        throw usage_error("--system", "is not what the session began with", printable(system), printable(system_),
                          "leave it out, or name another file");
      std::vector<ChatMessage> seen;
      for (const Json& message : document.at("seen")) seen.push_back({message.at("role"), message.at("content")});
      if (!document.at("messages").is_array() || !is_chat(seen, system)) throw no_chat;
      const uint64_t turn = document.at("turn");
      system_ = system;
      seen_ = std::move(seen);
      transcript_ = document.at("messages");
      return turn;
    } catch (const Json::exception&) {
      throw no_chat;
    }
  }
  size_t messages() const { return transcript_.size(); }

  void print() const {
    const Json document = {{"schema_version", 1}, {"messages", transcript_}};
    std::printf("%s\n", document.dump(1, ' ', false, nlohmann::detail::error_handler_t::replace).c_str());
  }

 private:
  // The answer, shown and remembered. -> why it ended
  runtime::StopReason say(const std::vector<int32_t>& prompt, uint64_t seed) {
    const runtime::Generated out =
        speaker_.speak(prompt, seed, [&](std::string_view text) { return global_.json ? !interrupted() : show(text); });
    if (!global_.json) std::fputc('\n', stdout);
    if (out.reason == runtime::StopReason::ContextFull)
      show_notes({"the context is full: the answer ends here"}, global_);
    add({{"role", "assistant"},
         {"content", out.text},
         {"tokens", out.tokens.size()},
         {"stop_reason", reason_name(out.reason)}});
    return out.reason;
  }

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
    const auto first = static_cast<std::ptrdiff_t>(system_.empty() ? 0 : 1);
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
  const SpeakerOptions& options_;
  const GlobalOptions& global_;
  std::string system_;
  std::vector<ChatMessage> seen_;
  Json transcript_;
};

constexpr const char* kChatHelp =
    "/new starts over, /system TEXT starts over with a system message (without TEXT: with none), /help shows this, "
    "/exit or Ctrl-D ends.\n";

enum class Said { Message, Command, End };

// What a line is, and what a command says is done. A line that begins with a slash and is no command is not sent.
Said obey(const std::string& line, Chat& chat) {
  if (line.empty()) return Said::Command;
  if (line[0] != '/') return Said::Message;
  const std::string word = line.substr(1, line.find(' ') - 1);
  if (word == "exit" || word == "quit") return Said::End;
  if (word == "new") {
    chat.start_over();
  } else if (word == "system") {
    chat.start_over(line.size() > 8 ? line.substr(8) : "");
  } else {
    if (word != "help") {
      const std::string near = nearest(word, {"new", "system", "help", "exit"});
      std::fprintf(stderr, "error: /%s is no command%s; with a space in front it is a message\n",
                   printable(word).c_str(), near.empty() ? "" : (" (did you mean /" + near + "?)").c_str());
    }
    std::fputs(kChatHelp, stderr);
  }
  return Said::Command;
}

// The next line of standard input, also of a file from Windows: without its mark of UTF-8 and its carriage return.
bool read_line(std::string& line) {
  if (!std::getline(std::cin, line)) return false;
  if (line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);
  if (line.ends_with('\r')) line.pop_back();
  return true;
}

struct Options {
  SpeakerOptions speaker;
  std::string session;
};

// The session that was left, where there is one. -> its next turn
uint64_t begin(const Options& options, const GlobalOptions& global, Speaker& speaker, Chat& chat) {
  if (options.session.empty()) return 0;
  const std::optional<std::string> state = speaker.restore(options.session);
  if (!state) return 0;
  const uint64_t turn = chat.go_on(*state, options.session);
  show_notes({"goes on behind " + std::to_string(chat.messages()) + " messages of " + options.session}, global);
  return turn;
}

int run_chat(const Options& options, const GlobalOptions& global) {
  runtime::check(options.speaker.generate);
  Speaker speaker(options.speaker, global);
  speaker.begin_chat(global);
  Chat chat(speaker, options.speaker, global);
  uint64_t turn = begin(options, global, speaker, chat);
  const bool terminal = ::isatty(STDIN_FILENO) == 1;
  if (terminal && !global.quiet) std::fprintf(stderr, "Type a message. %s", kChatHelp);
  bool going = true;
  const auto keep = [&] {
    if (!options.session.empty()) speaker.keep(options.session, chat.state(turn));
  };
  try {
    for (; going; ++turn) {
      if (terminal) std::fprintf(stderr, "\n> ");
      std::string line;
      if (!read_line(line) || interrupted()) break;
      const Said said = obey(line, chat);
      if (said == Said::End) break;
      if (said == Said::Message) going = chat.answer(line, static_cast<uint64_t>(global.seed.value_or(0)) + turn);
    }
  } catch (...) {  // what was said before is not lost with this message
    keep();
    throw;
  }
  keep();
  if (global.json) chat.print();
  return interrupted() || !going ? static_cast<int>(ErrorKind::Interrupted) : 0;
}

}  // namespace

Action add_chat(CLI::App& command, const GlobalOptions& global) {
  const auto options = std::make_shared<Options>();
  add_speaker(command, options->speaker);
  add_text(command, "--session", options->session,
           "a file that keeps the conversation at its end, and goes on with it where it is there");
  return [options, &global] { return run_chat(*options, global); };
}

}  // namespace attar::cli
