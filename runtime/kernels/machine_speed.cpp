// The loops over registers carry the instruction set they are for, each for itself: nothing of this file may be shared
// with kernels for another.
#include "runtime/kernels/machine_speed.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>

#include "runtime/base/aligned_buffer.h"
#include "runtime/base/fast_math.h"
#include "runtime/base/host/control_groups.h"
#include "runtime/base/host/kernel_file.h"

namespace attar::runtime {
namespace {

constexpr int kRuns = 5;
constexpr double kLeastRun_s = 0.004;  // beside which starting threads is little
constexpr int kChains = 10;            // of sums that do not wait for each other: as many as AVX2's registers hold
constexpr uint64_t kLeastRead = uint64_t{256} << 20, kMostRead = uint64_t{1} << 30;
constexpr uint64_t kLine = 64, kLines = 4;  // that are read at once

// Each loop makes `rounds` times kChains dot products of one register. What they are of is hidden from the compiler.
#if defined(__x86_64__)
__attribute__((target("avx512f,avx512vnni"))) int32_t dots_avx512(int64_t rounds) {
  __m512i sums[kChains], w = _mm512_set1_epi32(0x01020304), x = w;
#pragma GCC unroll 10
  for (int c = 0; c < kChains; ++c) sums[c] = _mm512_setzero_si512();
  for (; rounds > 0; --rounds) {
    asm volatile("" : "+v"(w), "+v"(x));
#pragma GCC unroll 10
    for (int c = 0; c < kChains; ++c) sums[c] = _mm512_dpbusd_epi32(sums[c], w, x);
  }
  alignas(64) int32_t out[kChains][16];
#pragma GCC unroll 10
  for (int c = 0; c < kChains; ++c) _mm512_store_si512(out[c], sums[c]);
  int32_t any = 0;
  for (const auto& chain : out) any ^= chain[0];
  return any;
}

__attribute__((target("avx2"))) int32_t dots_avx2(int64_t rounds) {
  __m256i sums[kChains], w = _mm256_set1_epi32(0x01020304), x = w;
  const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 10
  for (int c = 0; c < kChains; ++c) sums[c] = _mm256_setzero_si256();
  for (; rounds > 0; --rounds) {
#pragma GCC unroll 10
    for (int c = 0; c < kChains; ++c) {
      asm volatile("" : "+x"(w), "+x"(x));
      sums[c] = _mm256_add_epi32(sums[c], _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), ones));
    }
  }
  alignas(32) int32_t out[kChains][8];
#pragma GCC unroll 10
  for (int c = 0; c < kChains; ++c) _mm256_store_si256(reinterpret_cast<__m256i*>(out[c]), sums[c]);
  int32_t any = 0;
  for (const auto& chain : out) any ^= chain[0];
  return any;
}
#elif defined(__aarch64__)
int32_t dots_neon(int64_t rounds) {
  int32x4_t sums[kChains] = {};
  int8x16_t w = vdupq_n_s8(3), x = w;
  for (; rounds > 0; --rounds) {
#pragma GCC unroll 10
    for (int c = 0; c < kChains; ++c) {
      asm volatile("" : "+w"(w), "+w"(x));
      sums[c] = vpadalq_s16(sums[c], vmull_s8(vget_low_s8(w), vget_low_s8(x)));
      sums[c] = vpadalq_s16(sums[c], vmull_high_s8(w, x));
    }
  }
  int32_t any = 0;
  for (const int32x4_t& chain : sums) any ^= vgetq_lane_s32(chain, 0);
  return any;
}

__attribute__((target("arch=armv8.2-a+dotprod"))) int32_t dots_sdot(int64_t rounds) {
  int32x4_t sums[kChains] = {};
  int8x16_t w = vdupq_n_s8(3), x = w;
  for (; rounds > 0; --rounds) {
    asm volatile("" : "+w"(w), "+w"(x));
#pragma GCC unroll 10
    for (int c = 0; c < kChains; ++c) sums[c] = vdotq_s32(sums[c], w, x);
  }
  int32_t any = 0;
  for (const int32x4_t& chain : sums) any ^= vgetq_lane_s32(chain, 0);
  return any;
}

__attribute__((target("arch=armv8.2-a+dotprod+i8mm"))) int32_t dots_smmla(int64_t rounds) {
  int32x4_t sums[kChains] = {};
  int8x16_t w = vdupq_n_s8(3), x = w;
  for (; rounds > 0; --rounds) {
    asm volatile("" : "+w"(w), "+w"(x));
#pragma GCC unroll 10
    for (int c = 0; c < kChains; ++c) sums[c] = vmmlaq_s32(sums[c], w, x);
  }
  int32_t any = 0;
  for (const int32x4_t& chain : sums) any ^= vgetq_lane_s32(chain, 0);
  return any;
}
#endif

