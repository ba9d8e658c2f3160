// Where the time of passes goes, for whoever asks: every thread reads a clock where it ends a part of its work, so that
// what it did and what it waited for add up to the whole pass.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

namespace attar::runtime {

enum class Operation : uint8_t {
  Embedding,
  Norms,  // and rounding to int8 of what products read
  QueryKeyValue,
  RopeAndCache,
  Attention,
  AttentionOutput,
  GateUp,
  Down,
  Head,
  Sampling,
  Waiting,  // for other threads
  BetweenPasses,
};
inline constexpr size_t kOperations = 12;
const char* name_of(Operation operation);  // "query_key_value", ...

// What one thread did.
struct alignas(64) ThreadTimes {
  using Clock = std::chrono::steady_clock;

  void lap(Operation operation);   // it did this since the last lap
  void done(Operation operation);  // the same, and this call of it is over

  Clock::time_point last{};
  Clock::duration spent[kOperations]{}, longest_wait{};
  int64_t calls[kOperations]{};
};

// Of any number of passes of one workspace.
struct Profile {
  using Clock = ThreadTimes::Clock;

  explicit Profile(int n_threads) : threads(static_cast<size_t>(n_threads)) {}
  void begin(Clock::time_point now);          // a pass
  void end(Clock::time_point now, int team);  // which took so many threads
  // What one thread did outside of passes, while the others had nothing to do.
  void add(Operation operation, Clock::duration time) { outside[static_cast<size_t>(operation)] += time; }

  double total_s() const;  // of passes and outside of them
  double seconds(Operation operation) const;
  double waiting_s(size_t thread) const;
  // By all threads together, a second in which they were at it; 0 of what reads or multiplies nothing.
  double bytes_per_s(Operation operation) const;
  double multiply_adds_per_s(Operation operation) const;

  std::vector<ThreadTimes> threads;
  Clock::duration elapsed{}, team_time{}, outside[kOperations]{};  // in passes; the same times their threads
  Clock::time_point begun{};
  int64_t passes = 0, rows = 0;
  uint64_t bytes[kOperations]{};  // of weights, each counted once a pass; of keys and values, once a block of rows
  int64_t multiply_adds[kOperations]{};  // of int8 products of many rows: fewer wait for memory
};

}  // namespace attar::runtime
