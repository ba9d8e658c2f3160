// The source of a chat template, rendered over a conversation with everything a message can have.
#include "runtime/formats/jinja/chat_template.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace attar;
  static const ChatContext plain{
      .messages = {{"system", "Be brief."}, {"user", " hi "}, {"assistant", "<think>a</think>b"}},
      .bos_token = "<s>",
      .eos_token = "</s>",
      .flags = {{"enable_thinking", false}},
      .date_string = "01 Jan 2025"};
  static const ChatContext tools{
      .messages = {{"user", "",
                    R"({"role": "user", "content": [{"type": "text", "text": "\u00e9\n"}, {"type": "image"}]})"},
                   {"assistant", "",
                    R"({"role": "assistant", "content": null, "tool_calls": [{"type": "function", "id": "1",
                     "function": {"name": "f", "arguments": {"x": [1, 2.5, true, null], "y": "z"}}}]})"},
                   {"tool", "4"}},
      .add_generation_prompt = false,
      .date_string = "01 Jan 2025",
      .tools = R"([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}])"};
  const std::string source(fuzz::as_text(data, size));
  fuzz::may_refuse([&] {
    const ChatTemplate chat(source);
    for (const ChatContext* context : {&plain, &tools}) fuzz::may_refuse([&] { chat.render(*context); });
  });
  return 0;
}
