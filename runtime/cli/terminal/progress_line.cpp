#include "runtime/cli/terminal/progress_line.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string_view>
#include <vector>

namespace attar::cli {
namespace {

constexpr int kBarColumns = 10;
constexpr const char* kForwardKl = "forward_kl";
// What a training tells beside each of its losses; "loss" is all of them together.
constexpr std::string_view kNoLosses[] = {"loss",          "agreement",     "held_out",     "unsignalled",
                                          "gradient_norm", "learning_rate", "tokens_per_s", "memory_mb"};

template <class... Values>
std::string text_of(const char* format, Values... values) {
  char text[256];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

std::string rate_text(double per_s, const std::string& unit) {
  return text_of(per_s < 1000.0 ? "%.4g %s/s" : "%.0f %s/s", per_s, unit.c_str());
}

// How far a call is, in the unit that people read.
struct Standing {
  std::string unit;
  double done = 0, total = 0, rate_per_s = 0;
  double left_s = 0;  // 0: not known
  int digits = 0;

  Standing(const Event& event, double rate)
      : unit(event.unit),
        done(static_cast<double>(event.done)),
        total(static_cast<double>(event.total)),
        rate_per_s(rate) {
    if (unit == "bytes") {
      unit = "MB", digits = 1;
      done *= 1e-6, total *= 1e-6, rate_per_s *= 1e-6;
    }
    if (rate_per_s > 0.0 && done < total) left_s = (total - done) / rate_per_s;
  }

  double share() const { return std::min(1.0, done / total); }
  std::string counts() const {
    return total > 0.0 ? text_of("%.*f/%.*f %s", digits, done, digits, total, unit.c_str())
                       : text_of("%.*f %s", digits, done, unit.c_str());
  }
};

// nullptr: the event does not tell it.
const double* find(const Event& event, std::string_view name) {
  for (const Metric& metric : event.metrics)
    if (metric.name == name) return &metric.value;
  return nullptr;
}

bool is_loss(const Metric& metric) {
  return std::find(std::begin(kNoLosses), std::end(kNoLosses), metric.name) == std::end(kNoLosses);
}

int64_t count_losses(const Event& event) {
  return std::count_if(event.metrics.begin(), event.metrics.end(), is_loss);
}

std::string bar(double share) {
  std::string text;
  const int full = static_cast<int>(std::lround(share * kBarColumns));
  for (int i = 0; i < kBarColumns; ++i) text += i < full ? "━" : "╌";
  return text;
}

// In the order in which it is wanted.
std::vector<std::string> what_matters(const Event& event, const Standing& at) {
  std::vector<std::string> parts;
  if (const double* kl = find(event, kForwardKl))
    parts.push_back(text_of("KL %.3g", *kl));
  else if (const double* loss = find(event, "loss"))
    parts.push_back(text_of("loss %.3g", *loss));
  if (const double* agreement = find(event, "agreement")) parts.push_back(text_of("top-1 %.0f%%", 100.0 * *agreement));
  if (at.rate_per_s > 0.0)
    parts.push_back(rate_text(at.rate_per_s, at.unit));
  else if (const double* rate = find(event, "tokens_per_s"))
    parts.push_back(rate_text(*rate, "tokens"));
  if (at.left_s > 0.0) parts.push_back(duration_text(at.left_s) + " left");
  if (const double* memory_mb = find(event, "memory_mb"); memory_mb != nullptr && *memory_mb > 0.0)
    parts.push_back(*memory_mb < 1000.0 ? text_of("%.0f MB", *memory_mb) : text_of("%.3g GB", 1e-3 * *memory_mb));
  return parts;
}

std::vector<std::string> what_else(const Event& event, const Standing& at) {
  std::vector<std::string> parts;
  if (at.total > 0.0) parts.push_back(at.counts());
  if (at.left_s > 0.0 && event.later_s > 0.0) parts.push_back(duration_text(at.left_s + event.later_s) + " in all");
  if (count_losses(event) > 1)  // a single one has been told
    for (const Metric& metric : event.metrics)
      if (is_loss(metric) && metric.name != kForwardKl)
        parts.push_back(text_of("%s %.3g", metric.name.c_str(), metric.value));
  if (const double* held_out = find(event, "held_out")) parts.push_back(text_of("held out %.3g", *held_out));
  if (const double* rate = find(event, "learning_rate")) parts.push_back(text_of("learning rate %.3g", *rate));
  if (const double* norm = find(event, "gradient_norm")) parts.push_back(text_of("gradient %.3g", *norm));
  if (const double* share = find(event, "unsignalled")) parts.push_back(text_of("unsignalled %.3g", *share));
  return parts;
}

}  // namespace

std::string plain_line(const Event& event, double rate_per_s) {
  const Standing at(event, rate_per_s);
  std::string line;
  if (event.parts > 0)
    line = text_of("stage %lld of %lld: ", static_cast<long long>(event.part), static_cast<long long>(event.parts));
  line += std::string(event.stage) + " ";
  if (at.total > 0.0) line += text_of("%3.0f%% ", 100.0 * at.share());
  // It begins, and how much there is to do is not known yet.
  line += at.total > 0.0 || at.done > 0.0 ? at.counts() : "...";
  if (at.left_s > 0.0) {
    line += ", " + duration_text(at.left_s) + " left";
    if (event.later_s > 0.0) line += ", " + duration_text(at.left_s + event.later_s) + " in all";
  }
  if (at.rate_per_s > 0.0) line += ", " + rate_text(at.rate_per_s, at.unit);
  for (const Metric& metric : event.metrics) {
    const bool told =
        (metric.name == "loss" && count_losses(event) == 1) || (metric.name == "tokens_per_s" && at.rate_per_s > 0.0);
    if (!told) line += text_of(", %s %.4g", metric.name.c_str(), metric.value);
  }
  return line;
}

std::string live_line(const Event& event, double rate_per_s, int columns, StageName name) {
  const Standing at(event, rate_per_s);
  const std::string place = event.parts > 0 ? text_of("%lld/%lld ", static_cast<long long>(event.part),
                                                      static_cast<long long>(event.parts))
                                            : "",
                    stage(event.stage),
                    far = at.total > 0.0  ? text_of("%3.0f%%", 100.0 * at.share())
                          : at.done > 0.0 ? at.counts()
                                          : "...";
  int room = columns - static_cast<int>(place.size() + stage.size() + 1 + far.size());
  std::string told;
  const auto tell = [&](const std::vector<std::string>& parts) {
    for (const std::string& part : parts) {
      const std::string next = (told.empty() ? " " : ", ") + part;
      if (static_cast<int>(next.size()) > room) continue;
      told += next;
      room -= static_cast<int>(next.size());
    }
  };
  tell(what_matters(event, at));
  const bool shows_bar = at.total > 0.0 && room > kBarColumns;
  if (shows_bar) room -= kBarColumns + 1;
  tell(what_else(event, at));
  const bool bold = name == StageName::Bold;
  return place + (bold ? "\033[1m" : "") + stage + (bold ? "\033[0m " : " ") +
         (shows_bar ? bar(at.share()) + " " : "") + far + told;
}

std::string duration_text(double seconds) {
  const long long whole = std::llround(seconds);
  if (whole >= 3600) return text_of("%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
  return text_of("%lld:%02lld", whole / 60, whole % 60);
}

}  // namespace attar::cli
