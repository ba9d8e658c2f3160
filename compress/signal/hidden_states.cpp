#include "compress/signal/hidden_states.h"

#include <algorithm>
#include <cmath>

namespace attar {
namespace {

constexpr int64_t kGroup = 64;
constexpr float kMostCode = 127.0f;

}  // namespace

int64_t hidden_groups(int64_t width) {
  return (width + kGroup - 1) / kGroup;
}

int64_t hidden_bytes(int64_t width) {
  return width + static_cast<int64_t>(sizeof(float)) * hidden_groups(width);
}

void append_state(std::span<const float> state, HiddenStates& to) {
  for (size_t begin = 0; begin < state.size(); begin += kGroup) {
    const auto group = state.subspan(begin, std::min(static_cast<size_t>(kGroup), state.size() - begin));
    float largest = 0.0f;
    for (const float x : group) largest = std::max(largest, std::fabs(x));
    to.scales.push_back(largest / kMostCode);
    for (const float x : group)
      to.codes.push_back(largest == 0.0f ? int8_t{0} : static_cast<int8_t>(std::lround(x / largest * kMostCode)));
  }
}

void append_no_state(int64_t width, HiddenStates& to) {
  to.codes.resize(to.codes.size() + static_cast<size_t>(width));
  to.scales.resize(to.scales.size() + static_cast<size_t>(hidden_groups(width)));
}

void append_state(const HiddenStates& from, size_t token, int64_t width, HiddenStates& to) {
  const auto copy = [&](const auto& values, auto& out, int64_t each) {
    const auto begin = values.begin() + static_cast<std::ptrdiff_t>(token) * each;
    out.insert(out.end(), begin, begin + each);
  };
  copy(from.codes, to.codes, width);
  copy(from.scales, to.scales, hidden_groups(width));
}

bool has_state(const HiddenStates& of, size_t token, int64_t width) {
  if (of.empty()) return false;
  const int64_t groups = hidden_groups(width);
  const auto begin = of.scales.begin() + static_cast<std::ptrdiff_t>(token) * groups;
  return std::any_of(begin, begin + groups, [](float scale) { return scale > 0.0f; });
}

void decode_state(const HiddenStates& of, size_t token, std::span<float> state) {
  const size_t width = state.size(), groups = static_cast<size_t>(hidden_groups(static_cast<int64_t>(width)));
  for (size_t i = 0; i < width; ++i)
    state[i] = of.scales[token * groups + i / kGroup] * static_cast<float>(of.codes[token * width + i]);
}

}  // namespace attar
