#include "quantize/plan/knapsack.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace attar::knapsack {
namespace {

constexpr uint64_t kMostStates = uint64_t{1} << 16;

// No other choice is as small and loses less.
bool is_useful(const Item& item, size_t choice) {
  const Choice& own = item[choice];
  for (size_t c = 0; c < item.size(); ++c) {
    const Choice& other = item[c];
    const bool as_good = other.bytes <= own.bytes && other.loss <= own.loss;
    const bool better = other.bytes < own.bytes || other.loss < own.loss;
    if (as_good && (better || c < choice)) return false;
  }
  return own.loss < HUGE_VAL;
}

uint64_t fewest(const Item& item) {
  uint64_t bytes = UINT64_MAX;
  for (const Choice& choice : item)
    if (choice.loss < HUGE_VAL) bytes = std::min(bytes, choice.bytes);
  return bytes;
}
uint64_t most(const Item& item) {
  uint64_t bytes = 0;
  for (const Choice& choice : item)
    if (choice.loss < HUGE_VAL) bytes = std::max(bytes, choice.bytes);
  return bytes;
}

// Least loss of the first items with at most s units more than the smallest choices take, for all s.
class Table {
 public:
  Table(const std::vector<Item>& items, uint64_t budget_bytes) : items_(items) {
    uint64_t divisor = 0, range = 0;
    for (const Item& item : items) {
      range += most(item) - fewest(item);
      for (const Choice& choice : item)
        if (choice.loss < HUGE_VAL) divisor = std::gcd(divisor, choice.bytes - fewest(item));
    }
    const uint64_t spare = std::min(range, budget_bytes - smallest_bytes(items));
    unit_ = std::max<uint64_t>({1, divisor, (spare + kMostStates - 1) / kMostStates});
    n_states_ = static_cast<size_t>(spare / unit_) + 1;
    loss_.assign(n_states_, 0.0);
    for (const Item& item : items) add(item);
  }

  size_t n_states() const { return n_states_; }
  double loss(size_t state) const { return loss_[state]; }
  // The choices behind a state.
  std::vector<size_t> choices(size_t state) const {
    std::vector<size_t> out(items_.size());
    for (size_t i = items_.size(); i-- > 0;) {
      out[i] = taken_[i][state];
      state -= units(items_[i], out[i]);
    }
    return out;
  }

 private:
  size_t units(const Item& item, size_t choice) const {
    return static_cast<size_t>((item[choice].bytes - fewest(item) + unit_ - 1) / unit_);
  }
  void add(const Item& item) {
    std::vector<double> next(n_states_, HUGE_VAL);
    std::vector<uint8_t> taken(n_states_, 0);
    for (size_t c = 0; c < item.size(); ++c) {
      if (!is_useful(item, c)) continue;
      const size_t more = units(item, c);
      for (size_t s = more; s < n_states_; ++s)
        if (const double loss = loss_[s - more] + item[c].loss; loss < next[s])
          next[s] = loss, taken[s] = static_cast<uint8_t>(c);
    }
    loss_ = std::move(next);
    taken_.push_back(std::move(taken));
  }

  const std::vector<Item>& items_;
  uint64_t unit_ = 1;
  size_t n_states_ = 1;
  std::vector<double> loss_;                 // (n_states)
  std::vector<std::vector<uint8_t>> taken_;  // (items, n_states)
};

// Takes what still fits, first where a byte saves most. Of exact states nothing is left to take.
void spend(const std::vector<Item>& items, uint64_t bytes, std::vector<size_t>& choices) {
  for (;;) {
    size_t best = items.size(), better = 0;
    double best_rate = 0.0;  // loss saved a byte
    for (size_t i = 0; i < items.size(); ++i) {
      const Choice& own = items[i][choices[i]];
      for (size_t c = 0; c < items[i].size(); ++c) {
        const Choice& other = items[i][c];
        if (other.bytes <= own.bytes || other.bytes - own.bytes > bytes) continue;
        const double rate = (own.loss - other.loss) / static_cast<double>(other.bytes - own.bytes);
        if (rate > best_rate) best = i, better = c, best_rate = rate;
      }
    }
    if (best == items.size()) return;
    bytes -= items[best][better].bytes - items[best][choices[best]].bytes;
    choices[best] = better;
  }
}

}  // namespace

uint64_t smallest_bytes(const std::vector<Item>& items) {
  uint64_t total = 0;
  for (const Item& item : items) total += fewest(item);
  return total;
}

std::optional<std::vector<size_t>> least_loss(const std::vector<Item>& items, uint64_t budget_bytes) {
  if (budget_bytes < smallest_bytes(items)) return std::nullopt;
  const Table table(items, budget_bytes);
  size_t state = table.n_states() - 1;
  while (state > 0 && table.loss(state - 1) <= table.loss(state)) --state;
  std::vector<size_t> choices = table.choices(state);
  uint64_t bytes = 0;
  for (size_t i = 0; i < items.size(); ++i) bytes += items[i][choices[i]].bytes;
  spend(items, budget_bytes - bytes, choices);
  return choices;
}

std::optional<std::vector<size_t>> least_bytes(const std::vector<Item>& items, double loss) {
  const Table table(items, UINT64_MAX);
  size_t state = 0;
  while (state < table.n_states() && table.loss(state) > loss) ++state;
  if (state == table.n_states()) return std::nullopt;
  return table.choices(state);
}

}  // namespace attar::knapsack
