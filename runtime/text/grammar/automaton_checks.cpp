#include "runtime/text/grammar/automaton_checks.h"

#include <algorithm>

#include "runtime/base/error.h"

namespace attar::runtime {
namespace {

using Kind = Automaton::Kind;
using Node = Automaton::Node;

enum class Reading { Any, Nothing };

// (nodes) whether the end of the rule can be reached: by any text, or without reading.
class Reach {
 public:
  Reach(const Automaton& automaton, Reading reading) : nodes_(automaton.nodes), reading_(reading) {
    list_predecessors();
    ends_.assign(nodes_.size(), 0);
    std::vector<uint32_t> fresh{Automaton::kEnd};
    ends_[Automaton::kEnd] = 1;
    while (!fresh.empty()) {
      const uint32_t node = fresh.back();
      fresh.pop_back();
      for (uint32_t i = begins_[node]; i < begins_[node + 1]; ++i)
        if (const uint32_t before = predecessors_[i]; ends_[before] == 0 && may_end(nodes_[before])) {
          ends_[before] = 1;
          fresh.push_back(before);
        }
    }
  }
  std::vector<uint8_t> take() { return std::move(ends_); }

 private:
  bool may_end(const Node& node) const {
    switch (node.kind) {
      case Kind::Byte:
        return reading_ == Reading::Any && ends_[node.to] != 0;
      case Kind::Split:
        return ends_[node.to] != 0 || ends_[node.other] != 0;
      case Kind::Call:
        return ends_[node.to] != 0 && ends_[node.other] != 0;
      case Kind::End:
        break;
    }
    return true;
  }
  template <class Visit>
  void visit_edges(const Visit& visit) const {
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (nodes_[i].kind == Kind::End) continue;
      visit(nodes_[i].to, static_cast<uint32_t>(i));
      if (nodes_[i].kind != Kind::Byte) visit(nodes_[i].other, static_cast<uint32_t>(i));
    }
  }
  void list_predecessors() {
    begins_.assign(nodes_.size() + 1, 0);
    visit_edges([&](uint32_t to, uint32_t) { ++begins_[to + 1]; });
    for (size_t i = 1; i < begins_.size(); ++i) begins_[i] += begins_[i - 1];
    predecessors_.resize(begins_.back());
    std::vector<uint32_t> filled(begins_.begin(), begins_.end() - 1);
    visit_edges([&](uint32_t to, uint32_t from) { predecessors_[filled[to]++] = from; });
  }

  const std::vector<Node>& nodes_;
  const Reading reading_;
  std::vector<uint32_t> begins_{}, predecessors_{};
  std::vector<uint8_t> ends_{};
};

// A cycle of nodes that reads nothing and calls at least once would fill the stack for ever. Depth first over what is
// reached without reading; a rule is left, as a call, where it may read nothing.
class LeftRecursion {
 public:
  LeftRecursion(const Automaton& automaton, const std::vector<uint8_t>& nullable)
      : nodes_(automaton.nodes), nullable_(nullable) {}

  // The start of a rule that calls itself before it reads; kEnd: there is none.
  uint32_t found() {
    // Strongly connected components (Tarjan 1972), without recursion; one with a call inside is what is looked for.
    number_.assign(nodes_.size(), 0), low_.assign(nodes_.size(), 0), component_.assign(nodes_.size(), 0);
    for (uint32_t node = 0; node < nodes_.size(); ++node)
      if (number_[node] == 0) walk(node);
    for (uint32_t i = 0; i < nodes_.size(); ++i)
      if (nodes_[i].kind == Kind::Call && nodes_[i].first == 0 && component_[i] == component_[nodes_[i].to])
        return nodes_[i].to;  // what is repeated (first 1) never calls itself but through a rule
    return Automaton::kEnd;
  }

 private:
  // The nodes that follow without reading: at most two.
  uint32_t followers(uint32_t node, uint32_t out[2]) const {
    const Node& n = nodes_[node];
    if (n.kind == Kind::Byte || n.kind == Kind::End) return 0;
    out[0] = n.to, out[1] = n.other;
    return n.kind == Kind::Split || nullable_[n.to] != 0 ? 2 : 1;
  }
  void walk(uint32_t root) {
    struct Step {
      uint32_t node, next;
    };
    std::vector<Step> path;
    const auto enter = [&](uint32_t node) {
      number_[node] = low_[node] = ++count_;
      open_.push_back(node);
      path.push_back({node, 0});
    };
    enter(root);
    while (!path.empty()) {
      const uint32_t node = path.back().node;
      uint32_t next[2];
      if (path.back().next < followers(node, next)) {
        const uint32_t to = next[path.back().next++];
        if (number_[to] == 0)
          enter(to);
        else if (component_[to] == 0)
          low_[node] = std::min(low_[node], number_[to]);
        continue;
      }
      path.pop_back();
      if (!path.empty()) low_[path.back().node] = std::min(low_[path.back().node], low_[node]);
      if (low_[node] == number_[node]) close(node);
    }
  }
  void close(uint32_t node) {
    ++components_;
    for (uint32_t last = kNoLimit; last != node;) {
      last = open_.back();
      open_.pop_back();
      component_[last] = components_;
    }
  }

  const std::vector<Node>& nodes_;
  const std::vector<uint8_t>& nullable_;
  std::vector<uint32_t> number_{}, low_{}, component_{}, open_{};  // number 0, component 0: not yet
  uint32_t count_ = 0, components_ = 0;
};

}  // namespace

void check_rules(const Automaton& automaton, const Rules& rules, const std::vector<uint32_t>& starts) {
  const std::vector<uint8_t> ends = Reach(automaton, Reading::Any).take();
  for (size_t i = 0; i < starts.size(); ++i)
    if (ends[starts[i]] == 0)
      throw usage_error(rules.where, "the rule `" + rules.rules[i].name + "` never ends: no text completes it",
                        "an alternative that does not come back to it");
  const std::vector<uint8_t> nullable = Reach(automaton, Reading::Nothing).take();
  const uint32_t start = LeftRecursion(automaton, nullable).found();
  if (start == Automaton::kEnd) return;
  const auto rule = std::find(starts.begin(), starts.end(), start) - starts.begin();
  throw usage_error(rules.where,
                    "the rule `" + rules.rules[static_cast<size_t>(rule)].name +
                        "` is left-recursive: it calls itself before it has read anything",
                    "what is read first, and the rule behind it, or *");
}

}  // namespace attar::runtime
