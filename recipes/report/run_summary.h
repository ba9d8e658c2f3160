// What a run came to, in a few numbers: read once from report.json, for the verdict, the tables and the comparison.
#pragma once

#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace attar {

using Json = nlohmann::ordered_json;

inline constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

struct ReportGate {
  std::string stage, name, limit_is;  // "5-verify", "kl", "at most"
  double limit = 0, value = 0;
  bool pass = true;
};
// What a gate judges, in words, and the term that explains it.
struct GateWords {
  std::string label, term;
};
GateWords gate_words(const std::string& name);
// As people write them: 60 MB, 75 %, 0.18; the value with as many digits as tell it from the limit.
std::string gate_limit(const ReportGate& gate);
std::string gate_value(const ReportGate& gate);

// A median and half of what lies between the quartiles of its runs.
struct ReportedRate {
  double tokens_per_s = kUnknown, half_iqr = kUnknown;
};

// A model that was judged against the teacher: the student, or the one that quantizing alone makes.
struct Judged {
  double bytes = kUnknown, kl = kUnknown, kl_stderr = kUnknown, top1 = kUnknown, top1_stderr = kUnknown;
  double perplexity_ratio = kUnknown;
};

struct RunSummary {
  std::string name;
  std::string teacher, teacher_license;  // the teacher as the recipe names it, or as the model does
  double teacher_bytes = kUnknown, parameters = kUnknown, teacher_parameters = kUnknown;
  Judged student{};
  std::optional<Judged> baseline{};  // quantizing alone, near the student's size
  ReportedRate prefill{}, decode{}, teacher_decode{};
  std::string verify_stage{};  // whose numbers these are, the last; "" when nothing was verified
  std::string numerics{};      // deployed, or fp32 where that alone was verified
  std::string text_sha256{}, teacher_sha256{}, machine{};
  double context = kUnknown, scored_tokens = kUnknown, windows = kUnknown;
  std::vector<ReportGate> gates{};

  bool passes() const;
};
RunSummary summary_of(const Json& report);

double number_at(const Json& object, const char* key);  // kUnknown where there is none
std::string text_at(const Json& object, const char* key);
std::string threads_of(const Json& machine);  // "1 thread"

// "24 % smaller, KL 0.69, gate missed"
std::string verdict(const RunSummary& run);
std::string size_words(double bytes, double teacher_bytes);  // "24 % smaller"
// "Missed: KL 0.69, at most 0.5." and, where it holds, that quantizing alone loses less. One sentence each.
std::vector<std::string> warnings(const RunSummary& run);

std::string megabytes(double bytes);  // "60.0 MB"
std::string whole(double count);      // "4,000"
std::string percent(double share, double stderr_share);

}  // namespace attar