struct Dots {
  Isa isa;
  const char* instruction;
  int64_t multiply_adds;  // of one
  int32_t (*run)(int64_t rounds);
};
constexpr Dots kDots[] = {
#if defined(__x86_64__)
    {Isa::Avx512Vnni, "vpdpbusd of 512 bits", 64, dots_avx512},
    {Isa::Avx2, "vpmaddubsw, vpmaddwd and vpaddd of 256 bits", 32, dots_avx2},
#elif defined(__aarch64__)
    {Isa::NeonI8mm, "smmla", 32, dots_smmla},
    {Isa::NeonDot, "sdot", 16, dots_sdot},
    {Isa::Neon, "smull and sadalp", 16, dots_neon},
#endif
    {Isa::Scalar, "", 0, nullptr},
};

double seconds_of(ThreadPool& threads, const std::function<void(int thread)>& work) {
  const auto begun = std::chrono::steady_clock::now();
  threads.run(work);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
}

double least_seconds(ThreadPool& threads, const std::function<void(int thread)>& work) {
  double least = HUGE_VAL;
  for (int run = 0; run < kRuns; ++run) least = std::min(least, seconds_of(threads, work));
  return least;
}

// Whole lines, as wide as registers are.
ATTAR_VECTOR_CLONES uint64_t read_lines(const std::byte* data, uint64_t n_bytes) {
  using Line [[gnu::vector_size(kLine), gnu::may_alias]] = uint64_t;
  const auto* line = reinterpret_cast<const Line*>(data);
  const Line* const end = line + n_bytes / kLine;
  Line a{}, b{}, c{}, d{};
  for (; line < end; line += kLines) a ^= line[0], b ^= line[1], c ^= line[2], d ^= line[3];
  a ^= b ^ c ^ d;
  return a[0] ^ a[1] ^ a[2] ^ a[3] ^ a[4] ^ a[5] ^ a[6] ^ a[7];
}

// More than caches hold, and no more than a quarter of what the system can give and of what a container may take.
uint64_t bytes_to_read() {
  const std::string cache = kernel_file("/sys/devices/system/cpu/cpu0/cache/index3/size");  // "36608K"
  const uint64_t cached = std::strtoull(cache.c_str(), nullptr, 10) * 1024;
  uint64_t bytes = std::clamp(4 * cached, kLeastRead, kMostRead);
  const std::string free = kernel_value(kernel_file("/proc/meminfo"), "MemAvailable:");  // "7915028 kB"
  if (!free.empty()) bytes = std::min<uint64_t>(bytes, std::strtoull(free.c_str(), nullptr, 10) * 1024 / 4);
  if (const uint64_t limit = memory_limit_bytes(); limit > 0) bytes = std::min(bytes, limit / 4);
  return bytes;
}

void measure_reading(ThreadPool& threads, MachineSpeed& speed) {
  const auto n_threads = static_cast<uint64_t>(threads.size());
  const uint64_t share = std::max<uint64_t>(1, bytes_to_read() / n_threads / (kLine * kLines)) * kLine * kLines;
  speed.read_bytes = share * n_threads;
  AlignedBuffer memory(speed.read_bytes);
  const auto part = [&](int thread) { return memory.data() + static_cast<uint64_t>(thread) * share; };
  threads.run([&](int thread) { std::memset(part(thread), thread + 1, share); });  // pages of its own
  std::atomic<uint64_t> any{0};
  const double least_s = least_seconds(threads, [&](int thread) { any ^= read_lines(part(thread), share); });
  speed.read_bytes_per_s = static_cast<double>(speed.read_bytes) / least_s;
}

void measure_dots(ThreadPool& threads, const Dots& dots, MachineSpeed& speed) {
  std::atomic<int32_t> any{0};
  int64_t rounds = 1 << 12;
  const auto work = [&](int) { any ^= dots.run(rounds); };
  while (seconds_of(threads, work) < kLeastRun_s) rounds *= 2;
  const auto made = static_cast<double>(rounds * kChains * dots.multiply_adds * threads.size());
  speed.multiply_adds_per_s = made / least_seconds(threads, work);
  speed.instruction = dots.instruction;
}

}  // namespace

MachineSpeed machine_speed(ThreadPool& threads, Isa isa) {
  MachineSpeed speed;
  measure_reading(threads, speed);
  for (const Dots& dots : kDots)
    if (dots.isa == isa && dots.run != nullptr) measure_dots(threads, dots, speed);
  return speed;
}

}  // namespace attar::runtime
