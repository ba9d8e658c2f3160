// A text, then in the lines behind it a grammar (a JSON Schema where it begins with {, else GBNF): the text is followed
// a byte at a time, and where a byte may not come it chooses one of the tokens that may. Whatever is written so keeps
// what is promised of it.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "runtime/base/words/utf8.h"
#include "runtime/text/grammar/grammars.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/small_vocabulary.h"

namespace {

using namespace attar;
using namespace attar::runtime;

constexpr size_t kMostTokens = 48;

// All at once says what each token says by itself, and a token that may not come changes nothing.
void expect_one_answer(GrammarCursor& cursor, const TokenSet& allowed, int32_t token) {
  fuzz::require(cursor.allows(token) == allowed.has(static_cast<size_t>(token)), "a token alone and among all");
  if (cursor.allows(token)) return;
  bool refused = false;
  try {
    cursor.advance(token);
  } catch (const Error&) {
    refused = true;
  }
  const auto again = cursor.allowed();
  fuzz::require(refused || token == fuzz::kEos, "a token that may not come is refused");
  fuzz::require(std::ranges::equal(again->words(), allowed.words()), "a token that was refused changed the place");
}

void expect_kept(const GrammarCursor& cursor, GrammarKind kind, const std::string& text) {
  const size_t whole = valid_utf8_prefix(text);
  fuzz::require(whole + 3 >= text.size(), "part of a character alone may be missing");
  if (!cursor.allows(fuzz::kEos)) return;
  fuzz::require(whole == text.size(), "a text ends with a whole character");
  if (kind == GrammarKind::JsonSchema) fuzz::require(nlohmann::json::accept(text), "a text that may end is JSON");
}

void follow(GrammarCursor& cursor, GrammarKind kind, std::string_view given, const Tokenizer& tokenizer) {
  std::string text;
  for (const char byte : given.substr(0, kMostTokens)) {
    expect_kept(cursor, kind, text);
    const auto allowed = cursor.allowed();
    int32_t token = fuzz::kFirstByte + static_cast<uint8_t>(byte);
    expect_one_answer(cursor, *allowed, token);
    for (const int32_t other : {fuzz::kUnknown, fuzz::kBos, fuzz::kEos, static_cast<int32_t>(tokenizer.vocab_size())})
      expect_one_answer(cursor, *allowed, other);
    std::vector<int32_t> may;
    for (int32_t id = fuzz::kFirstByte; id < tokenizer.vocab_size(); ++id)
      if (allowed->has(static_cast<size_t>(id))) may.push_back(id);
    for (int32_t id = fuzz::kFirstWord; id < tokenizer.vocab_size(); ++id) expect_one_answer(cursor, *allowed, id);
    fuzz::require(may.empty() || !cursor.must_end(), "more may come where the text must end");
    if (may.empty()) return;  // at the end, or where rules nest too deeply
    if (!allowed->has(static_cast<size_t>(token))) token = may[static_cast<uint8_t>(byte) % may.size()];
    GrammarCursor copy(cursor);
    cursor.advance(token);
    copy.advance(token);
    fuzz::require(copy.must_end() == cursor.must_end(), "a copy goes the same way");
    text += tokenizer.token_bytes(token);
  }
  expect_kept(cursor, kind, text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Tokenizer tokenizer = fuzz::small_vocabulary();
  const std::string_view input = fuzz::as_text(data, size);
  const size_t line = std::min(input.find('\n'), input.size());
  const std::string grammar(input.substr(std::min(line + 1, input.size())));
  const GrammarKind kind = grammar.starts_with('{') ? GrammarKind::JsonSchema : GrammarKind::Gbnf;
  fuzz::may_refuse([&] {
    GrammarCursor cursor(Grammars(tokenizer).of(kind, {grammar, "input"}));
    follow(cursor, kind, input.substr(0, line), tokenizer);
  });
  return 0;
}
