// The levels that a type's codes stand for before they are scaled, and the nearest of them.
#pragma once

#include <algorithm>
#include <iterator>

#include "runtime/formats/blocks/quant_format.h"

namespace attar {

// Whole numbers from least to most, or at most sixteen of a table.
struct Levels {
  float least, most;
  bool table;
  // Of a table: its levels in ascending order, and between neighbours the middle and the gap, none between equals.
  float of[16] = {}, middles[15] = {}, gaps[15] = {};

  explicit Levels(const BlockCodes& codes) : least(codes.least), most(codes.most), table(codes.table != nullptr) {
    if (!table) return;
    std::copy_n(codes.table, 16, of);
    std::sort(std::begin(of), std::end(of));
    for (int k = 0; k < 15; ++k) middles[k] = 0.5f * (of[k] + of[k + 1]), gaps[k] = of[k + 1] - of[k];
  }

  // The level nearest to v; of two the even one, of a table the lower. NaN gives some level.
  template <bool kTable>
  float nearest(float v) const {
    if constexpr (!kTable) {
      constexpr float kWhole = 12582912.0f;  // 1.5 * 2^23: what is added to it loses its fraction
      return std::min(most, std::max(least, (v + kWhole) - kWhole));
    } else {
      float level = least;
#pragma GCC unroll 15
      for (int k = 0; k < 15; ++k) level += v > middles[k] ? gaps[k] : 0.0f;
      return level;
    }
  }
  // Between neighbours that differ.
  float least_gap() const {
    float least_one = table ? most - least : 1.0f;
    for (int k = 0; table && k < 15; ++k)
      if (gaps[k] != 0.0f) least_one = std::min(least_one, gaps[k]);
    return least_one;
  }
  // The same in the mean.
  float mean_gap() const {
    int n = 0;
    for (const float gap : gaps) n += gap != 0.0f ? 1 : 0;
    return n > 0 ? (of[15] - of[0]) / static_cast<float>(n) : 1.0f;
  }
  // The level after `level`, or the last; and the one before, or the first.
  template <bool kTable>
  float above(float level) const {
    if constexpr (!kTable) return std::min(most, level + 1.0f);
    float next = most;
#pragma GCC unroll 16
    for (int k = 15; k >= 0; --k) next = of[k] > level ? of[k] : next;
    return next;
  }
  template <bool kTable>
  float below(float level) const {
    if constexpr (!kTable) return std::max(least, level - 1.0f);
    float next = least;
#pragma GCC unroll 16
    for (int k = 0; k < 16; ++k) next = of[k] < level ? of[k] : next;
    return next;
  }
  float nearest(float v) const {
    return table ? nearest<true>(v) : nearest<false>(v);
  }
};

}  // namespace attar
