// The scratch of the two heads and their losses: no more at any number of tokens and threads.
#include <ATen/ops/arange.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "compress/shards.h"
#include "distill/head_loss.h"
#include "tests/compress/counted_memory.h"
#include "tests/distill/step/counted_new.h"

namespace attar {
namespace {

constexpr int64_t kTokens = 4096, kVocab = 49152, kWidth = 4;
constexpr int64_t kMostBytes = int64_t{512} << 20;

struct Peak {
  int64_t tensors = 0, others = 0;  // bytes
};

class HeadLossMemoryTest : public testing::Test {
 protected:
  Peak peak_of(const std::map<std::string, double>& losses, Precision precision, int threads) {
    const HeadLossOptions options{.losses = loss_terms(losses, {}, 1.0, 0.5), .precision = precision};
    Team team(threads);
    HeadLossMemory memory;
    const CountedMemory tensors;
    const CountedNew others;
    const HeadLossResult result = head_loss(hidden_, head_, next_, in_loss_, teacher_, options,
                                            static_cast<double>(kTokens), by_head_, team, memory);
    EXPECT_EQ(result.rows, kTokens);
    EXPECT_GT(result.loss, 0.0);
    return {tensors.peak_bytes(), others.peak_bytes()};
  }

  const OwnKernels own_kernels_;
  const at::Tensor hidden_ = at::randn({kTokens, kWidth}), head_ = at::randn({kVocab, kWidth}),
                   next_ = at::arange(kTokens, at::kLong), in_loss_ = at::ones({kTokens}, at::kBool);
  const TeacherSignal teacher_ = DenseSignal{at::randn({kTokens, kWidth}), at::randn({kVocab, kWidth})};
  at::Tensor by_head_ = at::zeros_like(head_);
};

// With sixteen threads beside losses that take rows of their own, which are vectors.
TEST_F(HeadLossMemoryTest, IsThatOfOneChunk) {
  for (const Precision precision : {Precision::Fp32, Precision::Bf16})
    for (const int threads : {1, 2, 16}) {
      std::map<std::string, double> losses{{"forward_kl", 1.0}};
      if (threads == 16) losses["adaptive_kl"] = losses["taid"] = 0.5;
      const Peak peak = peak_of(losses, precision, threads);
      const std::string where = std::string(precision == Precision::Bf16 ? "bf16, " : "fp32, ") +
                                std::to_string(threads) + " threads: " + std::to_string(peak.tensors) + " and " +
                                std::to_string(peak.others) + " bytes";
      EXPECT_LE(peak.tensors + peak.others, kMostBytes) << where;
      EXPECT_GE(peak.tensors, kHeadLossBytes / 2) << where << ": logits are not counted";
      if (threads == 16) {
        EXPECT_GE(peak.others, kVocab * int64_t{sizeof(float)}) << where << ": vectors are not counted";
      }
    }
}

}  // namespace
}  // namespace attar
