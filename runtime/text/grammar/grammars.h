// Grammars as users give them, for one vocabulary: read once, and kept for the texts that come after.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include "runtime/text/grammar/token_grammar.h"

namespace attar::runtime {

enum class GrammarKind { Gbnf, JsonSchema };

// What an argument stands for: itself where it is a grammar (it has a ::=) or a schema (it begins with {), else the
// file of that name. Error{Usage} naming `argument`.
struct GrammarText {
  std::string text, where;
};
GrammarText read_grammar(GrammarKind kind, const std::string& given, const std::string& argument);

// Error{Usage} for a grammar or schema that no text could follow, or both at once; "": not given.
void check_grammar(const GrammarText& gbnf, const GrammarText& json_schema);

class Grammars {
 public:
  explicit Grammars(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}  // must outlive it

  // From any thread. Error{Usage} naming `grammar.where` and the place in it.
  std::shared_ptr<TokenGrammar> of(GrammarKind kind, const GrammarText& grammar);
  // The one of two texts that is given, or nullptr; "": not given. Error{Usage}: both are.
  std::shared_ptr<TokenGrammar> of_either(const GrammarText& gbnf, const GrammarText& json_schema);

 private:
  struct Known {
    GrammarKind kind;
    std::string text;
    std::shared_ptr<TokenGrammar> grammar;
  };

  const Tokenizer& tokenizer_;
  std::mutex mutex_{};
  std::shared_ptr<const TokenTrie> vocabulary_{};  // made when the first grammar comes
  std::deque<Known> known_{};                      // the latest last
};

}  // namespace attar::runtime
