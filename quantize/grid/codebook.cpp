#include "quantize/grid/codebook.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <climits>
#include <cmath>
#include <cstring>

#include "runtime/base/fast_math.h"
#include "runtime/formats/blocks/blocks.h"
#include "runtime/formats/blocks/lattice_grids.h"

namespace attar {
namespace {

#define ATTAR_INLINE inline __attribute__((always_inline))  // into a function of several instruction sets

constexpr int kMostHalves = 81, kSecondBits = 127;  // the last bits of a half's error name it

// Sixteen lanes as one value: compilers keep an array's least in memory, or take its lanes apart.
typedef int32_t WholeVector __attribute__((vector_size(4 * kLanes), may_alias, aligned(4)));
typedef float Vector __attribute__((vector_size(4 * kLanes), may_alias, aligned(4)));

// Errors of half points, a lane a group; of second halves as whole numbers, which order as they do.
struct Halves {
  alignas(64) float first[kMostHalves * kLanes];
  alignas(64) int32_t second[kMostHalves * kLanes];
};

// Values x and weights w of one point's half (kHalf * kLanes) -> errors of all halves.
template <int kHalf, int kLevels>
ATTAR_INLINE void add_halves(const float* x, const float* w, const float* step, const float* levels, float shift,
                             float* out) {
  float one[kHalf][kLevels][kLanes];
  for (int j = 0; j < kHalf; ++j)
    for (int k = 0; k < kLevels; ++k)
      for (int l = 0; l < kLanes; ++l) {
        const float difference = step[l] * (levels[k] + shift) - x[j * kLanes + l];
        one[j][k][l] = w[j * kLanes + l] * difference * difference;
      }
  constexpr int kPairs = kLevels * kLevels;
  float pairs[2][kPairs][kLanes];
  for (int h = 0; h < kHalf / 2; ++h)
    for (int a = 0; a < kLevels; ++a)
      for (int b = 0; b < kLevels; ++b)
        for (int l = 0; l < kLanes; ++l)
          (kHalf == 2 ? out + (a * kLevels + b) * kLanes : pairs[h][a * kLevels + b])[l] =
              one[2 * h][a][l] + one[2 * h + 1][b][l];
  if constexpr (kHalf == 4)
    for (int p = 0; p < kPairs; ++p)
      for (int q = 0; q < kPairs; ++q)
        for (int l = 0; l < kLanes; ++l) out[(p * kPairs + q) * kLanes + l] = pairs[0][p][l] + pairs[1][q][l];
}

struct Found {
  float error[kLanes];
  int32_t first[kLanes], second[kLanes];
};

ATTAR_INLINE void least_of_runs(const Codebook::Run* runs, size_t n_runs, const uint16_t* seconds, const Halves& halves,
                                Found& out) {
  Vector best = Vector{} + HUGE_VALF;
  WholeVector first = WholeVector{} + runs[0].first, second = WholeVector{} + seconds[0] / kLanes;
  for (size_t r = 0; r < n_runs; ++r) {
    WholeVector least = WholeVector{} + INT_MAX;
#pragma GCC unroll 4
    for (size_t k = runs[r].begin; k < runs[r].end; ++k) {
      const WholeVector own = *reinterpret_cast<const WholeVector*>(halves.second + seconds[k]);
      least = own < least ? own : least;
    }
    const Vector error = *reinterpret_cast<const Vector*>(halves.first + runs[r].first * kLanes) +
                         reinterpret_cast<const Vector&>(least);
    const WholeVector better = error < best;
    best = better ? error : best;
    first = better ? WholeVector{} + runs[r].first : first;
    second = better ? least & kSecondBits : second;
  }
  std::memcpy(out.error, &best, sizeof best);
  std::memcpy(out.first, &first, sizeof first);
  std::memcpy(out.second, &second, sizeof second);
}

template <int kHalf, int kLevels>
ATTAR_INLINE void find_point(const Codebook::Run* runs, size_t n_runs, const uint16_t* seconds, const float* x,
                             const float* w, const float* step, const float* levels, float shift, Found& out) {
  constexpr int kHalves = kHalf == 2 ? kLevels * kLevels : kLevels * kLevels * kLevels * kLevels;
  Halves halves;
  float errors[kMostHalves * kLanes];
  add_halves<kHalf, kLevels>(x, w, step, levels, shift, halves.first);
  add_halves<kHalf, kLevels>(x + kHalf * kLanes, w + kHalf * kLanes, step, levels, shift, errors);
  for (int h = 0; h < kHalves; ++h)
    for (int l = 0; l < kLanes; ++l)
      halves.second[h * kLanes + l] = (std::bit_cast<int32_t>(errors[h * kLanes + l]) & ~kSecondBits) | h;
  least_of_runs(runs, n_runs, seconds, halves, out);
}
ATTAR_VECTOR_CLONES void find_of_eight(const Codebook::Run* runs, size_t n_runs, const uint16_t* seconds,
                                       const float* x, const float* w, const float* step, const float* levels,
                                       float shift, Found& out) {
  find_point<4, 3>(runs, n_runs, seconds, x, w, step, levels, shift, out);
}
ATTAR_VECTOR_CLONES void find_of_four(const Codebook::Run* runs, size_t n_runs, const uint16_t* seconds, const float* x,
                                      const float* w, const float* step, const float* levels, float shift, Found& out) {
  find_point<2, 8>(runs, n_runs, seconds, x, w, step, levels, shift, out);
}

// Point p of the groups.
void find(const Codebook& book, const Groups& groups, const Lanes& steps, int p, float shift, Found& out) {
  const int at = p * book.codes().values * kLanes;
  (book.half() == 4 ? find_of_eight : find_of_four)(book.runs().data(), book.runs().size(), book.seconds().data(),
                                                    groups.x + at, groups.w + at, steps.of, book.codes().levels, shift,
                                                    out);
}

// Lane l's point p.
void put(const Codebook& book, const Found& found, int p, int l, float shift, LatticeLanes& out) {
  const int point = book.point_of(found.first[l], found.second[l]), values = book.codes().values;
  const float* levels = book.levels_of(point);
  out.points[p * kLanes + l] = static_cast<uint16_t>(point);
  out.shifted[p * kLanes + l] = shift < 0.0f ? 1 : 0;
  for (int j = 0; j < values; ++j) out.codes[(p * values + j) * kLanes + l] = levels[j] + shift;
}

// Points that share a shift, from point `begin` on: the one that leaves less.
void put_shifted(const Codebook& book, const Groups& groups, const Lanes& steps, int begin, int count,
                 LatticeLanes& out) {
  Found up[4], down[4];
  for (int i = 0; i < count; ++i) {
    find(book, groups, steps, begin + i, blocks::kShift, up[i]);
    find(book, groups, steps, begin + i, -blocks::kShift, down[i]);
  }
  for (int l = 0; l < kLanes; ++l) {
    float of_up = 0.0f, of_down = 0.0f;
    for (int i = 0; i < count; ++i) of_up += up[i].error[l], of_down += down[i].error[l];
    const bool negative = of_down < of_up;
    for (int i = 0; i < count; ++i)
      put(book, negative ? down[i] : up[i], begin + i, l, negative ? -blocks::kShift : blocks::kShift, out);
  }
}

}  // namespace

Codebook::Codebook(const LatticeCodes& codes) : codes_(&codes), n_halves_(1) {
  for (int j = 0; j < half(); ++j) n_halves_ *= codes.n_levels;
  point_of_.assign(static_cast<size_t>(n_halves_ * n_halves_), -1);
  for (int point = 0; point < codes.n_points; ++point) {
    int halves[2] = {};
    for (int j = 0; j < codes.values; ++j) {
      int& own = halves[j / half()];
      own = own * codes.n_levels + codes.place(point, j);
      levels_.push_back(codes.levels[codes.place(point, j)]);
    }
    point_of_[static_cast<size_t>(halves[0] * n_halves_ + halves[1])] = static_cast<int16_t>(point);
  }
  for (int first = 0; first < n_halves_; ++first) {
    const size_t begin = seconds_.size();
    for (int second = 0; second < n_halves_; ++second)
      if (point_of(first, second) >= 0) seconds_.push_back(static_cast<uint16_t>(second * kLanes));
    if (seconds_.size() > begin) runs_.push_back({first, begin, seconds_.size()});
  }
}

const Codebook& codebook_of(const QuantFormat& format) {
  using namespace blocks;
  static const std::array<Codebook, 7> kBooks = {Codebook(kIq2Xxs), Codebook(kIq2Xs), Codebook(kIq2S),
                                                 Codebook(kIq3Xxs), Codebook(kIq3S),  Codebook(kIq1S),
                                                 Codebook(kIq1M)};
  const auto own =
      std::find_if(kBooks.begin(), kBooks.end(), [&](const Codebook& book) { return &book.codes() == format.lattice; });
  assert(own != kBooks.end());
  return *own;
}

void nearest_points(const Codebook& book, const Groups& groups, const Lanes& steps, LatticeLanes& out) {
  if (book.codes().signs != LatticeCodes::Signs::Shifts) return nearest_unshifted(book, groups, steps, out);
  const int together = book.codes().shared / book.codes().values;
  for (int p = 0; p < groups.width / book.codes().values; p += together)
    put_shifted(book, groups, steps, p, together, out);
}

void nearest_unshifted(const Codebook& book, const Groups& groups, const Lanes& steps, LatticeLanes& out) {
  Found found;
  for (int p = 0; p < groups.width / book.codes().values; ++p) {
    find(book, groups, steps, p, 0.0f, found);
    for (int l = 0; l < kLanes; ++l) put(book, found, p, l, 0.0f, out);
  }
}

void take_signs(const LatticeCodes& codes, Groups& groups, EightSigns& out) {
  if (codes.signs == LatticeCodes::Signs::Shifts) return;
  for (int i = 0; i < groups.width / 8; ++i)
    for (int l = 0; l < kLanes; ++l) {
      float* x = groups.x + 8 * i * kLanes + l;
      const float* w = groups.w + 8 * i * kLanes + l;
      int minuses = 0, odd = 0, cheapest = 0;
      for (int j = 0; j < 8; ++j) {
        const bool minus = x[j * kLanes] < 0.0f;
        minuses |= static_cast<int>(minus) << j, odd ^= static_cast<int>(minus);
        x[j * kLanes] = std::fabs(x[j * kLanes]);
        if (w[j * kLanes] * x[j * kLanes] < w[cheapest * kLanes] * x[cheapest * kLanes]) cheapest = j;
      }
      if (codes.signs == LatticeCodes::Signs::Even && odd != 0) minuses ^= 1 << cheapest, x[cheapest * kLanes] *= -1.0f;
      out.minuses[i * kLanes + l] = static_cast<uint8_t>(minuses);
    }
}

}  // namespace attar
