#include "runtime/formats/jinja/chat_template.h"

#include <ctime>
#include <nlohmann/json.hpp>

#include "runtime/base/error.h"
#include "runtime/formats/container/json_object.h"
#include "runtime/formats/jinja/jinja_eval.h"

namespace attar {
namespace {

using jinja::Arguments;
using jinja::Dict;
using jinja::Function;
using jinja::List;
using jinja::None;
using jinja::Value;
using Json = nlohmann::ordered_json;

Value raise_exception(const List& arguments, const Arguments&) {
  throw input_error("chat template",
                    arguments.empty() ? "refuses these messages" : printable(to_text(arguments[0]), 300));
}

Value make_namespace(const List& arguments, const Arguments& keywords) {
  if (!arguments.empty()) throw input_error("chat template", "namespace takes keywords only");
  Dict space;
  for (const auto& [name, value] : keywords) assign(space, name, value);
  return space;
}

Value range(const List& arguments, const Arguments& keywords) {
  if (arguments.empty() || arguments.size() > 3 || !keywords.empty())
    throw input_error("chat template", "range needs one to three numbers");
  for (const Value& argument : arguments)
    if (!argument.is_int()) throw input_error("chat template", "range needs whole numbers", "", type_name(argument));
  const auto number = [&](size_t i) { return std::get<int64_t>(arguments[i].data); };
  const int64_t begin = arguments.size() > 1 ? number(0) : 0, end = arguments.size() > 1 ? number(1) : number(0),
                step = arguments.size() > 2 ? number(2) : 1;
  if (step == 0) throw input_error("chat template", "range cannot step by 0");
  List out;
  int64_t i = begin;
  while (step > 0 ? i < end : i > end) {
    if (out.size() >= 100000) throw input_error("chat template", "range is too long", "at most 100000 numbers");
    out.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return out;
}

Value value_of(const Json& json) {
  switch (json.type()) {
    case Json::value_t::null:
      return None{};
    case Json::value_t::boolean:
      return json.get<bool>();
    case Json::value_t::number_float:
      return json.get<double>();
    case Json::value_t::string:
      return json.get<std::string>();
    case Json::value_t::array: {
      List list;
      for (const Json& item : json) list.push_back(value_of(item));
      return list;
    }
    case Json::value_t::object: {
      Dict dict;
      for (const auto& [key, item] : json.items()) assign(dict, key, value_of(item));
      return dict;
    }
    default:
      if (json.is_number_unsigned() && json.get<uint64_t>() > uint64_t{INT64_MAX})
        throw input_error("chat template", "a whole number in a message is too large", "", json.dump());
      return json.get<int64_t>();
  }
}

Value value_of(const std::string& text, const char* where) {
  check_json_depth(text, where);
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) throw input_error(where, "is no JSON");
  return value_of(json);
}

Function strftime_now(const std::string& date) {
  return [date](const List& arguments, const Arguments&) -> Value {
    if (!date.empty()) return date;
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    ::localtime_r(&now, &parts);
    char text[128];
    const std::string format = arguments.empty() ? "%d %b %Y" : to_text(arguments[0]);
    return std::string(text, std::strftime(text, sizeof text, format.c_str(), &parts));
  };
}

}  // namespace

const char* const kChatMlTemplate =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
    "'\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

struct ChatTemplate::Program {
  jinja::NodePtr root;
};

ChatTemplate::ChatTemplate(const std::string& source) {
  auto program = std::make_unique<Program>();
  program->root = jinja::parse(source);
  program_ = std::move(program);
}
ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

std::string ChatTemplate::render(const ChatContext& context) const {
  List messages;
  for (const ChatMessage& message : context.messages)
    messages.push_back(message.json.empty()
                           ? Value(Dict{{"role", Value(message.role)}, {"content", Value(message.content)}})
                           : value_of(message.json, "a message of the chat"));
  Dict globals{{"messages", Value(std::move(messages))},
               {"tools", context.tools.empty() ? Value(None{}) : value_of(context.tools, "the chat's tools")},
               {"documents", Value(None{})},
               {"add_generation_prompt", Value(context.add_generation_prompt)},
               {"raise_exception", Value(Function(raise_exception))},
               {"namespace", Value(Function(make_namespace))},
               {"range", Value(Function(range))},
               {"strftime_now", Value(strftime_now(context.date_string))}};
  if (!context.bos_token.empty()) globals.emplace_back("bos_token", Value(context.bos_token));
  if (!context.eos_token.empty()) globals.emplace_back("eos_token", Value(context.eos_token));
  if (!context.date_string.empty()) globals.emplace_back("date_string", Value(context.date_string));
  for (const auto& [name, flag] : context.flags) assign(globals, name, Value(flag));
  return jinja::render(*program_->root, globals);
}

}  // namespace attar
