// TeamSize against machines that are made up: how long a piece takes with so many threads, and who is in the way.
#include "runtime/base/host/team_size.h"

#include <gtest/gtest.h>

#include <functional>

namespace attar {
namespace {

class Machine {
 public:
  explicit Machine(int processors) : size_(processors, [this] { return preempted_; }) {}

  // The pieces of so many seconds. -> their number
  int64_t run(double seconds, const std::function<double(int threads)>& piece_s, bool contended, int64_t kind = 1) {
    int64_t pieces = 0;
    for (double now = 0; now < seconds; ++pieces) {
      const double took = piece_s(size_.now());
      if (contended) ++preempted_;
      size_.took(took, kind);
      now += took;
    }
    return pieces;
  }
  int threads() const { return size_.now(); }

 private:
  int64_t preempted_ = 0;
  TeamSize size_;
};

double alone(int threads) {
  return 0.008 / threads;
}
// A processor less: a team that wants them all waits.
double beside_another(int threads) {
  return threads == 4 ? 0.006 : 0.008 / threads;
}

TEST(TeamSize, TakesAllThreadsWhereNobodyIsInTheWay) {
  Machine machine(4);
  EXPECT_EQ(machine.run(10.0, alone, false), 5000);
  EXPECT_EQ(machine.threads(), 4);
}

TEST(TeamSize, LeavesAProcessorToAnotherAndTakesItBack) {
  Machine machine(4);
  machine.run(1.0, beside_another, true);
  EXPECT_EQ(machine.threads(), 3);
  const int64_t best = static_cast<int64_t>(10.0 / beside_another(3));
  EXPECT_GT(machine.run(10.0, beside_another, false), best * 95 / 100) << "few are spent on asking again";
  machine.run(10.0, alone, false);
  EXPECT_EQ(machine.threads(), 4);
}

TEST(TeamSize, StaysWhereFewerAreSlowerAllTheSame) {
  Machine machine(4);
  const int64_t pieces = machine.run(20.0, alone, true);
  EXPECT_GT(pieces, 10000 * 95 / 100);
}

// Two processors, one kept busy: of its time slices two threads get half, and then both wait.
TEST(TeamSize, AsksAgainForLittle) {
  Machine machine(2);
  const auto beside_a_loop = [](int threads) { return threads == 2 ? 0.010 : 0.0033; };
  machine.run(0.2, beside_a_loop, true);
  EXPECT_EQ(machine.threads(), 1);
  for (int i = 0; i < 20; ++i)  // texts of 64 tokens, whose one thread nobody puts aside
    EXPECT_GE(machine.run(64 * 0.0033, beside_a_loop, false), 59) << "text " << i;
  EXPECT_GE(machine.run(
                4.0, [](int threads) { return 0.0033 / threads; }, false),
            1700)
      << "and is quick where the loop ends";
  EXPECT_EQ(machine.threads(), 2);
}

TEST(TeamSize, GivesUpSeveral) {
  Machine machine(4);
  machine.run(
      5.0, [](int threads) { return threads > 1 ? 0.02 * threads : 0.008; }, true);
  EXPECT_EQ(machine.threads(), 1);
}

TEST(TeamSize, DoesNotCompareWhatIsNotAlike) {
  Machine machine(2);
  for (int i = 0; i < 200; ++i) machine.run(0.02, alone, true, i % 2);
  EXPECT_EQ(machine.threads(), 2);
}

TEST(TeamSize, OneThreadIsOne) {
  Machine machine(1);
  machine.run(1.0, alone, true);
  EXPECT_EQ(machine.threads(), 1);
}

}  // namespace
}  // namespace attar
