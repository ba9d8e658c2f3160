// The one callback of every long call. It serves bars, JSON lines, Ctrl-C and Python.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace attar {

struct Metric {
  std::string name;  // "loss", "kl", "tokens_per_s"
  double value;
};

struct Event {
  std::string_view stage;  // "distill", "verify", ...
  std::string_view unit;   // what `done` counts: "tokens", "layers", "tensors"
  int64_t done = 0;        // may go past `total` at the end: a step is not cut
  int64_t total = 0;       // 0: not known
  std::vector<Metric> metrics{};
  std::string_view message{};   // a line to show and to log (a fallback taken); usually empty
  std::string_view detail{};    // a line for the log alone (a checkpoint written, a cache read); usually empty
  int64_t part = 0, parts = 0;  // of a run of several stages: which one this is, from 1, and how many there are
  double later_s = 0.0;         // estimate for the stages after this one
};

enum class Flow { GoOn, Stop };

// Returns Stop to end the call early: it then writes what it must, and throws Error{Interrupted}.
using Progress = std::function<Flow(const Event&)>;

// Calls `progress` when it is set; throws Error{Interrupted} when it answers Stop.
void report(const Progress& progress, const Event& event);

// For a step inside a longer call: shows `now`, which the longer call keeps up to date, instead of what the step
// counts. Both arguments must outlive the result.
Progress inside(const Progress& progress, const Event& now);

// Where a run is among its stages: which one of how many, and how long the others may take.
class StagePlace {
 public:
  // An estimate for each stage; empty: nothing is shown.
  explicit StagePlace(std::vector<double> planned_s) : planned_s_(std::move(planned_s)) {}

  // Stage `part`, from 1, begins: the one before it took as long as it took.
  void enter(size_t part);
  // Puts the place into every event. The result must not outlive this.
  Progress watching(Progress progress) const;

 private:
  double later_s() const;

  std::vector<double> planned_s_;
  size_t part_ = 0;
  double done_s_ = 0.0, done_planned_s_ = 0.0;  // of the stages that this process ran
  std::chrono::steady_clock::time_point begun_{};
};

}  // namespace attar
