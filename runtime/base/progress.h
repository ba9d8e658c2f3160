// The one callback of every long call. It serves bars, JSON lines, Ctrl-C and Python.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace attar {

struct Metric {
  std::string name;  // "loss", "kl", "tokens_per_s"
  double value;
};

struct Event {
  std::string_view stage;  // "distill", "verify", ...
  std::string_view unit;   // what `done` counts: "tokens", "layers", "tensors"
  int64_t done = 0;
  int64_t total = 0;  // 0: not known
  std::vector<Metric> metrics{};
  std::string_view message{};  // a line to show and to log (a fallback taken); usually empty
  std::string_view detail{};   // a line for the log alone (a checkpoint written, a cache read); usually empty
};

enum class Flow { GoOn, Stop };

// Returns Stop to end the call early: it then writes what it must, and throws Error{Interrupted}.
using Progress = std::function<Flow(const Event&)>;

// Calls `progress` when it is set; throws Error{Interrupted} when it answers Stop.
void report(const Progress& progress, const Event& event);

// For a step inside a longer call: shows `now`, which the longer call keeps up to date, instead of what the step
// counts. Both arguments must outlive the result.
Progress inside(const Progress& progress, const Event& now);

}  // namespace attar
