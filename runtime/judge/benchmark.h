// Speed of one model, as llama-bench measures it: prompt processing of n_prompt tokens, generation of n_gen tokens by
// each of n_parallel sequences, each after n_depth tokens of context, means over repetitions, one warm-up.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/progress.h"
#include "runtime/model/model.h"
#include "runtime/model/profile.h"

namespace attar::runtime {

struct BenchOptions {
  std::vector<int64_t> prompt_tokens{512};
  std::vector<int64_t> generated_tokens{128};
  std::vector<int64_t> depth_tokens{0};
  std::vector<int64_t> parallel_sequences{1};  // that generate together, a token each a pass
  int64_t repetitions = 5;
  double min_seconds = 0;  // repeated further until the repetitions took as long; a short run says little
  bool profile = false;    // as many repetitions again, in which every thread says what it spends its time on
};

struct BenchRow {
  int64_t n_prompt = 0, n_gen = 0, n_depth = 0;  // n_gen of each sequence
  int64_t n_parallel = 1;                        // sequences
  int n_threads = 0;
  std::vector<double> samples_ts{}, samples_ns{};  // tokens per second of all, and the time; one a repetition
  double avg_ts = 0, stddev_ts = 0, avg_ns = 0, stddev_ns = 0;
  std::optional<Profile> profile{};  // of repetitions of their own

  int64_t tokens() const { return n_prompt + n_gen * n_parallel; }
};

// Error{Usage} when a depth and a length together go past the model's context, or there is nothing to profile.
std::vector<BenchRow> benchmark(const Model& model, const BenchOptions& options, Workspace& work,
                                const Progress& progress = {});

uint64_t peak_rss_bytes();  // of this process
void reset_peak_rss();      // the peak counts from now on, where the kernel allows it (Linux 4.0)

}  // namespace attar::runtime
