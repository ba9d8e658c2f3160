// Tokens that stand written out in a text: found before anything else is done with it, the leftmost first, the longest
// of those that begin there. Source: AddedVocabulary of the tokenizers library.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "runtime/formats/tokenizer/token_matcher.h"
#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar {

// The flags as one number, the first the lowest bit, and back.
int32_t bits_of(const AddedRule& rule);
AddedRule rule_of(int32_t bits);

struct AddedMatch {
  int32_t id;
  size_t begin, end;  // bytes of the text, with the white space that the token takes
};

// Where a control token that is written out is meant: nowhere, or where nobody else's words have a part in it.
struct ControlTokens {
  bool are_meant = false;
  std::span<const ByteSpan> words{};  // of the whole text, ascending and apart
  size_t begin = 0;                   // of the searched part in the whole

  bool touches(const ByteSpan& span) const;  // of the whole
};

class AddedTokens {
 public:
  void add(std::string_view text, int32_t id, const Token& token, bool is_control);  // text is not empty
  bool empty() const { return entries_.empty(); }
  // In order of the text. What matches a control token that is not meant covers its whole length all the same.
  std::vector<AddedMatch> find_all(std::string_view text, const ControlTokens& control) const;

 private:
  struct Entry {
    int32_t id;
    bool is_control;
    AddedRule rule;
  };
  TokenMatcher matcher_;  // its ids are places in entries_
  std::vector<Entry> entries_;
};

}  // namespace attar
