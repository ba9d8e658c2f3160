// A JSON Schema where it begins with {, else GBNF: read, and followed for some tokens of a small vocabulary.
#include "runtime/text/grammar/grammars.h"
#include "tests/fuzz/fuzz_input.h"

namespace {

attar::Tokenizer small_vocabulary() {
  attar::TokenizerData data;
  data.kind = attar::TokenizerKind::Spm;
  data.tokens = {{.text = "<unk>", .kind = attar::TokenKind::Unknown},
                 {.text = "<s>", .kind = attar::TokenKind::Control},
                 {.text = "</s>", .kind = attar::TokenKind::Control}};
  data.unknown = 0, data.bos = 1, data.eos = 2;
  for (int byte = 0; byte < 256; ++byte) {
    char text[8];
    std::snprintf(text, sizeof text, "<0x%02X>", static_cast<unsigned>(byte));
    data.tokens.push_back({.text = text, .kind = attar::TokenKind::Byte});
  }
  for (const char* text : {"ab", "\": \"", "{\"", "\u65E5", "10", ", \"", "true", "\u2581\u2581"})
    data.tokens.push_back({.text = text});
  return attar::Tokenizer(std::move(data));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace attar;
  using namespace attar::runtime;
  static const Tokenizer tokenizer = small_vocabulary();
  const std::string text(fuzz::as_text(data, size));
  const GrammarKind kind = text.starts_with('{') ? GrammarKind::JsonSchema : GrammarKind::Gbnf;
  fuzz::may_refuse([&] {
    GrammarCursor cursor(Grammars(tokenizer).of(kind, {text, "input"}));
    uint32_t random = static_cast<uint32_t>(size);
    for (int step = 0; step < 6 && !cursor.must_end(); ++step) {
      const auto allowed = cursor.allowed();
      std::vector<int32_t> may;
      for (int32_t id = 3; id < tokenizer.vocab_size(); ++id)
        if (allowed->has(static_cast<size_t>(id))) may.push_back(id);
      if (may.empty()) break;  // rules that are nested too deeply may leave nothing
      random = random * 1664525u + 1013904223u;
      GrammarCursor(cursor).advance(may[0]);
      cursor.advance(may[(random >> 8) % may.size()]);
    }
  });
  return 0;
}
