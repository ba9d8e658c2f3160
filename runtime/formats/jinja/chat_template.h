// Chat templates: a small sandboxed interpreter of the Jinja subset that model files carry. No attribute of the host is
// reachable, steps, depth and output are limited, and anything unknown is an Error{Input} with a line number.
// Judge: jinja2, set up as transformers does (trim_blocks, lstrip_blocks, loop controls, {% generation %}).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar {

struct ChatMessage {
  std::string role;  // system, user, assistant, tool
  std::string content;
  std::string json{};  // the whole message, where it is more than two texts: tool calls, content in parts
};

struct ChatContext {
  std::vector<ChatMessage> messages;
  bool add_generation_prompt = true;
  std::string bos_token{}, eos_token{};  // text of the special tokens
  std::map<std::string, bool> flags{};   // further variables, such as enable_thinking
  std::string date_string{};             // for strftime_now; empty: today
  std::string tools{};                   // JSON: the list of tools the assistant may call; empty: none
};

struct RenderedChat {
  std::string text;
  // What came from messages and tools, but for roles, whatever the template did to it: a control token must not be read
  // where one of its bytes lies here. In order, apart from each other.
  std::vector<ByteSpan> input{};
  // What stands in {% generation %} blocks: what the assistant says. In order, apart from each other.
  std::vector<ByteSpan> generated{};
};

class ChatTemplate {
 public:
  explicit ChatTemplate(const std::string& source);  // Error{Input} with line on a syntax error
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  // raise_exception() in the template is an Error{Input} with its message.
  RenderedChat render(const ChatContext& context) const;

  bool marks_generation() const;  // it has {% generation %} blocks

 private:
  struct Program;
  std::unique_ptr<const Program> program_;
};

}  // namespace attar
