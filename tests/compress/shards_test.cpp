// Work cut into shards. `make check` runs this under ThreadSanitizer, which sees what our code shares between the
// threads (LibTorch itself is not instrumented).
#include "compress/shards.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/sin.h>
#include <c10/core/GradMode.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

namespace attar {
namespace {

constexpr int64_t kParts = 7;

TEST(Shards, EachPartIsWorkedOnOnce) {
  for (const int threads : {1, 2, 3, 16}) {
    std::vector<int64_t> calls(kParts, 0);  // each written by the thread that has the part
    run_shards(kParts, threads, [&](int64_t part) { ++calls[static_cast<size_t>(part)]; });
    EXPECT_EQ(calls, std::vector<int64_t>(kParts, 1));
  }
  run_shards(0, 4, [](int64_t) { FAIL(); });
}

TEST(Shards, AtMostAsManyThreadsAsAskedFor) {
  std::vector<std::thread::id> ids(kParts);
  run_shards(kParts, 3, [&](int64_t part) { ids[static_cast<size_t>(part)] = std::this_thread::get_id(); });
  EXPECT_LE(std::set<std::thread::id>(ids.begin(), ids.end()).size(), 3u);
}

TEST(Shards, AnExceptionEndsTheWorkAndIsThrownAgain) {
  for (const int threads : {1, 4}) {
    const auto work = [](int64_t part) {
      if (part == 2) throw std::runtime_error("part 2");
    };
    // More parts than could ever be worked on: the call returns because the exception ends the work.
    EXPECT_THROW(run_shards(int64_t{1} << 60, threads, work), std::runtime_error);
  }
}

TEST(Shards, PartsRecordGradientsWhereTheCallerDoes) {
  for (const bool records : {false, true}) {
    const c10::AutoGradMode mode(records);
    std::array<bool, kParts> seen{};
    run_shards(kParts, 4, [&](int64_t part) { seen[static_cast<size_t>(part)] = c10::GradMode::is_enabled(); });
    for (const bool one : seen) EXPECT_EQ(one, records);
  }
}

// Whatever library multiplies, single precision is kept: bf16's error would be 2e-3.
TEST(Shards, ChosenKernelsKeepSinglePrecision) {
  const OwnKernels own_kernels;
  for (const auto& [rows, inner, columns] : {std::array<int64_t, 3>{64, 300, 128}, {129, 77, 515}, {1, 576, 1536}}) {
    const at::Tensor a = at::sin(at::arange(rows * inner, at::kFloat)).view({rows, inner});
    const at::Tensor b = at::cos(at::arange(inner * columns, at::kFloat).mul(0.7)).view({inner, columns});
    const at::Tensor exact = at::mm(a.to(at::kDouble), b.to(at::kDouble));
    const at::Tensor off = at::mm(a, b).to(at::kDouble).sub_(exact);
    const double error = off.norm().item<double>() / exact.norm().item<double>();
    EXPECT_LT(error, 2e-6) << rows << " x " << inner << " x " << columns;
  }
}

// MKL's own record of which processor its vector functions are for, -1 until a first call finds it: a local variable of
// a function that begins by loading it (mov eax, [rip + distance]). nullptr: this MKL is another, or none.
const int* vector_functions_processor() {
  const auto* code = static_cast<const unsigned char*>(dlsym(RTLD_DEFAULT, "mkl_vml_serv_cpu_detect"));
  constexpr size_t kInstruction = 6;
  if (code == nullptr || code[0] != 0x8b || code[1] != 0x05) return nullptr;
  int32_t distance = 0;
  std::memcpy(&distance, code + 2, sizeof(distance));
  return reinterpret_cast<const int*>(code + kInstruction + distance);
}

// Two threads that find it side by side once gave a pruning other bytes: one of them took what the other had half
// written.
TEST(Shards, MklIsSetUpBeforeThereAreThreads) {
  if (vector_functions_processor() == nullptr) GTEST_SKIP() << "another MKL, or none";
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // a process in which no test came before
  const auto in_a_new_process = [] {
    const bool before = *vector_functions_processor() != -1;
    const OwnKernels own_kernels;
    std::_Exit(before ? 2 : *vector_functions_processor() == -1);
  };
  EXPECT_EXIT(in_a_new_process(), testing::ExitedWithCode(0), "");
}

TEST(Shards, TheHostGetsItsSettingsBack) {
  const auto precision = [] {
    return at::globalContext().float32Precision(at::Float32Backend::MKLDNN, at::Float32Op::MATMUL);
  };
  const auto before = precision();
  const int threads = at::get_num_threads();
  run_shards(3, 2, [](int64_t) { const OwnKernels inner; });
  EXPECT_EQ(precision(), before);
  EXPECT_EQ(at::get_num_threads(), threads);
}

// A product and its gradient in each part, over a weight that all read: the same bits with any number of threads.
TEST(Shards, GradientsAreTheSameBitsWithAnyNumberOfThreads) {
  const at::Tensor weight = at::sin(at::arange(96 * 64, at::kFloat)).view({96, 64});
  const auto gradients = [&](int threads) {
    std::vector<at::Tensor> out(kParts);
    run_shards(kParts, threads, [&](int64_t part) {
      const at::Tensor x = at::sin(at::arange(48 * 96, at::kFloat).mul(part + 1)).view({48, 96});
      at::Tensor own = weight.detach().requires_grad_(true);  // its own gradient, the same memory
      at::mm(x, own).pow(2).sum().backward();
      out[static_cast<size_t>(part)] = own.grad();
    });
    at::Tensor sum = out[0].clone();
    for (size_t part = 1; part < out.size(); ++part) sum += out[part];
    return sum;
  };
  const at::Tensor one = gradients(1);
  for (const int threads : {2, 4}) EXPECT_TRUE(at::equal(gradients(threads), one));
}

}  // namespace
}  // namespace attar
