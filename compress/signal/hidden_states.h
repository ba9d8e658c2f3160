// A teacher's final hidden state for predicting a token, out of which its head makes the whole distribution again: int8
// in groups of 64, each under a scale of its own, since a few dims of a normed state outshine all others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace attar {

// Of the T tokens of a document, one after another.
struct HiddenStates {
  std::vector<int8_t> codes{};  // (T, C)
  std::vector<float> scales{};  // (T, hidden_groups(C)); all 0: the teacher says nothing of the token
  bool empty() const { return codes.empty(); }
};

int64_t hidden_groups(int64_t width);
// Bytes of a token's.
int64_t hidden_bytes(int64_t width);

void append_state(std::span<const float> state, HiddenStates& to);
void append_no_state(int64_t width, HiddenStates& to);
// That of a token once more.
void append_state(const HiddenStates& from, size_t token, int64_t width, HiddenStates& to);

bool has_state(const HiddenStates& of, size_t token, int64_t width);
void decode_state(const HiddenStates& of, size_t token, std::span<float> state);

}  // namespace attar
