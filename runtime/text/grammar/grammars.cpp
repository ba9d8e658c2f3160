#include "runtime/text/grammar/grammars.h"

#include <algorithm>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/text/grammar/gbnf.h"
#include "runtime/text/grammar/schema/json_schema.h"

namespace attar::runtime {
namespace {

constexpr size_t kMostKnown = 8;

bool is_written_out(GrammarKind kind, const std::string& given) {
  if (kind == GrammarKind::Gbnf) return given.find("::=") != std::string::npos;
  const size_t first = given.find_first_not_of(" \t\r\n");
  return first != std::string::npos && given[first] == '{';
}

Automaton automaton_of(GrammarKind kind, const GrammarText& grammar) {
  return compile(kind == GrammarKind::Gbnf ? parse_gbnf(grammar.text, grammar.where)
                                           : parse_json_schema(grammar.text, grammar.where));
}

void refuse_both(const GrammarText& gbnf, const GrammarText& json_schema) {
  if (!gbnf.text.empty() && !json_schema.text.empty())
    throw usage_error(json_schema.where, "is given beside a grammar", "one of the two");
}

}  // namespace

GrammarText read_grammar(GrammarKind kind, const std::string& given, const std::string& argument) {
  if (given.empty()) return {};
  if (is_written_out(kind, given)) return {given, argument};
  std::string text = read_file(given, kMostGrammarBytes);
  if (text.empty()) throw usage_error(given, "is empty", kind == GrammarKind::Gbnf ? "root ::= ..." : "a JSON Schema");
  return {std::move(text), given};
}

void check_grammar(const GrammarText& gbnf, const GrammarText& json_schema) {
  refuse_both(gbnf, json_schema);
  if (!gbnf.text.empty()) GrammarStates(automaton_of(GrammarKind::Gbnf, gbnf));
  if (!json_schema.text.empty()) GrammarStates(automaton_of(GrammarKind::JsonSchema, json_schema));
}

std::shared_ptr<TokenGrammar> Grammars::of(GrammarKind kind, const GrammarText& grammar) {
  const std::lock_guard lock(mutex_);
  const auto same = [&](const Known& known) { return known.kind == kind && known.text == grammar.text; };
  if (const auto found = std::find_if(known_.begin(), known_.end(), same); found != known_.end()) return found->grammar;
  Automaton automaton = automaton_of(kind, grammar);
  if (vocabulary_ == nullptr) vocabulary_ = std::make_shared<const TokenTrie>(tokenizer_);
  known_.push_back({kind, grammar.text, std::make_shared<TokenGrammar>(std::move(automaton), vocabulary_)});
  if (known_.size() > kMostKnown) known_.pop_front();
  return known_.back().grammar;
}

std::shared_ptr<TokenGrammar> Grammars::of_either(const GrammarText& gbnf, const GrammarText& json_schema) {
  refuse_both(gbnf, json_schema);
  if (!gbnf.text.empty()) return of(GrammarKind::Gbnf, gbnf);
  if (!json_schema.text.empty()) return of(GrammarKind::JsonSchema, json_schema);
  return nullptr;
}

}  // namespace attar::runtime
