#include "quantize/grid/lattice.h"

#include <algorithm>
#include <cmath>

#include "quantize/grid/block_search.h"
#include "runtime/base/fast_math.h"
#include "runtime/base/half.h"

namespace attar {
namespace {

using Signs = LatticeCodes::Signs;

constexpr int kSuper = 256;
constexpr int kMostSupers = 2;  // that sixteen groups make

// What a search tries: levels that the peak may lie at, as shares of the last one; rounds of points for the scale,
// scale for the points; then rounds of multiples beside each group's own.
struct Effort {
  std::span<const float> peaks;
  int refinements, rounds;
};
constexpr float kPeaks[] = {0.75f, 0.85f, 0.95f, 1.05f, 1.18f, 1.35f, 1.6f, 2.0f};
constexpr float kTernaryPeaks[] = {1.4f, 2.0f, 3.0f};
constexpr Effort kOfLevels{kPeaks, 1, 2}, kOfTernary{kTernaryPeaks, 1, 1};

float as_half(float value) {
  return f16_to_f32(f32_to_f16(value));
}

ATTAR_VECTOR_CLONES void sums_of(const Groups& groups, const LatticeLanes& found, ScaleSums& out) {
  float cc[kLanes] = {}, cx[kLanes] = {};
  for (int j = 0; j < groups.width; ++j)
    for (int l = 0; l < kLanes; ++l) {
      const float c = found.codes[j * kLanes + l], wc = groups.w[j * kLanes + l] * c;
      cc[l] += wc * c;
      cx[l] += wc * groups.x[j * kLanes + l];
    }
  for (int l = 0; l < kLanes; ++l) out.cc.of[l] = cc[l], out.cx.of[l] = cx[l];
}

ATTAR_VECTOR_CLONES void peaks_of(const Groups& groups, Lanes& peak) {
  float most[kLanes] = {};
  for (int j = 0; j < groups.width; ++j)
    for (int l = 0; l < kLanes; ++l) most[l] = std::max(most[l], std::fabs(groups.x[j * kLanes + l]));
  for (int l = 0; l < kLanes; ++l) peak.of[l] = most[l];
}

// Each group's own best step, whatever can be stored, and sum(w c^2) of the points that it is best for.
struct BestSteps {
  Lanes step{}, cc{};
};
BestSteps best_steps(const Codebook& book, const Groups& groups, const Effort& effort) {
  BestSteps best;
  Lanes gain{}, peak;
  peaks_of(groups, peak);
  LatticeLanes found;
  const auto attempt = [&](const Lanes& steps) {
    ScaleSums sums;
    nearest_points(book, groups, steps, found);
    sums_of(groups, found, sums);
    for (int l = 0; l < kLanes; ++l) {
      const float scale = sums.cc[l] > 0.0f ? sums.cx[l] / sums.cc[l] : 0.0f;
      if (sums.cx[l] * scale > gain[l] && scale > 0.0f)
        gain[l] = sums.cx[l] * scale, best.step[l] = scale, best.cc[l] = sums.cc[l];
    }
  };
  const auto attempt_peak_at = [&](float level) {
    Lanes steps;
    for (int l = 0; l < kLanes; ++l) steps[l] = peak[l] / level;
    attempt(steps);
  };
  const LatticeCodes& codes = book.codes();
  for (const float share : effort.peaks) attempt_peak_at(share * codes.levels[codes.n_levels - 1]);
  if (codes.signs != Signs::Shifts) attempt_peak_at(codes.levels[0]);  // for values of one magnitude
  for (int i = 0; i < effort.refinements; ++i) attempt(Lanes(best.step));
  return best;
}

// Super-blocks as they are decoded: group g's step is d * multiples[g] * unit.
struct Supers {
  float d[kMostSupers] = {};
  Lanes multiples{};  // odd
};

struct Shape {
  int groups_a_super, n_supers;
  float most, unit;
  explicit Shape(const LatticeCodes& codes)
      : groups_a_super(kSuper / codes.group),
        n_supers(kLanes / groups_a_super),
        most(static_cast<float>(2 * codes.most_scale + 1)),
        unit(codes.unit) {}
  float odd(float multiple) const {
    return std::clamp(2.0f * std::nearbyint(0.5f * (multiple - 1.0f)) + 1.0f, 1.0f, most);
  }
};

Lanes steps_of(const Supers& supers, const Shape& shape, float up) {
  Lanes steps;
  for (int l = 0; l < kLanes; ++l)
    steps[l] =
        supers.d[l / shape.groups_a_super] * (std::clamp(supers.multiples[l] + up, 1.0f, shape.most) * shape.unit);
  return steps;
}

// d so that the largest step is its most-th multiple, or somewhat fewer: what leaves least of sum(cc (step - best)^2).
Supers rounded(const BestSteps& best, const Shape& shape) {
  Supers out;
  for (int s = 0; s < shape.n_supers; ++s) {
    const int first = s * shape.groups_a_super, end = first + shape.groups_a_super;
    const float largest = *std::max_element(best.step.of + first, best.step.of + end);
    float least = HUGE_VALF;
    out.d[s] = as_half(largest / (shape.most * shape.unit));  // infinite: nothing below is better, and nothing holds it
    for (float multiple = shape.most + 1.0f; multiple >= 0.6f * shape.most; multiple -= 0.5f) {
      const float d = as_half(largest / (multiple * shape.unit)), inverse = d > 0.0f ? 1.0f / (d * shape.unit) : 0.0f;
      float error = 0.0f;
      for (int l = first; l < end; ++l) {
        const float off = d * shape.unit * shape.odd(best.step[l] * inverse) - best.step[l];
        error += best.cc[l] * off * off;
      }
      if (!(error < least)) continue;
      least = error, out.d[s] = d;
      for (int l = first; l < end; ++l) out.multiples[l] = shape.odd(best.step[l] * inverse);
    }
  }
  return out;
}

ATTAR_VECTOR_CLONES void errors_of(const Groups& groups, const LatticeLanes& found, const Lanes& steps, Lanes& out) {
  float error[kLanes] = {};
  for (int j = 0; j < groups.width; ++j)
    for (int l = 0; l < kLanes; ++l) {
      const float difference = steps.of[l] * found.codes[j * kLanes + l] - groups.x[j * kLanes + l];
      error[l] += groups.w[j * kLanes + l] * difference * difference;
    }
  for (int l = 0; l < kLanes; ++l) out.of[l] = error[l];
}

// Each group takes the best of its own multiple and those beside it. -> the sums of what it took
ScaleSums choose_multiples(const Codebook& book, const Groups& groups, const Shape& shape, Supers& supers) {
  ScaleSums best{};
  Lanes least, chosen = supers.multiples;
  for (float& error : least.of) error = HUGE_VALF;
  LatticeLanes found;
  for (const float up : {0.0f, -2.0f, 2.0f}) {
    const Lanes steps = steps_of(supers, shape, up);
    ScaleSums sums;
    Lanes error;
    nearest_points(book, groups, steps, found);
    errors_of(groups, found, steps, error);
    sums_of(groups, found, sums);
    for (int l = 0; l < kLanes; ++l) {
      if (!(error[l] < least[l])) continue;
      least[l] = error[l], best.cc[l] = sums.cc[l], best.cx[l] = sums.cx[l];
      chosen[l] = std::clamp(supers.multiples[l] + up, 1.0f, shape.most);
    }
  }
  supers.multiples = chosen;
  return best;
}

void refit(const ScaleSums& sums, const Shape& shape, int s, Supers& supers) {
  double mm = 0.0, mx = 0.0;
  for (int l = s * shape.groups_a_super; l < (s + 1) * shape.groups_a_super; ++l) {
    const double m = static_cast<double>(supers.multiples[l] * shape.unit);
    mm += m * m * static_cast<double>(sums.cc[l]), mx += m * static_cast<double>(sums.cx[l]);
  }
  if (mm > 0.0 && mx > 0.0) supers.d[s] = as_half(static_cast<float>(mx / mm));
}

// Points for the multiples, d for both, and so on: each of the two only ever helps, but for d's rounding.
void improve(const Codebook& book, const Groups& groups, const Shape& shape, int rounds, Supers& supers) {
  for (int round = 0; round < rounds; ++round) {
    const ScaleSums sums = choose_multiples(book, groups, shape, supers);
    for (int s = 0; s < shape.n_supers; ++s) refit(sums, shape, s, supers);
  }
}

void put_blocks(const LatticeCodes& codes, const Shape& shape, const Supers& supers, const LatticeLanes& found,
                const EightSigns& signs, std::span<LatticeBlock> out) {
  const int points = codes.group / codes.values, eights = codes.group / 8;
  for (size_t s = 0; s < out.size(); ++s) {
    LatticeBlock& block = out[s] = {};
    block.d = f32_to_f16(supers.d[s]);
    for (int g = 0; g < shape.groups_a_super; ++g) {
      const int l = static_cast<int>(s) * shape.groups_a_super + g;
      block.scales[g] = static_cast<uint8_t>(0.5f * (supers.multiples[l] - 1.0f));
      for (int p = 0; p < points; ++p) block.points[g * points + p] = found.points[p * kLanes + l];
      for (int i = 0; i < eights; ++i)
        block.signs[g * eights + i] =
            codes.signs == Signs::Shifts ? found.shifted[i * kLanes + l] : signs.minuses[i * kLanes + l];
    }
  }
}

void fit_groups(const Codebook& book, Groups& groups, std::span<LatticeBlock> out) {
  const LatticeCodes& codes = book.codes();
  const Effort& effort = codes.signs == Signs::Shifts ? kOfTernary : kOfLevels;
  const Shape shape(codes);
  EightSigns signs;
  take_signs(codes, groups, signs);
  LatticeLanes found;
  Supers supers = rounded(best_steps(book, groups, effort), shape);
  improve(book, groups, shape, effort.rounds, supers);
  nearest_points(book, groups, steps_of(supers, shape, 0.0f), found);
  put_blocks(codes, shape, supers, found, signs, out);
}

}  // namespace

std::vector<LatticeBlock> fit_lattice_blocks(const QuantFormat& format, std::span<const float> rows,
                                             std::span<const float> weights) {
  const Codebook& book = codebook_of(format);
  const auto n_blocks = static_cast<int64_t>(rows.size()) / kSuper;
  std::vector<LatticeBlock> out(static_cast<size_t>(n_blocks));
  Groups groups(book.codes().group);
  const int64_t at_once = kLanes * book.codes().group / kSuper;
  for (int64_t first = 0; first < n_blocks; first += at_once) {
    const int64_t count = std::min(at_once, n_blocks - first);
    load_blocks(rows, weights, kSuper, first, count, groups);
    fit_groups(book, groups, std::span(out).subspan(static_cast<size_t>(first), static_cast<size_t>(count)));
  }
  return out;
}

void write_lattice(const QuantFormat& format, std::span<const LatticeBlock> blocks, std::span<std::byte> out) {
  for (size_t b = 0; b < blocks.size(); ++b)
    format.lattice->write(blocks[b], out.data() + b * static_cast<size_t>(format.block_bytes));
}

float lattice_step(const LatticeCodes& codes, const LatticeBlock& block, int group) {
  return f16_to_f32(block.d) * (static_cast<float>(2 * block.scales[group] + 1) * codes.unit);
}

}  // namespace attar
