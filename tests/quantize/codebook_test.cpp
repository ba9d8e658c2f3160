#include "quantize/grid/codebook.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <vector>

#include "runtime/base/random.h"

namespace attar {
namespace {

constexpr const char* kNames[] = {"IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"};

// Values about as large as what the points stand for.
Groups some_groups(const LatticeCodes& codes, uint64_t seed) {
  const CounterRandom random(seed);
  Groups groups(codes.group);
  const float top = codes.levels[codes.n_levels - 1];
  const bool both = codes.signs == LatticeCodes::Signs::Shifts;
  for (int i = 0; i < groups.width * kLanes; ++i) {
    const auto at = static_cast<uint64_t>(2 * i);
    groups.x[i] = top * static_cast<float>(both ? 2.4 * random.uniform(at) - 1.2 : 1.2 * random.uniform(at));
    groups.w[i] = static_cast<float>(0.01 + random.uniform(at + 1));
  }
  return groups;
}

// The least error of lane l's point p, by trying all.
double least_reference(const Codebook& book, const Groups& groups, float step, float shift, int p, int l) {
  const int values = book.codes().values;
  double least = HUGE_VAL;
  for (int point = 0; point < book.codes().n_points; ++point) {
    double error = 0.0;
    for (int j = 0; j < values; ++j) {
      const int at = (p * values + j) * kLanes + l;
      const float code = book.codes().levels[book.codes().place(point, j)] + shift;
      error += static_cast<double>(groups.w[at]) * std::pow(static_cast<double>(step * code - groups.x[at]), 2);
    }
    least = std::min(least, error);
  }
  return least;
}

double error_of(const Groups& groups, const LatticeLanes& found, float step, int first, int count, int l) {
  double error = 0.0;
  for (int j = first; j < first + count; ++j) {
    const int at = j * kLanes + l;
    error +=
        static_cast<double>(groups.w[at]) * std::pow(static_cast<double>(step * found.codes[at] - groups.x[at]), 2);
  }
  return error;
}

// A 2^-16 of an error is its half's number: so near, either of two points may be taken.
constexpr double kTie = 1.0 + 0x1p-14;

TEST(Codebook, NoOtherPointIsNearer) {
  for (const char* name : kNames) {
    const Codebook& book = codebook_of(*find_format(std::string_view(name)));
    const int values = book.codes().values;
    for (uint64_t seed = 0; seed < 3; ++seed) {
      const Groups groups = some_groups(book.codes(), seed);
      Lanes steps;
      for (int l = 0; l < kLanes; ++l) steps[l] = 0.4f + 0.1f * static_cast<float>(l);
      LatticeLanes found;
      nearest_unshifted(book, groups, steps, found);
      for (int l = 0; l < kLanes; ++l)
        for (int p = 0; p < groups.width / values; ++p) {
          const double own = error_of(groups, found, steps[l], p * values, values, l);
          EXPECT_LE(own, kTie * least_reference(book, groups, steps[l], 0.0f, p, l) + 1e-9) << name << " " << p;
          EXPECT_EQ(found.codes[p * values * kLanes + l], book.levels_of(found.points[p * kLanes + l])[0]) << name;
        }
    }
  }
}

// Points that share a shift take the one that is better for all of them.
TEST(Codebook, NoOtherShiftIsBetter) {
  for (const char* name : {"IQ1_S", "IQ1_M"}) {
    const Codebook& book = codebook_of(*find_format(std::string_view(name)));
    const int together = book.codes().shared / 8;
    const Groups groups = some_groups(book.codes(), 9);
    Lanes steps;
    for (int l = 0; l < kLanes; ++l) steps[l] = 0.5f + 0.05f * static_cast<float>(l);
    LatticeLanes found;
    nearest_points(book, groups, steps, found);
    int down = 0;
    for (int l = 0; l < kLanes; ++l)
      for (int p = 0; p < groups.width / 8; p += together) {
        double of_shift[2] = {};
        for (int i = p; i < p + together; ++i) {
          of_shift[0] += least_reference(book, groups, steps[l], 0.125f, i, l);
          of_shift[1] += least_reference(book, groups, steps[l], -0.125f, i, l);
          EXPECT_EQ(found.shifted[i * kLanes + l], found.shifted[p * kLanes + l]);
        }
        down += found.shifted[p * kLanes + l];
        EXPECT_LE(error_of(groups, found, steps[l], 8 * p, 8 * together, l),
                  kTie * std::min(of_shift[0], of_shift[1]) + 1e-9)
            << name;
      }
    EXPECT_GT(down, 0) << name;
  }
}

TEST(Codebook, SignsAreTakenOffAndEvenWhereTheyHaveToBe) {
  for (const char* name : kNames) {
    const LatticeCodes& codes = *find_format(std::string_view(name))->lattice;
    if (codes.signs == LatticeCodes::Signs::Shifts) continue;
    Groups groups = some_groups(codes, 4);
    const CounterRandom random(5);
    for (int i = 0; i < groups.width * kLanes; ++i)
      if (random.uniform(static_cast<uint64_t>(i)) < 0.5) groups.x[i] = -groups.x[i];
    const Groups before = groups;
    EightSigns signs;
    take_signs(codes, groups, signs);
    for (int i = 0; i < groups.width / 8; ++i)
      for (int l = 0; l < kLanes; ++l) {
        const unsigned minuses = signs.minuses[i * kLanes + l];
        const bool even = codes.signs == LatticeCodes::Signs::Even;
        EXPECT_TRUE(!even || std::popcount(minuses) % 2 == 0) << name;
        int wrong = 0;
        for (int j = 0; j < 8; ++j) {
          const int at = (8 * i + j) * kLanes + l;
          EXPECT_EQ((minuses >> j) & 1 ? -groups.x[at] : groups.x[at], before.x[at]) << name;
          wrong += groups.x[at] < 0.0f ? 1 : 0;
        }
        EXPECT_LE(wrong, even ? 1 : 0) << name;
      }
  }
}

}  // namespace
}  // namespace attar
