// Work cut into fixed parts that run side by side, each with one LibTorch thread, so that no result depends on how many
// threads there are. (LibTorch's own threaded matrix products give other bits at other thread counts.)
#pragma once

#include <cstdint>
#include <functional>

namespace attar {

// Calls work(part) for every part in [0, n_parts), at most `threads` at once. The first exception is rethrown. Parts
// write to places of their own; the caller adds them up in a fixed order.
void run_shards(int64_t n_parts, int threads, const std::function<void(int64_t part)>& work);

}  // namespace attar
