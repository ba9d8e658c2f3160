#include "quantize/grid/eights.h"

#include <algorithm>

#include "quantize/grid/lattice.h"
#include "runtime/base/fast_math.h"
#include "runtime/formats/blocks/lattice_grids.h"

namespace attar {
namespace {

constexpr int kRounds = 3;
constexpr float kDamped[] = {1.0f, 1.5f, 2.5f, 4.0f};

struct Rounded {
  float values[kEight * kLanes] = {};
  uint16_t points[2 * kLanes] = {};
  uint8_t minuses[kLanes] = {};
};

// Each row's step and shift, in values.
struct Placed {
  Lanes step{}, shift{};
};
Placed placed(const LatticeCodes& codes, const EightRows& rows) {
  Placed out;
  for (size_t l = 0; l < rows.blocks.size(); ++l) {
    const LatticeBlock& block = *rows.blocks[l];
    out.step.of[l] = lattice_step(codes, block, rows.eight * kEight / codes.group);
    if (codes.signs == LatticeCodes::Signs::Shifts)
      out.shift.of[l] = (block.signs[rows.eight] & 1) != 0 ? -blocks::kShift : blocks::kShift;
  }
  return out;
}

void round_under(const Codebook& book, const float* weights, const Placed& place, const float* x, Rounded& out) {
  Groups groups(kEight);
  for (int j = 0; j < kEight; ++j)
    for (int l = 0; l < kLanes; ++l) {
      groups.x[j * kLanes + l] = x[j * kLanes + l] - place.step.of[l] * place.shift.of[l];
      groups.w[j * kLanes + l] = weights[j];
    }
  EightSigns signs;
  take_signs(book.codes(), groups, signs);
  LatticeLanes found;
  nearest_unshifted(book, groups, place.step, found);
  for (int j = 0; j < kEight; ++j)
    for (int l = 0; l < kLanes; ++l) {
      const float value = place.step.of[l] * (found.codes[j * kLanes + l] + place.shift.of[l]);
      out.values[j * kLanes + l] = (signs.minuses[l] >> j) & 1 ? -value : value;
    }
  std::copy_n(found.points, kEight / book.codes().values * kLanes, out.points);
  std::copy_n(signs.minuses, kLanes, out.minuses);
}

// M (values - x), and what the errors cost.
struct Cost {
  float slope[kEight * kLanes];
  Lanes total;
};
ATTAR_VECTOR_CLONES void cost_of(const EightMetric& metric, const float* values, const float* x, Cost& out) {
  float total[kLanes] = {};
  for (int j = 0; j < kEight; ++j) {
    float slope[kLanes] = {};
    for (int k = 0; k < kEight; ++k)
      for (int l = 0; l < kLanes; ++l) slope[l] += metric.of[j][k] * (values[k * kLanes + l] - x[k * kLanes + l]);
    for (int l = 0; l < kLanes; ++l) {
      total[l] += slope[l] * (values[j * kLanes + l] - x[j * kLanes + l]);
      out.slope[j * kLanes + l] = slope[l];
    }
  }
  for (int l = 0; l < kLanes; ++l) out.total.of[l] = total[l];
}

void take_lane(const Rounded& from, int l, int points, Rounded& to) {
  for (int j = 0; j < kEight; ++j) to.values[j * kLanes + l] = from.values[j * kLanes + l];
  for (int p = 0; p < points; ++p) to.points[p * kLanes + l] = from.points[p * kLanes + l];
  to.minuses[l] = from.minuses[l];
}

// -> whether any row has less error than before
bool step_down(const Codebook& book, const EightMetric& metric, const Placed& place, const float* x, float damping,
               Rounded& best, Cost& cost) {
  float target[kEight * kLanes], weights[kEight];
  for (int j = 0; j < kEight; ++j) weights[j] = damping * metric.of[j][j];
  for (int j = 0; j < kEight; ++j)
    for (int l = 0; l < kLanes; ++l) {
      const int at = j * kLanes + l;
      target[at] = best.values[at] - (weights[j] > 0.0f ? cost.slope[at] / weights[j] : 0.0f);
    }
  Rounded next;
  round_under(book, weights, place, target, next);
  Cost own;
  cost_of(metric, next.values, x, own);
  bool better = false;
  for (int l = 0; l < kLanes; ++l) {
    if (!(own.total[l] < cost.total[l])) continue;
    better = true;
    take_lane(next, l, kEight / book.codes().values, best);
    cost.total[l] = own.total[l];
    for (int j = 0; j < kEight; ++j) cost.slope[j * kLanes + l] = own.slope[j * kLanes + l];
  }
  return better;
}

}  // namespace

void round_eights(const Codebook& book, const EightMetric& metric, const EightRows& rows, const float* x,
                  float* values) {
  const LatticeCodes& codes = book.codes();
  const Placed place = placed(codes, rows);
  float diagonal[kEight];
  for (int j = 0; j < kEight; ++j) diagonal[j] = metric.of[j][j];
  Rounded best;
  Cost cost;
  round_under(book, diagonal, place, x, best);
  cost_of(metric, best.values, x, cost);
  for (int round = 0; round < kRounds; ++round) {
    bool better = false;
    for (const float damping : kDamped) better |= step_down(book, metric, place, x, damping, best, cost);
    if (!better) break;
  }
  const int points = kEight / codes.values;
  for (size_t l = 0; l < rows.blocks.size(); ++l) {
    LatticeBlock& block = *rows.blocks[l];
    for (int p = 0; p < points; ++p)
      block.points[rows.eight * points + p] = best.points[p * kLanes + static_cast<int>(l)];
    if (codes.signs != LatticeCodes::Signs::Shifts) block.signs[rows.eight] = best.minuses[l];
  }
  std::copy_n(best.values, kEight * kLanes, values);
}

}  // namespace attar
