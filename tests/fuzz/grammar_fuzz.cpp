// A JSON Schema where it begins with {, else GBNF: read, and followed for some tokens of a small vocabulary.
#include "runtime/text/grammar/grammars.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/small_vocabulary.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace attar;
  using namespace attar::runtime;
  static const Tokenizer tokenizer = fuzz::small_vocabulary();
  const std::string text(fuzz::as_text(data, size));
  const GrammarKind kind = text.starts_with('{') ? GrammarKind::JsonSchema : GrammarKind::Gbnf;
  fuzz::may_refuse([&] {
    GrammarCursor cursor(Grammars(tokenizer).of(kind, {text, "input"}));
    uint32_t random = static_cast<uint32_t>(size);
    for (int step = 0; step < 6 && !cursor.must_end(); ++step) {
      const auto allowed = cursor.allowed();
      std::vector<int32_t> may;
      for (int32_t id = fuzz::kFirstByte; id < tokenizer.vocab_size(); ++id)
        if (allowed->has(static_cast<size_t>(id))) may.push_back(id);
      if (may.empty()) break;  // rules that are nested too deeply may leave nothing
      random = random * 1664525u + 1013904223u;
      GrammarCursor(cursor).advance(may[0]);
      cursor.advance(may[(random >> 8) % may.size()]);
    }
  });
  return 0;
}
