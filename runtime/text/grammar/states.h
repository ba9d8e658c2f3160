// What a grammar may be in the middle of, as states that are made when they are first come to: a state is every node
// that may read the next byte, each with every stack that it may be under. Stacks share their ends: a set of them is
// one row of (node to return to, set of stacks below). So a text is followed in time that does not grow with the ways
// to read it. Source: Tomita, "An Efficient Augmented-Context-Free Parsing Algorithm" (1987), section 3.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/text/grammar/automaton.h"
#include "runtime/text/grammar/word_sets.h"

namespace attar::runtime {

inline constexpr uint32_t kMostNesting = 1000;             // rules inside each other; what goes deeper is not written
inline constexpr uint64_t kMostSteps = uint64_t{1} << 24;  // of work for one token

class GrammarStates {
 public:
  static constexpr uint32_t kDead = 0;  // nothing may come

  // Must outlive it. Error{Usage}: rules call each other deeper than kMostNesting before a byte is read.
  explicit GrammarStates(const Automaton& automaton);

  uint32_t start() const { return start_; }
  // The state behind one more byte. Error{Usage}: more work than kMostSteps since begin_token(). (It is the grammar's,
  // not want of memory: nothing can be waited for.)
  uint32_t step(uint32_t state, uint8_t byte) {
    const uint32_t next = tables_.next[place(state, byte)];
    return next != kNone ? next : made(state, byte);
  }
  uint32_t step(uint32_t state, std::string_view bytes);
  uint32_t size() const { return tables_.sets.size(); }  // states that there are
  bool may_end(uint32_t state) const { return tables_.sets.at(state)[0] != 0; }
  bool must_end(uint32_t state) const { return may_end(state) && tables_.sets.at(state).size() == 1; }

  void begin_token() { steps_ = 0; }
  // Whether there is so much in memory that all should be forgotten but these states, which get their new numbers.
  bool full() const;
  void forget_all_but(std::span<uint32_t*> kept);

 private:
  static constexpr uint32_t kNone = UINT32_MAX, kBottom = 0;  // no state or stack; the stack with nothing in it

  size_t place(uint32_t state, uint8_t byte) const {
    return size_t{state} * automaton_.classes.size() + automaton_.class_of[byte];
  }
  uint32_t made(uint32_t state, uint8_t byte);
  void work(size_t steps);
  uint32_t added(std::span<const uint32_t> row, uint32_t depth);
  uint32_t pushed(uint32_t node, uint32_t stacks);
  uint32_t united(uint32_t a, uint32_t b);
  void reach(uint32_t node, uint32_t stacks);
  uint32_t closed();  // the state of all that was reached

  struct Tables {
    WordSets sets{};                 // states: whether the text may end, then node, stacks, ... by node
    std::vector<uint32_t> next{};    // (states, classes)
    WordSets stacks{};               // sets of stacks: whether the empty one is there, then node, stacks, ... by node
    std::vector<uint32_t> depths{};  // of each set, its deepest stack
    WordSets pairs{};                // sets that were united
    std::vector<uint32_t> unions{};  // and what came of each pair
  };
  static Tables empty(const Automaton& automaton);
  uint32_t moved(const Tables& old, uint32_t state);

  const Automaton& automaton_;
  Tables tables_;
  std::vector<uint32_t> held_{};     // (nodes) while a state is made: the stacks that each is reached under
  std::vector<uint32_t> reached_{};  // the nodes of these
  std::vector<std::pair<uint32_t, uint32_t>> open_{};  // nodes and stacks to go on from
  bool ends_ = false;
  uint32_t start_ = kDead;
  uint64_t steps_ = 0;
};

}  // namespace attar::runtime
