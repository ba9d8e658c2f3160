#include "quantize/plan/knapsack.h"

#include <gtest/gtest.h>

#include <cmath>

#include "runtime/base/random.h"

namespace attar::knapsack {
namespace {

struct Total {
  uint64_t bytes = 0;
  double loss = 0;
};
Total total_of(const std::vector<Item>& items, const std::vector<size_t>& choices) {
  Total total;
  for (size_t i = 0; i < items.size(); ++i)
    total.bytes += items[i][choices[i]].bytes, total.loss += items[i][choices[i]].loss;
  return total;
}

// Every combination, the first item turning fastest.
template <class Visit>
void each_combination(const std::vector<Item>& items, const Visit& visit) {
  std::vector<size_t> choices(items.size(), 0);
  for (bool more = true; more;) {
    visit(total_of(items, choices));
    more = false;
    for (size_t i = 0; i < items.size() && !more; ++i) {
      more = ++choices[i] < items[i].size();
      if (!more) choices[i] = 0;
    }
  }
}

std::vector<Item> random_items(uint64_t seed, uint64_t unit) {
  const CounterRandom random(seed);
  std::vector<Item> items(5);
  uint64_t at = 0;
  for (Item& item : items) {
    item.resize(1 + random.below(at++, 4));
    for (Choice& choice : item) {
      choice = {unit * (1 + random.below(at, 50)), random.uniform(at + 1)};
      at += 2;
    }
  }
  return items;
}

TEST(Knapsack, FindsWhatEveryCombinationWouldShow) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const std::vector<Item> items = random_items(seed, 32);
    for (const uint64_t budget : {200u, 1000u, 2500u, 4000u, 9000u}) {
      Total best{UINT64_MAX, HUGE_VAL};
      each_combination(items, [&](const Total& total) {
        if (total.bytes <= budget && (total.loss < best.loss || (total.loss == best.loss && total.bytes < best.bytes)))
          best = total;
      });
      const auto found = least_loss(items, budget);
      ASSERT_EQ(found.has_value(), best.loss < HUGE_VAL);
      if (!found) continue;
      EXPECT_NEAR(total_of(items, *found).loss, best.loss, 1e-12);
      EXPECT_LE(total_of(items, *found).bytes, budget);
    }
    for (const double most : {0.1, 0.8, 1.5, 3.0}) {
      uint64_t fewest = UINT64_MAX;
      each_combination(items, [&](const Total& total) {
        if (total.loss <= most) fewest = std::min(fewest, total.bytes);
      });
      const auto found = least_bytes(items, most);
      ASSERT_EQ(found.has_value(), fewest < UINT64_MAX);
      if (found) {
        EXPECT_EQ(total_of(items, *found).bytes, fewest);
      }
    }
  }
}

TEST(Knapsack, UsesABudgetOfUnevenNumbers) {
  std::vector<Item> items;
  const CounterRandom random(3);
  for (uint64_t i = 0; i < 200; ++i) {
    Item item;
    for (uint64_t c = 0; c < 8; ++c)
      item.push_back({100'003 * (c + 1) + random.below(8 * i + c, 1000), std::pow(0.3, static_cast<double>(c))});
    items.push_back(item);
  }
  for (const uint64_t budget : {25'000'000u, 90'000'000u, 150'000'000u}) {
    const auto found = least_loss(items, budget);
    ASSERT_TRUE(found);
    EXPECT_LE(total_of(items, *found).bytes, budget);
    EXPECT_GE(static_cast<double>(total_of(items, *found).bytes), 0.995 * static_cast<double>(budget));
  }
}

// A thousand matrices, each rounded up to the next of 2^16 steps: eight of them would go without.
TEST(Knapsack, UsesABudgetOfAThousandItems) {
  std::vector<Item> items;
  uint64_t all = 0;
  for (uint64_t i = 0; i < 1000; ++i) {
    items.push_back({{10, 1.0}, {100'010 + i, 0.0}});
    all += 100'010 + i;
  }
  const uint64_t budget = all - 1;
  const auto found = least_loss(items, budget);
  ASSERT_TRUE(found);
  EXPECT_LE(total_of(items, *found).bytes, budget);
  EXPECT_GE(static_cast<double>(total_of(items, *found).bytes), 0.995 * static_cast<double>(budget));
  EXPECT_EQ(total_of(items, *found).loss, 1.0);
}

TEST(Knapsack, NeverTakesWhatLosesEverything) {
  const std::vector<Item> items{{{10, HUGE_VAL}, {20, 0.5}}, {{5, 1.0}, {6, HUGE_VAL}}};
  EXPECT_EQ(smallest_bytes(items), 25u);
  EXPECT_FALSE(least_loss(items, 24));
  EXPECT_EQ(least_loss(items, 1000), (std::vector<size_t>{1, 0}));
}

}  // namespace
}  // namespace attar::knapsack
