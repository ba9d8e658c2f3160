#include "runtime/text/grammar/states.h"

#include <algorithm>
#include <functional>
#include <unordered_map>

#include "runtime/base/error.h"

namespace attar::runtime {
namespace {

using Kind = Automaton::Kind;

constexpr size_t kMostWords = size_t{1} << 23;  // in memory at once: 32 MB

}  // namespace

GrammarStates::GrammarStates(const Automaton& automaton)
    : automaton_(automaton), tables_(empty(automaton)), held_(automaton.nodes.size(), kNone) {
  reach(automaton_.start, kBottom);
  start_ = closed();
  if (start_ == kDead)
    throw usage_error(automaton_.where, "calls rules inside each other before anything is read",
                      "at most " + std::to_string(kMostNesting) + " deep");
}

GrammarStates::Tables GrammarStates::empty(const Automaton& automaton) {
  const uint32_t nothing[] = {0}, bottom[] = {1};
  Tables tables;
  tables.sets.add(nothing);  // kDead
  tables.stacks.add(bottom);
  tables.depths.assign(1, 0);
  tables.next.assign(automaton.classes.size(), kDead);
  return tables;
}

void GrammarStates::work(size_t steps) {
  steps_ += steps;
  if (steps_ > kMostSteps)
    throw usage_error(automaton_.where, "the grammar can be read in too many ways at once", "", "",
                      "alternatives that begin alike, and repetitions inside repetitions, are better written once");
}

// The id of a set of stacks. There is room for its depth first: where memory ends between the two, the set would stay
// without it. A set's depth follows from its row, however often it is added.
uint32_t GrammarStates::added(std::span<const uint32_t> row, uint32_t depth) {
  tables_.depths.resize(size_t{tables_.stacks.size()} + 1);
  const uint32_t id = tables_.stacks.add(row);
  tables_.depths[id] = depth;
  return id;
}

uint32_t GrammarStates::pushed(uint32_t node, uint32_t stacks) {
  const uint32_t row[] = {0, node, stacks};
  return added(row, tables_.depths[stacks] + 1);
}

// Recursion goes as deep as the stacks are: kMostNesting.
uint32_t GrammarStates::united(uint32_t a, uint32_t b) {
  if (a == b) return a;
  if (a > b) std::swap(a, b);
  const uint32_t key[] = {a, b};
  const uint32_t pair = tables_.pairs.add(key);
  while (tables_.unions.size() <= pair) tables_.unions.push_back(kNone);
  if (tables_.unions[pair] != kNone) return tables_.unions[pair];
  const auto row_of = [&](uint32_t id) {
    const std::span<const uint32_t> row = tables_.stacks.at(id);
    return std::vector<uint32_t>(row.begin(), row.end());
  };
  const std::vector<uint32_t> one = row_of(a), other = row_of(b);
  work(one.size() + other.size());
  std::vector<uint32_t> all{one[0] | other[0]};
  for (size_t i = 1, j = 1; i < one.size() || j < other.size();) {
    const uint32_t left = i < one.size() ? one[i] : kNone, right = j < other.size() ? other[j] : kNone;
    all.push_back(std::min(left, right));
    all.push_back(left == right ? united(one[i + 1], other[j + 1]) : left < right ? one[i + 1] : other[j + 1]);
    if (left <= right) i += 2;
    if (right <= left) j += 2;
  }
  return tables_.unions[pair] = added(all, std::max(tables_.depths[a], tables_.depths[b]));
}

void GrammarStates::reach(uint32_t node, uint32_t stacks) {
  work(1);
  uint32_t& held = held_[node];
  if (held == kNone) {
    reached_.push_back(node);
    held = stacks;
  } else {
    const uint32_t all = united(held, stacks);
    if (all == held) return;
    held = all;
  }
  open_.emplace_back(node, stacks);
}

uint32_t GrammarStates::closed() {
  while (!open_.empty()) {
    const auto [at, stacks] = open_.back();
    open_.pop_back();
    const Automaton::Node& node = automaton_.nodes[at];
    if (node.kind == Kind::Split) {
      reach(node.to, stacks);
      reach(node.other, stacks);
    } else if (node.kind == Kind::Call) {
      // A call that is the last thing of its rule returns to where that does.
      if (node.other == Automaton::kEnd)
        reach(node.to, stacks);
      else if (tables_.depths[stacks] < kMostNesting)
        reach(node.to, pushed(node.other, stacks));
    } else if (node.kind == Kind::End) {
      const std::span<const uint32_t> row = tables_.stacks.at(stacks);
      const std::vector<uint32_t> returns(row.begin(), row.end());
      ends_ |= returns[0] != 0;
      for (size_t i = 1; i < returns.size(); i += 2) reach(returns[i], returns[i + 1]);
    }
  }
  std::sort(reached_.begin(), reached_.end());
  std::vector<uint32_t> row{ends_ ? 1u : 0u};
  for (const uint32_t node : reached_) {
    if (automaton_.nodes[node].kind == Kind::Byte) row.push_back(node), row.push_back(held_[node]);
    held_[node] = kNone;
  }
  reached_.clear();
  ends_ = false;
  const uint32_t state = tables_.sets.add(row);
  tables_.next.resize(size_t{tables_.sets.size()} * automaton_.classes.size(), kNone);
  return state;
}

uint32_t GrammarStates::made(uint32_t state, uint8_t byte) {
  const std::span<const uint32_t> row = tables_.sets.at(state);
  try {
    work(row.size());
    for (size_t i = 1; i < row.size(); i += 2) {
      const Automaton::Node& node = automaton_.nodes[row[i]];
      if (node.first <= byte && byte <= node.last) reach(node.to, row[i + 1]);
    }
    const uint32_t next = closed();
    return tables_.next[place(state, byte)] = next;
  } catch (...) {  // for the next token everything is as it was
    for (const uint32_t node : reached_) held_[node] = kNone;
    reached_.clear(), open_.clear();
    ends_ = false;
    throw;
  }
}

uint32_t GrammarStates::step(uint32_t state, std::string_view bytes) {
  for (size_t i = 0; i < bytes.size() && state != kDead; ++i) state = step(state, static_cast<uint8_t>(bytes[i]));
  return state;
}

bool GrammarStates::full() const {
  return tables_.sets.words() + tables_.stacks.words() + tables_.pairs.words() + tables_.next.size() > kMostWords;
}

void GrammarStates::forget_all_but(std::span<uint32_t*> kept) {
  Tables old = empty(automaton_);
  std::swap(old, tables_);
  try {
    std::vector<uint32_t> states{moved(old, start_)};
    for (const uint32_t* state : kept) states.push_back(moved(old, *state));
    start_ = states[0];
    for (size_t i = 0; i < kept.size(); ++i) *kept[i] = states[i + 1];
  } catch (...) {  // for want of memory: nothing is forgotten
    std::swap(old, tables_);
    throw;
  }
  steps_ += tables_.sets.words() + tables_.stacks.words();  // so that what is never small enough ends in an error
}

// A state of the old tables in the new ones. A set of stacks comes behind those below it.
uint32_t GrammarStates::moved(const Tables& old, uint32_t state) {
  std::unordered_map<uint32_t, uint32_t> known{{kBottom, kBottom}};
  const std::function<uint32_t(uint32_t)> stacks_of = [&](uint32_t before) {
    if (const auto found = known.find(before); found != known.end()) return found->second;
    const std::span<const uint32_t> from = old.stacks.at(before);
    std::vector<uint32_t> row{from[0]};
    for (size_t i = 1; i < from.size(); i += 2) row.push_back(from[i]), row.push_back(stacks_of(from[i + 1]));
    return known[before] = added(row, old.depths[before]);
  };
  const std::span<const uint32_t> from = old.sets.at(state);
  std::vector<uint32_t> row{from[0]};
  for (size_t i = 1; i < from.size(); i += 2) row.push_back(from[i]), row.push_back(stacks_of(from[i + 1]));
  const uint32_t id = tables_.sets.add(row);
  tables_.next.resize(size_t{tables_.sets.size()} * automaton_.classes.size(), kNone);
  return id;
}

}  // namespace attar::runtime
