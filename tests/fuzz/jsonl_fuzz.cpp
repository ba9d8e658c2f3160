// A text or chat file of JSON lines; each chat goes through a template that shows all of it.
#include "runtime/formats/text_file.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace attar;
  static const fuzz::Folder folder;
  static const ChatTemplate chat(
      "{% for m in messages %}{{ m.content }}{{ m | tojson }}{% endfor %}{{ tools | tojson }}");
  const std::string path = folder.put("chats.jsonl", fuzz::as_text(data, size));
  fuzz::may_refuse([&] {
    for (const Document& document : read_documents(path)) {
      document_text(document);
      fuzz::may_refuse([&] { chat.render({.messages = document.messages, .tools = document.tools}); });
    }
  });
  return 0;
}
