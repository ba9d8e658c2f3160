// Grammars read the plain way, for tests: every way to read a text is followed by itself, from the rules as they were
// written. It shares no code with the automaton.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "runtime/text/grammar/rules.h"

namespace attar::runtime {

struct Reading {
  bool is_whole = false;  // the text is one of the grammar
  bool is_begun = false;  // a text of the grammar begins so
};

class GrammarReference {
 public:
  GrammarReference(const Rules& rules, std::string_view text) : rules_(rules), text_(text) {}

  Reading read() {
    const std::set<size_t> ends = ends_of(rules_.rules[rules_.root].body, 0);
    const bool whole = ends.count(text_.size()) > 0;
    return {whole, whole || wants_more_};
  }

 private:
  std::set<size_t> ends_of(Piece piece, size_t at);
  std::set<size_t> ends_of_class(const Expression& e, size_t at);
  std::set<size_t> ends_of_repeat(const Expression& e, size_t at);

  const Rules& rules_;
  const std::string_view text_;
  bool wants_more_ = false;  // somewhere the text's end was reached in the middle
  std::map<std::pair<Piece, size_t>, std::set<size_t>> known_{};
};

inline Reading read_reference(const Rules& rules, std::string_view text) {
  return GrammarReference(rules, text).read();
}

}  // namespace attar::runtime
