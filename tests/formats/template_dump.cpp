// template_dump IN.json OUT.json: [{template, messages, tools, add_generation_prompt, bos, eos, flags}] to [{text,
// input, generated} or {error}].
#include <nlohmann/json.hpp>

#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/formats/jinja/chat_template.h"

namespace {

nlohmann::ordered_json pairs_of(const std::vector<attar::ByteSpan>& spans) {
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (const attar::ByteSpan& span : spans) out.push_back({span.begin, span.end});
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace attar;
  if (argc != 3) return 2;
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (const nlohmann::ordered_json& entry : nlohmann::ordered_json::parse(read_file(argv[1]))) {
    ChatContext context{.messages = {},
                        .add_generation_prompt = entry.at("add_generation_prompt"),
                        .bos_token = entry.at("bos"),
                        .eos_token = entry.at("eos")};
    for (const nlohmann::ordered_json& message : entry.at("messages"))
      context.messages.push_back({message.at("role"), "", message.dump()});
    if (entry.contains("tools") && !entry["tools"].is_null()) context.tools = entry["tools"].dump();
    for (const auto& [name, flag] : entry.at("flags").items()) context.flags[name] = flag;
    context.date_string = "26 Jul 2024";
    try {
      const RenderedChat chat = ChatTemplate(entry.at("template").get<std::string>()).render(context);
      out.push_back({{"text", chat.text}, {"input", pairs_of(chat.input)}, {"generated", pairs_of(chat.generated)}});
    } catch (const Error& error) {
      out.push_back({{"error", error.what()}});
    }
  }
  write_file_atomically(argv[2], out.dump());
  return 0;
}
