#include "distill/optimizer/weight_average.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "compress/shards.h"

namespace attar {
namespace {

// Calls work(x, y, count) for each tensor of `a` and the one of its name in `b`.
void for_each_pair(NamedTensors& a, const NamedTensors& b, int threads,
                   const std::function<void(float* x, float* y, int64_t count)>& work) {
  std::vector<std::pair<at::Tensor, at::Tensor>> pairs;
  for (auto& [name, tensor] : a) pairs.emplace_back(tensor, b.at(name));
  run_shards(std::ssize(pairs), threads, [&](int64_t i) {
    const auto& [x, y] = pairs[static_cast<size_t>(i)];
    work(x.mutable_data_ptr<float>(), y.mutable_data_ptr<float>(), x.numel());
  });
}

}  // namespace

double average_decay(double ema, int64_t updates) {
  const auto n = static_cast<double>(updates);
  return std::min(ema, (1.0 + n) / (10.0 + n));
}

void update_average(NamedTensors& average, const NamedTensors& weights, double decay, int threads) {
  const auto taken = static_cast<float>(1.0 - decay);
  for_each_pair(average, weights, threads, [&](float* mean, const float* weight, int64_t count) {
    for (int64_t i = 0; i < count; ++i) mean[i] += taken * (weight[i] - mean[i]);
  });
}

void exchange(NamedTensors& a, NamedTensors& b, int threads) {
  for_each_pair(a, b, threads, [](float* x, float* y, int64_t count) { std::swap_ranges(x, x + count, y); });
}

}  // namespace attar
