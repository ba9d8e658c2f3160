// A profile's times are whole passes, thread by thread; asking for one changes no bit.
#include "runtime/model/profile.h"

#include <gtest/gtest.h>

#include <numeric>

#include "runtime/kernels/machine_speed.h"
#include "runtime/model/workspace.h"
#include "tests/runtime/tiny_model.h"

namespace attar::runtime {
namespace {

constexpr size_t index_of(Operation operation) {
  return static_cast<size_t>(operation);
}

Model tiny(ThreadPool& pool, const LoadOptions& options = {}) {
  const TinyOptions tiny_options = {.matrix_type = TensorType::Q8_0};
  return Model::load(tiny_model(tiny_config(tiny_options), tiny_options), options, pool);
}

// Reads so many tokens of a text; -> the logits of the last.
std::vector<float> read(const Model& model, Workspace& work, KvCache& cache, int64_t n) {
  std::vector<Row> rows;
  for (int64_t i = 0; i < n; ++i)
    rows.push_back({&cache, static_cast<int32_t>((cache.length_tokens() + i) * 7 % 32), i + 1 == n});
  forward(model, rows, work);
  return {work.logits(0).begin(), work.logits(0).end()};
}

TEST(Profile, ChangesNoBitAndItsTimesAreWholePasses) {
  for (const int n_threads : {1, 2, 7}) {
    ThreadPool pool(n_threads);
    const Model model = tiny(pool);
    Workspace plain(model, pool), timed(model, pool);
    KvCache one(model), other(model);
    Profile profile(n_threads);
    timed.buffers().profile = &profile;
    for (const int64_t n : {int64_t{600}, int64_t{1}, int64_t{5}, int64_t{1}})  // attention near and far
      EXPECT_EQ(read(model, plain, one, n), read(model, timed, other, n)) << n << " rows, " << n_threads << " threads";
    EXPECT_EQ(profile.passes, 5) << "a prompt of 600 takes two";
    EXPECT_EQ(profile.rows, 607);
    double sum_s = 0.0;
    for (size_t i = 0; i < kOperations; ++i) sum_s += profile.seconds(static_cast<Operation>(i));
    EXPECT_NEAR(sum_s, profile.total_s(), 1e-9);
    for (const ThreadTimes& thread : profile.threads) {
      EXPECT_EQ(std::accumulate(std::begin(thread.spent), std::end(thread.spent), Profile::Clock::duration{}),
                profile.elapsed);
      EXPECT_EQ(thread.calls[index_of(Operation::Waiting)], profile.threads[0].calls[index_of(Operation::Waiting)])
          << "all meet at all barriers";
      EXPECT_GE(thread.spent[index_of(Operation::Waiting)], thread.longest_wait);
    }
  }
}

TEST(Profile, CountsCallsBytesAndMultiplyAdds) {
  ThreadPool pool(2);
  const Model model = tiny(pool);
  Workspace work(model, pool);
  KvCache cache(model);
  read(model, work, cache, 10);
  Profile token(2), prompt(2);
  work.buffers().profile = &token;
  read(model, work, cache, 1);
  const std::pair<Operation, int64_t> calls[] = {{Operation::Embedding, 1},
                                                 {Operation::QueryKeyValue, 3},
                                                 {Operation::RopeAndCache, 3},
                                                 {Operation::Attention, 3},
                                                 {Operation::AttentionOutput, 3},
                                                 {Operation::GateUp, 3},
                                                 {Operation::Down, 3},
                                                 {Operation::Head, 1},
                                                 {Operation::Norms, 3 * 4 + 1}};  // two norms and two roundings
  for (const auto& [operation, expected] : calls)
    EXPECT_EQ(token.threads[0].calls[index_of(operation)], expected) << name_of(operation);
  uint64_t weights = 0;
  for (size_t i = 0; i < kOperations; ++i)
    if (i != index_of(Operation::Attention)) weights += token.bytes[i];
  EXPECT_EQ(weights, model.packed_bytes());
  // Of three layers keys and values, two heads of 16 numbers of f16 each, 11 positions.
  EXPECT_EQ(token.bytes[index_of(Operation::Attention)], 3u * 2 * 2 * 16 * 2 * 11);
  EXPECT_EQ(token.multiply_adds[index_of(Operation::QueryKeyValue)], 0) << "one row waits for memory";

  KvCache fresh(model);
  work.buffers().profile = &prompt;
  read(model, work, fresh, 20);
  // Query, key and value: 64, 32 and 32 outputs of 64 inputs; the second layer has 32 of each.
  EXPECT_EQ(prompt.multiply_adds[index_of(Operation::QueryKeyValue)], 20 * (128 + 96 + 128) * 64);
  EXPECT_EQ(prompt.multiply_adds[index_of(Operation::Head)], 0) << "one row asked";
  EXPECT_EQ(prompt.bytes[index_of(Operation::QueryKeyValue)], token.bytes[index_of(Operation::QueryKeyValue)]);
  EXPECT_EQ(prompt.bytes[index_of(Operation::Attention)], 3u * 2 * 2 * 16 * 2 * (16 + 20)) << "by blocks of 16 rows";
}

TEST(Profile, TimesOutsideOfPassesBelongToAllThreads) {
  Profile profile(4);
  using std::chrono::milliseconds;
  const Profile::Clock::time_point start{};
  profile.begin(start);
  profile.end(start + milliseconds(8), 2);  // two of four threads, which did nothing but wait
  profile.add(Operation::Sampling, milliseconds(2));
  EXPECT_DOUBLE_EQ(profile.seconds(Operation::Sampling), 0.002);
  EXPECT_DOUBLE_EQ(profile.seconds(Operation::Waiting), 0.008);
  EXPECT_DOUBLE_EQ(profile.total_s(), 0.010);
  EXPECT_DOUBLE_EQ(profile.waiting_s(1), 0.008);
  EXPECT_DOUBLE_EQ(profile.waiting_s(2), 0.0);
  profile.bytes[index_of(Operation::Sampling)] = 6000;
  EXPECT_DOUBLE_EQ(profile.bytes_per_s(Operation::Sampling), 3e6);
  EXPECT_EQ(profile.bytes_per_s(Operation::Head), 0.0) << "nothing was read in no time";
}

TEST(MachineSpeed, IsMeasuredWithEveryNumberOfThreads) {
  for (const int n_threads : {1, 3}) {
    ThreadPool pool(n_threads);
    const MachineSpeed speed = machine_speed(pool, cpu_features().best_isa());
    EXPECT_GT(speed.read_bytes_per_s, 0.0);
    EXPECT_GT(speed.read_bytes, 0u);
    EXPECT_EQ(speed.read_bytes % static_cast<uint64_t>(n_threads), 0u) << "every thread reads as much";
    EXPECT_EQ(speed.multiply_adds_per_s > 0.0, *speed.instruction != '\0');
  }
  ThreadPool pool(1);
  EXPECT_EQ(machine_speed(pool, Isa::Scalar).multiply_adds_per_s, 0.0) << "plain loops have no such instruction";
}

}  // namespace
}  // namespace attar::runtime
