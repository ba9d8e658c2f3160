#include "runtime/formats/jinja/chat_template.h"

#include <algorithm>
#include <cctype>
#include <ctime>
#include <nlohmann/json.hpp>

#include "runtime/base/error.h"
#include "runtime/formats/container/json_object.h"
#include "runtime/formats/jinja/interpreter/eval.h"
#include "runtime/formats/jinja/values/print.h"

namespace attar {
namespace {

using jinja::Call;
using jinja::Dict;
using jinja::Function;
using jinja::List;
using jinja::None;
using jinja::Value;
using Json = nlohmann::ordered_json;

Value raise_exception(const Call& call) {
  throw input_error("chat template", call.positional.empty() ? "refuses these messages"
                                                             : printable(jinja::to_text(call[0])->bytes, 300));
}

Value input_text(const std::string& text) {
  return jinja::Text(text, jinja::kInput);
}

Value value_of(const Json& json) {
  switch (json.type()) {
    case Json::value_t::null:
      return None{};
    case Json::value_t::boolean:
      return json.get<bool>();
    case Json::value_t::number_float:
      return json.get<double>();
    case Json::value_t::number_unsigned:
      return json.get<uint64_t>();
    case Json::value_t::string:
      return input_text(json.get_ref<const std::string&>());
    case Json::value_t::array: {
      List list;
      for (const Json& item : json) list.push_back(value_of(item));
      return list;
    }
    case Json::value_t::object: {
      Dict dict;
      for (const auto& [key, item] : json.items()) dict.assign(input_text(key), value_of(item));
      return dict;
    }
    default:
      return json.get<int64_t>();
  }
}

Value value_of(const std::string& text, const char* where) {
  check_json_depth(text, where);
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) throw input_error(where, "is no JSON");
  return value_of(json);
}

// A message's reasoning goes by three names; templates find it by any of them, as in transformers (5.23).
Value with_reasoning(Value message) {
  if (message.dict() == nullptr) return message;
  const Value* reasoning = nullptr;
  for (const char* name : {"reasoning", "thinking", "reasoning_content"})
    if (const Value* found = message.dict()->find(name); found != nullptr && !found->is_none()) reasoning = found;
  if (reasoning == nullptr) return message;
  Dict out{{"thinking", *reasoning}};
  for (const auto& [key, value] : *message.dict()) out.assign(key, value);
  out.assign("reasoning_content", *reasoning);
  return out;
}

// Templates make control tokens of roles, as in <|user|>: a role is the frame's, not somebody's words, as long as it is
// a word.
Value role_value(const std::string& role) {
  const bool word = std::all_of(role.begin(), role.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-' || c == ' ';
  });
  return word ? Value(role) : input_text(role);
}

Value message_value(const ChatMessage& message) {
  if (message.json.empty())
    return Dict{{Value("role"), role_value(message.role)}, {Value("content"), input_text(message.content)}};
  Value value = with_reasoning(value_of(message.json, "a message of the chat"));
  if (value.dict() != nullptr) value.dict()->assign("role", role_value(message.role));
  return value;
}

Function strftime_now(const std::string& date) {
  return {"strftime_now", [date](const Call& call) -> Value {
            if (!date.empty()) return date;
            const std::time_t now = std::time(nullptr);
            std::tm parts{};
            ::localtime_r(&now, &parts);
            char text[128];
            const std::string format = call.positional.empty() ? "%d %b %Y" : jinja::to_text(call[0])->bytes;
            return std::string(text, std::strftime(text, sizeof text, format.c_str(), &parts));
          }};
}

// The stretches of text whose bytes have the mark.
std::vector<ByteSpan> marked(const jinja::Text& text, char mark) {
  std::vector<ByteSpan> out;
  for (size_t i = 0; i < text.marks.size(); ++i) {
    if ((text.marks[i] & mark) == 0) continue;
    if (out.empty() || out.back().end != i) out.push_back({i, i});
    out.back().end = i + 1;
  }
  return out;
}

}  // namespace

struct ChatTemplate::Program {
  jinja::Program tree;
};

ChatTemplate::ChatTemplate(const std::string& source)
    : program_(std::make_unique<const Program>(Program{jinja::parse(source)})) {}
ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

bool ChatTemplate::marks_generation() const {
  return program_->tree.marks_generation;
}

RenderedChat ChatTemplate::render(const ChatContext& context) const {
  List messages;
  for (const ChatMessage& message : context.messages) messages.push_back(message_value(message));
  Dict globals{{"messages", Value(std::move(messages))},
               {"tools", context.tools.empty() ? Value(None{}) : value_of(context.tools, "the chat's tools")},
               {"documents", Value(None{})},
               {"add_generation_prompt", Value(context.add_generation_prompt)},
               {"raise_exception", Value(Function{"raise_exception", raise_exception})},
               {"strftime_now", Value(strftime_now(context.date_string))}};
  if (!context.bos_token.empty()) globals.assign("bos_token", context.bos_token);
  if (!context.eos_token.empty()) globals.assign("eos_token", context.eos_token);
  if (!context.date_string.empty()) globals.assign("date_string", context.date_string);
  for (const auto& [name, flag] : context.flags) globals.assign(name, flag);
  jinja::Text text = jinja::render(program_->tree, globals);
  RenderedChat out{.text = std::move(text.bytes)};
  out.input = marked(text, jinja::kInput);
  out.generated = marked(text, jinja::kGenerated);
  return out;
}

}  // namespace attar
