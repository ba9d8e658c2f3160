// What an automaton must be so that every text that was begun can be completed, and reading a byte comes to an end.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/text/grammar/automaton.h"

namespace attar::runtime {

// Error{Usage} naming the rule: no text completes it, or it may call itself before a byte is read. `starts`: the node
// of each rule.
void check_rules(const Automaton& automaton, const Rules& rules, const std::vector<uint32_t>& starts);

}  // namespace attar::runtime
