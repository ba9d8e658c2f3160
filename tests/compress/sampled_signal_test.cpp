#include "compress/signal/sampled_signal.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "compress/signal/bit_stream.h"
#include "runtime/base/random.h"

namespace attar {
namespace {

constexpr uint64_t kDraws = 17;  // seed

struct Distribution {
  std::vector<float> logits;
  double lse = 0.0;
  double p(size_t i) const { return std::exp(static_cast<double>(logits[i]) - lse); }
};
Distribution random_distribution(size_t size, double spread) {
  const CounterRandom random(kDraws);
  Distribution out;
  double sum = 0.0;
  for (size_t i = 0; i < size; ++i) {
    out.logits.push_back(static_cast<float>(spread * random.uniform(i)));
    sum += std::exp(static_cast<double>(out.logits.back()));
  }
  out.lse = std::log(sum);
  return out;
}
SampledRow drawn(const Distribution& of, int64_t samples, uint64_t draw) {
  return sample_row(of.logits, of.lse, {}, 0.0, samples, CounterRandom(kDraws, 1).uniform(draw));
}
std::map<int32_t, double> by_token(const SampledRow& row) {
  std::map<int32_t, double> out;
  for (const TokenShare& share : shares_of(row)) out[share.id] += share.probability;
  return out;
}
double mass(const SampledRow& row) {
  double sum = 0.0;
  for (const auto& [id, p] : by_token(row)) sum += p;
  return sum;
}

TEST(BitStream, GivesBackWhatWasAdded) {
  std::vector<uint8_t> bytes{0xab};
  BitWriter out(bytes);
  out.add(5, 3), out.add_unary(0), out.add_unary(9), out.add_rice(1000, 4), out.add_rice(7, 0), out.add_gamma(1);
  out.add_gamma(1023), out.add(0xffffffffu, 32);
  BitReader in(std::span<const uint8_t>(bytes).subspan(1));
  EXPECT_EQ(in.take(3), 5u);
  EXPECT_EQ(in.take_unary(), 0u);
  EXPECT_EQ(in.take_unary(), 9u);
  EXPECT_EQ(in.take_rice(4), 1000u);
  EXPECT_EQ(in.take_rice(0), 7u);
  EXPECT_EQ(in.take_gamma(), 1u);
  EXPECT_EQ(in.take_gamma(), 1023u);
  EXPECT_EQ(in.take(32), 0xffffffffu);
  EXPECT_TRUE(in.good());
  EXPECT_TRUE(in.rest().empty());
  in.take(8);
  EXPECT_FALSE(in.good());
}

// 64 draws at 4,000 tokens: the mean of what is kept is the distribution, whatever share the exact entries have.
// 256,000 independent draws over 300 tokens of like size would leave a total variation of .014.
TEST(SampledRow, IsTheDistributionInTheMean) {
  for (const double spread : {2.0, 9.0}) {
    const Distribution of = random_distribution(300, spread);
    std::vector<double> mean(300, 0.0);
    constexpr int kRows = 4000;
    for (int t = 0; t < kRows; ++t)
      for (const auto& [id, p] : by_token(drawn(of, 64, static_cast<uint64_t>(t))))
        mean[static_cast<size_t>(id)] += p / kRows;
    double apart = 0.0;
    for (size_t i = 0; i < 300; ++i) apart += std::abs(mean[i] - of.p(i)) / 2.0;
    EXPECT_LT(apart, 0.017) << spread;
  }
}

TEST(SampledRow, DrawsAreThoseOfTheRest) {
  const Distribution of = random_distribution(5000, 3.0);
  const SampledRow row = drawn(of, 64, 0);
  ASSERT_EQ(row.exact.size(), 1u);
  EXPECT_TRUE(std::is_sorted(row.drawn.begin(), row.drawn.end(), [](auto& a, auto& b) { return a.id < b.id; }));
  uint32_t draws = 0;
  for (const SampledRow::Drawn& entry : row.drawn) {
    draws += entry.count;
    for (const SampledRow::Exact& exact : row.exact) EXPECT_NE(entry.id, exact.id);
  }
  EXPECT_EQ(draws, 64u);  // the likeliest has next to nothing
  double entropy = 0.0;
  for (size_t i = 0; i < 5000; ++i) entropy -= of.p(i) * std::log(of.p(i));
  EXPECT_NEAR(row.entropy, entropy, 1e-4);
  EXPECT_NEAR(mass(row), 1.0, 1e-12);
  EXPECT_NE(by_token(drawn(of, 64, 1)), by_token(row));  // other draws
}

TEST(SampledRow, WhatIsLikelyIsKeptAsItIs) {
  Distribution of = random_distribution(100, 0.1);
  of.logits[7] = 4.0f, of.logits[30] = 4.5f, of.logits[50] = 2.0f;
  double sum = 0.0;
  for (const float v : of.logits) sum += std::exp(static_cast<double>(v));
  of.lse = std::log(sum);
  ASSERT_GT(of.p(7), 0.125);
  ASSERT_LT(of.p(50), 0.125);
  const SampledRow row = drawn(of, 24, 0);
  ASSERT_EQ(row.exact.size(), 2u);
  EXPECT_EQ(row.exact[0].id, 30);
  EXPECT_EQ(row.exact[1].id, 7);
  EXPECT_NEAR(by_token(row).at(30), of.p(30), 0.016 * of.p(30));
  of.logits[7] = 60.0f, of.lse = 60.0;
  EXPECT_TRUE(drawn(of, 24, 0).drawn.empty());
  EXPECT_NEAR(by_token(drawn(of, 24, 0)).at(7), 1.0, 1e-9);
  const Distribution one = random_distribution(1, 2.0), three = random_distribution(3, 0.1);
  EXPECT_EQ(drawn(one, 24, 0).exact.size(), 1u);
  EXPECT_EQ(drawn(three, 24, 0).exact.size(), 3u);
  EXPECT_TRUE(drawn(three, 24, 0).drawn.empty());
}

// What the student does not have takes no part; a token keeps its own id.
TEST(SampledRow, OverTheTokensThatTheStudentHas) {
  const Distribution of = random_distribution(40, 2.0);
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 40; ++i) ids.push_back(1000 + 3 * i);
  const SampledRow row = sample_row(of.logits, of.lse, ids, 0.25, 16, 0.5);
  EXPECT_EQ(row.cut, 0.25);
  const auto most = std::max_element(of.logits.begin(), of.logits.end()) - of.logits.begin();
  EXPECT_EQ(row.exact[0].id, 1000 + 3 * most);
  for (const auto& [id, p] : by_token(row)) EXPECT_EQ((id - 1000) % 3, 0);
}

std::vector<uint8_t> bytes_of(const SampledRow& row, int id_bits) {
  std::vector<uint8_t> bytes;
  encode_row(row, id_bits, bytes);
  return bytes;
}

TEST(SampledRow, ComesBackFromItsBytes) {
  std::vector<uint8_t> bytes;
  std::vector<SampledRow> rows{{}, {.cut = 0.5}};
  for (const size_t size : {1u, 5u, 300u, 65536u})
    for (const int64_t samples : {1, 32, 500}) rows.push_back(drawn(random_distribution(size, 4.0), samples, 3));
  rows.back().cut = 0.125;
  for (const SampledRow& row : rows) encode_row(row, 16, bytes);
  std::span<const uint8_t> rest(bytes);
  for (const SampledRow& row : rows) {
    const std::optional<SampledRow> back = decode_row(rest, 16);
    ASSERT_TRUE(back);
    EXPECT_EQ(by_token(*back), by_token(row));
    EXPECT_NEAR(back->entropy, row.entropy, 0.008);
    EXPECT_NEAR(back->cut, row.cut, 0.004 * row.cut);
  }
  EXPECT_TRUE(rest.empty());
  EXPECT_EQ(decode_rows(bytes, 16, 3, 5).size(), 2u);
  const std::span<const uint8_t> two = rows_between(bytes, 16, 3, 5);
  EXPECT_EQ(two.size(), bytes_of(rows[3], 16).size() + bytes_of(rows[4], 16).size());
  EXPECT_THROW(decode_rows(bytes, 16, 0, rows.size() + 1), std::exception);
}

TEST(SampledRow, BytesThatAreNoRowAreRefused) {
  const std::vector<uint8_t> whole = bytes_of(drawn(random_distribution(3000, 2.0), 32, 1), 12);
  for (size_t size = 0; size < whole.size(); ++size) {
    std::span<const uint8_t> cut(whole.data(), size);
    EXPECT_FALSE(decode_row(cut, 12)) << size;
  }
  const CounterRandom random(5);
  for (uint64_t i = 0; i < 20000; ++i) {  // any bytes: a row whose ids fit, or none
    std::vector<uint8_t> noise;
    for (uint64_t j = 0; j < 40; ++j) noise.push_back(static_cast<uint8_t>(random.bits(40 * i + j)));
    std::span<const uint8_t> rest(noise);
    const std::optional<SampledRow> row = decode_row(rest, 9);
    if (!row) continue;
    for (const TokenShare& share : shares_of(*row)) ASSERT_TRUE(share.id >= 0 && share.id < 512);
  }
}

TEST(SampledRow, ACutVocabularyRenormalisesWhatIsLeft) {
  const Distribution of = random_distribution(200, 3.0);
  const SampledRow row = drawn(of, 64, 2);
  std::vector<int32_t> same(200), halved(200), none(200, -1);
  std::iota(same.begin(), same.end(), 0);
  for (int32_t i = 0; i < 200; ++i) halved[static_cast<size_t>(i)] = i % 2 == 0 ? i / 2 : -1;
  for (const auto& [id, p] : by_token(remapped(row, same))) EXPECT_NEAR(p, by_token(row).at(id), 1e-9) << id;
  const SampledRow half = remapped(row, halved);
  double kept = 0.0;
  for (const auto& [id, p] : by_token(row)) kept += id % 2 == 0 ? p : 0.0;
  EXPECT_NEAR(half.cut, 1.0 - kept, 1e-12);
  for (const auto& [id, p] : by_token(half)) EXPECT_NEAR(p, by_token(row).at(2 * id) / kept, 0.02 * p) << id;
  EXPECT_NEAR(mass(half), 1.0, 1e-12);
  EXPECT_TRUE(remapped(row, none).empty());
  EXPECT_EQ(remapped(row, none).cut, 1.0);
  for (const SampledRow::Exact& entry : row.exact) same[static_cast<size_t>(entry.id)] = -1;
  const SampledRow rest = remapped(row, same);  // of drawn tokens alone
  EXPECT_FALSE(rest.empty());
  EXPECT_NEAR(mass(rest), 1.0, 1e-12);
}

}  // namespace
}  // namespace attar
