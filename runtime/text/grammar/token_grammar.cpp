#include "runtime/text/grammar/token_grammar.h"

#include <algorithm>
#include <string>
#include <utility>

#include "runtime/base/error.h"

namespace attar::runtime {
namespace {

constexpr uint32_t kFree = UINT32_MAX;
constexpr size_t kMostKept = 1024;  // sets of tokens: 6 MB for a vocabulary of 49,152

bool ends_text(const TokenTrie& vocabulary, int32_t token) {
  return std::binary_search(vocabulary.ends.begin(), vocabulary.ends.end(), token);
}

}  // namespace

TokenGrammar::TokenGrammar(Automaton automaton, std::shared_ptr<const TokenTrie> vocabulary)
    : automaton_(std::move(automaton)), vocabulary_(std::move(vocabulary)) {}

// The state behind a token; kDead where it may not come.
uint32_t TokenGrammar::behind(uint32_t state, int32_t token) {
  const auto id = static_cast<size_t>(token);
  if (token < 0 || id >= vocabulary_->bytes.size() || vocabulary_->bytes[id].empty()) return GrammarStates::kDead;
  states_.begin_token();
  return states_.step(state, vocabulary_->bytes[id]);
}

// States are numbered anew when there are too many: every text's place is told, and what was known of states is lost.
void TokenGrammar::make_room() {
  if (!states_.full()) return;
  std::vector<uint32_t*> kept;
  for (uint32_t& state : places_)
    if (state != kFree) kept.push_back(&state);
  states_.forget_all_but(kept);
  allowed_.clear();
}

// Along the whole tree from a text's state: a byte that may not come leaves out all that begin so.
std::shared_ptr<const TokenSet> TokenGrammar::walked(size_t place) {
  const TokenTrie& tree = *vocabulary_;
  auto found = std::make_shared<TokenSet>(tree.bytes.size());
  std::vector<uint32_t> path(tree.longest_bytes + 1);  // the state behind each byte of the way
  std::string way(tree.longest_bytes, '\0');
  states_.begin_token();
  path[0] = places_[place];
  uint32_t states = states_.size();
  for (uint32_t i = 0; i + 1 < tree.nodes.size();) {
    const TokenTrie::Node& node = tree.nodes[i];
    if (states_.size() != states && (states = states_.size(), states_.full())) {
      make_room();
      path[0] = places_[place];
      for (size_t depth = 0; depth < node.depth; ++depth)
        path[depth + 1] = states_.step(path[depth], static_cast<uint8_t>(way[depth]));
    }
    const uint32_t state = states_.step(path[node.depth], node.byte);
    path[node.depth + 1u] = state;
    way[node.depth] = static_cast<char>(node.byte);
    if (state == GrammarStates::kDead) {
      i = node.skip;
      continue;
    }
    for (uint32_t token = node.tokens; token < tree.nodes[i + 1].tokens; ++token) found->add(tree.ids[token]);
    ++i;
  }
  if (states_.may_end(places_[place]))
    for (const int32_t token : tree.ends) found->add(token);
  return found;
}

GrammarCursor::GrammarCursor(std::shared_ptr<TokenGrammar> grammar) : grammar_(std::move(grammar)) {
  const std::lock_guard lock(grammar_->mutex_);
  place_ = take_place(grammar_->states_.start());
}

GrammarCursor::GrammarCursor(const GrammarCursor& other) : grammar_(other.grammar_) {
  const std::lock_guard lock(grammar_->mutex_);
  place_ = take_place(other.state());
}

GrammarCursor::GrammarCursor(GrammarCursor&& other) noexcept
    : grammar_(std::move(other.grammar_)), place_(other.place_) {}

GrammarCursor::~GrammarCursor() {
  if (grammar_ == nullptr) return;
  const std::lock_guard lock(grammar_->mutex_);
  grammar_->places_[place_] = kFree;
}

uint32_t GrammarCursor::take_place(uint32_t state) {
  std::vector<uint32_t>& places = grammar_->places_;
  auto free = std::find(places.begin(), places.end(), kFree);
  if (free == places.end()) free = places.insert(places.end(), kFree);
  *free = state;
  return static_cast<uint32_t>(free - places.begin());
}

bool GrammarCursor::allows(int32_t token) const {
  const std::lock_guard lock(grammar_->mutex_);
  grammar_->make_room();
  if (ends_text(*grammar_->vocabulary_, token)) return grammar_->states_.may_end(state());
  return grammar_->behind(state(), token) != GrammarStates::kDead;
}

std::shared_ptr<const TokenSet> GrammarCursor::known() const {
  const std::lock_guard lock(grammar_->mutex_);
  const auto found = grammar_->allowed_.find(state());
  return found != grammar_->allowed_.end() ? found->second : nullptr;
}

std::shared_ptr<const TokenSet> GrammarCursor::allowed() const {
  if (auto set = known()) return set;
  const std::lock_guard lock(grammar_->mutex_);
  auto set = grammar_->walked(place_);
  if (grammar_->allowed_.size() >= kMostKept) grammar_->allowed_.clear();
  grammar_->allowed_[state()] = set;
  return set;
}

void GrammarCursor::advance(int32_t token) {
  const std::lock_guard lock(grammar_->mutex_);
  if (ends_text(*grammar_->vocabulary_, token)) return;
  grammar_->make_room();
  const uint32_t next = grammar_->behind(state(), token);
  if (next == GrammarStates::kDead)
    throw usage_error(where(), "token " + std::to_string(token) + " does not go on with the grammar");
  grammar_->places_[place_] = next;
}

bool GrammarCursor::must_end() const {
  const std::lock_guard lock(grammar_->mutex_);
  return grammar_->states_.must_end(state());
}

}  // namespace attar::runtime
