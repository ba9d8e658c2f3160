// Which tokens go on with a text that a grammar allows: the grammar's states, walked along the vocabulary's bytes. What
// was found out of a state is kept for all texts of the same grammar.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "runtime/text/grammar/automaton.h"
#include "runtime/text/grammar/states.h"
#include "runtime/text/grammar/token_trie.h"

namespace attar::runtime {

// A set of token ids.
class TokenSet {
 public:
  explicit TokenSet(size_t n_tokens) : words_((n_tokens + 63) / 64) {}
  void add(int32_t id) { words_[static_cast<size_t>(id) / 64] |= uint64_t{1} << (id % 64); }
  bool has(size_t id) const { return id / 64 < words_.size() && (words_[id / 64] >> (id % 64) & 1) != 0; }
  std::span<const uint64_t> words() const { return words_; }  // 64 ids each, the lowest bit first

 private:
  std::vector<uint64_t> words_;
};

// A grammar for one vocabulary. Any number of texts follow it at once, from any threads.
class TokenGrammar {
 public:
  TokenGrammar(Automaton automaton, std::shared_ptr<const TokenTrie> vocabulary);

  const std::string& where() const { return automaton_.where; }

 private:
  friend class GrammarCursor;

  uint32_t behind(uint32_t state, int32_t token);
  std::shared_ptr<const TokenSet> walked(size_t place);
  void make_room();

  const Automaton automaton_;
  const std::shared_ptr<const TokenTrie> vocabulary_;
  std::mutex mutex_{};
  GrammarStates states_{automaton_};
  std::vector<uint32_t> places_{};  // the state of each text that follows; kFree: none has this place
  std::unordered_map<uint32_t, std::shared_ptr<const TokenSet>> allowed_{};  // by state
};

// Where a text is in its grammar. A copy goes on by itself.
class GrammarCursor {
 public:
  explicit GrammarCursor(std::shared_ptr<TokenGrammar> grammar);
  GrammarCursor(const GrammarCursor& other);
  GrammarCursor(GrammarCursor&& other) noexcept;
  GrammarCursor& operator=(const GrammarCursor&) = delete;
  ~GrammarCursor();

  bool allows(int32_t token) const;  // one that ends the text: whether it may end
  // All that it allows, where that is known already; nullptr: it is not.
  std::shared_ptr<const TokenSet> known() const;
  std::shared_ptr<const TokenSet> allowed() const;
  // Goes on by a token that it allows; one that ends the text changes nothing.
  void advance(int32_t token);
  bool must_end() const;  // nothing more may come
  const std::string& where() const { return grammar_->where(); }

 private:
  uint32_t take_place(uint32_t state);
  uint32_t state() const { return grammar_->places_[place_]; }

  std::shared_ptr<TokenGrammar> grammar_;
  uint32_t place_;
};

}  // namespace attar::runtime
