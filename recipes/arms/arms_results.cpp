#include "recipes/arms/arms_results.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/judge/digits.h"
#include "runtime/judge/statistics/repeated_difference.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;
using runtime::PairedDifference;
using runtime::WindowSum;
using runtime::with_digits;
using Windows = std::vector<WindowSum> JudgedArm::*;

constexpr std::pair<const char*, Windows> kMeasures[] = {
    {"kl", &JudgedArm::kl}, {"cross_entropy", &JudgedArm::nll}, {"top1_agreement", &JudgedArm::top1}};

double mean_of(const std::vector<WindowSum>& windows) {
  double value = 0.0, size = 0.0;
  for (const WindowSum& window : windows) value += window.value, size += window.size;
  return value / size;
}

// The trainings of one arm, a seed each, in order of their seeds.
using Repeats = std::vector<const JudgedArm*>;

Repeats repeats_of(const std::vector<JudgedArm>& judged, const Arm& arm) {
  Repeats repeats;
  for (const JudgedArm& one : judged)
    if (one.arm == arm) repeats.push_back(&one);
  std::sort(repeats.begin(), repeats.end(), [](const auto* a, const auto* b) { return a->seed < b->seed; });
  return repeats;
}

double mean_of(const Repeats& repeats, Windows of) {
  double sum = 0.0;
  for (const JudgedArm* one : repeats) sum += mean_of(one->*of);
  return sum / static_cast<double>(repeats.size());
}

// What `a` has more than `b` by a measure, seed by seed and window by window.
PairedDifference difference(const Repeats& a, const Repeats& b, Windows of) {
  std::vector<std::vector<WindowSum>> repeats;
  for (size_t s = 0; s < a.size(); ++s) {
    repeats.push_back(a[s]->*of);
    const std::vector<WindowSum>& other = b[s]->*of;
    if (other.size() != repeats.back().size())
      throw Error(ErrorKind::Failure, {.where = "arms", .what = "were judged on unlike windows"});
    for (size_t w = 0; w < other.size(); ++w) repeats.back()[w].value -= other[w].value;
  }
  return runtime::repeated_difference(repeats);
}

Json measures_json(const Repeats& repeats) {
  Json json = Json::object();
  for (const auto& [name, of] : kMeasures) json[name] = mean_of(repeats, of);
  json["perplexity"] = std::exp(json.at("cross_entropy").get<double>());
  return json;
}

Json row_json(const Repeats& repeats, const Repeats& asked) {
  Json row = {{"arm", name_of(repeats.front()->arm)}, {"tokens", repeats.front()->tokens}};
  row.update(measures_json(repeats));
  if (repeats.size() > 1)
    for (const JudgedArm* one : repeats) {
      Json of = {{"seed", one->seed}};
      of.update(measures_json({one}));
      row["by_seed"].push_back(of);
    }
  if (repeats.front()->arm == asked.front()->arm) return row;
  for (const auto& [name, of] : kMeasures) {
    const PairedDifference more = difference(repeats, asked, of);
    row["difference"][name] = {{"mean", more.mean}, {"low95", more.low}, {"high95", more.high}};
  }
  return row;
}

// "0.123 nats a token (95 %: 0.101 to 0.145)", rounded to where the interval's half begins.
std::string with_interval(const PairedDifference& of) {
  const double half = (of.high - of.low) / 2.0;
  const std::string mean = runtime::to_spread(of.mean, half) + " nats a token";
  if (!std::isfinite(half)) return mean + " (one window says nothing of how surely)";
  return mean + " (95 %: " + runtime::to_spread(of.low, half) + " to " + runtime::to_spread(of.high, half) + ")";
}

// "beat plain training in KL by 0.123 nats a token (...)"; `gain`: what plain training has more.
std::string outcome(const PairedDifference& gain, const std::string& against, const std::string& in) {
  const PairedDifference loss{-gain.mean, -gain.high, -gain.low};
  if (gain.low > 0.0) return "beat " + against + in + " by " + with_interval(gain);
  if (gain.high < 0.0) return "lost to " + against + in + " by " + with_interval(loss);
  const std::string even = "was neither surely better nor worse than " + against + in;
  return even + (gain.mean < 0.0 ? ": behind by " + with_interval(loss) : ": ahead by " + with_interval(gain));
}

std::string verdict_of(const Repeats& plain, const Repeats& asked) {
  const PairedDifference kl = difference(plain, asked, &JudgedArm::kl), ce = difference(plain, asked, &JudgedArm::nll);
  return "Distilling " + outcome(kl, "plain training", " in KL to the teacher") + ", and " +
         outcome(ce, "it", " in cross-entropy on the same text") + ".";
}

}  // namespace

std::string arms_results(const std::vector<JudgedArm>& judged, const Arm& asked, uint64_t first_seed) {
  const Repeats own = repeats_of(judged, asked), plain = repeats_of(judged, {asked.initialised, false});
  const JudgedArm& one = *own.front();
  Json seeds = Json::array(), rows = Json::array();
  for (size_t i = 0; i < own.size(); ++i) seeds.push_back(first_seed + i);
  for (const bool initialised : {false, true})
    for (const bool taught : {false, true})
      if (const Repeats repeats = repeats_of(judged, {initialised, taught}); !repeats.empty())
        rows.push_back(row_json(repeats, own));
  return Json({{"asked", name_of(asked)},
               {"seeds", seeds},
               {"text_sha256", one.text_sha256},
               {"context", one.context},
               {"windows", one.kl.size()},
               {"scored_tokens", one.scored_tokens},
               {"teacher", {{"cross_entropy", one.teacher_nll}, {"perplexity", std::exp(one.teacher_nll)}}},
               {"rows", rows},
               {"verdict", verdict_of(plain, own)}})
      .dump();
}

std::string in_words(const JudgedArm& arm) {
  return "KL " + with_digits(mean_of(arm.kl), 3) + ", cross-entropy " + with_digits(mean_of(arm.nll), 3) +
         ", same likeliest token " + with_digits(100.0 * mean_of(arm.top1), 3) + " %";
}

}  // namespace attar
