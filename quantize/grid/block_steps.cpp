#include "quantize/grid/block_steps.h"

#include <utility>
#include <vector>

#include "runtime/base/half.h"

namespace attar {
namespace {

// The two bytes that write_scales changes with `step`.
std::optional<int64_t> find(const QuantFormat& format, uint16_t BlockScales::*step) {
  const auto size = static_cast<size_t>(format.block_bytes);
  std::vector<std::byte> without(size), with(size);
  BlockScales scales;
  format.codes->write_scales(scales, without.data());
  scales.*step = 0xffff;
  format.codes->write_scales(scales, with.data());
  const auto differs = [&](size_t i) { return without[i] != with[i]; };
  size_t first = 0, count = 0;
  for (size_t i = size; i-- > 0;)
    if (differs(i)) first = i, ++count;
  if (count != 2 || !differs(first + 1)) return {};
  return static_cast<int64_t>(first);
}

}  // namespace

StepPlaces step_places(const QuantFormat& format) {
  return {find(format, &BlockScales::d), find(format, &BlockScales::dmin)};
}

float half_at(const std::byte* block, int64_t place) {
  const auto low = static_cast<uint16_t>(block[place]), high = static_cast<uint16_t>(block[place + 1]);
  return f16_to_f32(static_cast<uint16_t>(low | (high << 8)));
}

void put_half(std::byte* block, int64_t place, float value) {
  const uint16_t half = f32_to_f16(value);
  block[place] = static_cast<std::byte>(half & 0xff);
  block[place + 1] = static_cast<std::byte>(half >> 8);
}

Grid multiples_of(const Grid& grid) {
  const QuantFormat& format = *grid.format;
  const StepPlaces places = step_places(format);
  std::vector<std::byte> unscaled = grid.blocks;
  for (const std::optional<int64_t>& place : {places.d, places.dmin})
    for (size_t at = 0; place && at < unscaled.size(); at += static_cast<size_t>(format.block_bytes))
      put_half(unscaled.data() + at, *place, 1.0f);
  return grid_of(format, std::move(unscaled));
}

}  // namespace attar
