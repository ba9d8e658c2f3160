// Speed and error of encoding beside ggml's own encoders, of one core, in turn:
//   encode_speed FOLDER OF libggml-base.so [TYPE ...]
// Rows of a normal distribution, importance spread like that of real inputs. Prints medians of 25 in millions of
// weights a second, and the weighted error that each leaves, relative to the rows' energy.
#include <dlfcn.h>
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "quantize/grid/encode.h"
#include "runtime/base/random.h"

namespace {

using namespace attar;

constexpr int64_t kRows = 256, kColumns = 1536;
constexpr int kRepetitions = 25;

// ggml.h: ggml_quantize_chunk(type, src, dst, start, nrows, n_per_row, imatrix)
using QuantizeChunk = size_t (*)(int, const float*, void*, int64_t, int64_t, int64_t, const float*);

QuantizeChunk ggml_in(const std::string& folder) {
  void* library = dlopen((folder + "/libggml-base.so").c_str(), RTLD_NOW);
  if (library == nullptr) return nullptr;
  return reinterpret_cast<QuantizeChunk>(dlsym(library, "ggml_quantize_chunk"));
}

std::vector<float> normal(size_t n, uint64_t seed) {
  const CounterRandom random(seed);
  std::vector<float> out(n);
  for (size_t i = 0; i < n; ++i)
    out[i] = static_cast<float>(std::sqrt(-2.0 * std::log(1.0 - random.uniform(2 * i))) *
                                std::cos(6.283185307179586 * random.uniform(2 * i + 1)));
  return out;
}

// Of this process alone: others may use the machine.
double cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + kRepetitions / 2, values.end());
  return values[kRepetitions / 2];
}

double error_of(const QuantFormat& format, const std::vector<std::byte>& bytes, const std::vector<float>& rows,
                const std::vector<float>& weights) {
  std::vector<float> values(rows.size());
  format.decode(bytes.data(), static_cast<int64_t>(rows.size()) / format.block_size, values.data());
  double error = 0.0, energy = 0.0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const double weight = weights.empty() ? 1.0 : static_cast<double>(weights[i % weights.size()]);
    error += weight * std::pow(static_cast<double>(values[i]) - static_cast<double>(rows[i]), 2);
    energy += weight * std::pow(static_cast<double>(rows[i]), 2);
  }
  return error / energy;
}

void compare(const QuantFormat& format, QuantizeChunk ggml, const std::vector<float>& rows,
             const std::vector<float>& weights) {
  std::vector<std::byte> ours(static_cast<size_t>(kRows * format.row_bytes(kColumns))), theirs(ours.size());
  // ggml writes some types under weights alone, and ends the process otherwise.
  const std::vector<float> ones(static_cast<size_t>(kColumns), 1.0f);
  const float* their_weights = !weights.empty() ? weights.data() : (format.lattice != nullptr ? ones.data() : nullptr);
  std::vector<double> own_speed, their_speed;
  for (int i = 0; i < kRepetitions; ++i) {
    const double start = cpu_seconds();
    encode_rows(format, rows, weights, ours);
    const double middle = cpu_seconds();
    if (ggml != nullptr)
      ggml(static_cast<int>(format.type), rows.data(), theirs.data(), 0, kRows, kColumns, their_weights);
    own_speed.push_back(1e-6 * static_cast<double>(rows.size()) / (middle - start));
    their_speed.push_back(1e-6 * static_cast<double>(rows.size()) / (cpu_seconds() - middle));
  }
  const double own = median(own_speed), other = median(their_speed), own_error = error_of(format, ours, rows, weights);
  std::printf("%-7s %-10s %8.1f %12.3e", format.name, weights.empty() ? "unweighted" : "weighted", own, own_error);
  if (ggml != nullptr) {
    const double their_error = error_of(format, theirs, rows, weights);
    std::printf(" %8.1f %12.3e   %6.2f %6.3f", other, their_error, own / other, own_error / their_error);
  }
  std::printf("\n");
}

}  // namespace

int main(int argc, char** argv) {
  const QuantizeChunk ggml = argc > 1 ? ggml_in(argv[1]) : nullptr;
  if (ggml == nullptr) std::printf("no libggml-base.so there: attar alone ('make peers' fetches it)\n");
  std::vector<std::string> types(argv + std::min(argc, 2), argv + argc);
  if (types.empty())
    types = {"Q8_0",  "Q6_K",    "Q5_K",  "Q5_1",   "Q5_0",    "Q4_K",   "Q4_1",  "Q4_0",  "IQ4_NL",
             "Q3_K",  "Q2_K",    "MXFP4", "Q2_0",   "NVFP4",   "IQ4_XS", "TQ2_0", "TQ1_0", "Q1_0",
             "IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M",  "IQ1_S"};
  const std::vector<float> rows = normal(static_cast<size_t>(kRows * kColumns), 1);
  std::vector<float> weights = normal(static_cast<size_t>(kColumns), 2);
  for (float& weight : weights) weight = std::exp(1.2f * weight);
  std::printf("%-18s %8s %12s %8s %12s   %6s %6s\n", "", "Mw/s", "error", "ggml", "error", "speed", "error");
  for (const std::string& type : types)
    for (const std::vector<float>& w : {weights, std::vector<float>()})
      if (const QuantFormat* format = find_format(std::string_view(type)); format != nullptr && format->written)
        compare(*format, ggml, rows, w);
  return 0;
}
