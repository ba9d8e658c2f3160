#include "recipes/report/run_summary.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "runtime/judge/digits.h"

namespace attar {
namespace {

using runtime::with_digits;
using runtime::with_spread;

Json object_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_object() ? *found : Json::object();
}

double first_known(std::initializer_list<double> values) {
  for (const double value : values)
    if (!std::isnan(value)) return value;
  return kUnknown;
}

// {"bytes", "kl", "top1"}: a divergence alone or with its error, as in a fidelity of the verify stage.
Judged judged_of(const Json& model) {
  Judged out;
  const Json kl = object_at(model, "kl");
  out.bytes = number_at(model, "bytes");
  out.kl = first_known({number_at(model, "kl"), number_at(kl, "mean")});
  out.kl_stderr = first_known({number_at(kl, "stderr"), number_at(model, "kl_stderr")});
  out.top1 = first_known({number_at(model, "top1"), number_at(model, "top1_agreement")});
  out.top1_stderr = number_at(model, "top1_stderr");
  out.perplexity_ratio = number_at(object_at(model, "perplexity"), "ratio");
  return out;
}

ReportedRate rate_of(const Json& model, const std::string& kind) {
  return {number_at(model, (kind + "_tokens_per_s").c_str()),
          0.5 * number_at(model, (kind + "_iqr_tokens_per_s").c_str())};
}

std::vector<ReportGate> gates_of(const Json& report) {
  std::vector<ReportGate> gates;
  const auto add = [&](const Json& list, const std::string& stage) {
    for (const Json& gate : list)
      gates.push_back({stage.empty() ? text_at(gate, "stage") : stage, text_at(gate, "name"), text_at(gate, "limit_is"),
                       number_at(gate, "limit"), number_at(gate, "value"), gate.value("pass", true)});
  };
  if (report.contains("gates")) add(report.at("gates"), "");
  for (const Json& stage : report.at("measurements").at("stages"))  // as earlier versions wrote them
    add(stage.at("measurements").value("gates", Json::array()), stage.value("name", ""));
  return gates;
}

void read_teacher(const Json& results, RunSummary& run) {
  run.teacher = text_at(results, "model");
  if (run.teacher.empty()) run.teacher = text_at(results, "name");
  run.teacher_license = text_at(results, "license");
  run.teacher_bytes = number_at(results, "bytes");
  run.teacher_parameters = number_at(results, "parameters");
  run.teacher_sha256 = text_at(results, "sha256");
}

void read_verification(const Json& stage, const Json& measured, RunSummary& run) {
  const Json& results = stage.at("results");
  run.verify_stage = text_at(stage, "name");
  run.numerics = object_at(results, "deployed").empty() ? "fp32" : "deployed";
  const double exported_bytes = run.student.bytes;
  run.student = judged_of(object_at(results, run.numerics.c_str()));
  const Json models = object_at(results, "models");
  const Json size = object_at(models, "student"), teacher_size = object_at(models, "teacher");
  const Json speed = object_at(measured, "student"), teacher_speed = object_at(measured, "teacher");
  run.student.bytes = first_known({number_at(size, "bytes"), number_at(speed, "bytes"), exported_bytes});
  run.parameters = first_known({number_at(size, "parameters"), number_at(speed, "parameters")});
  run.teacher_bytes = first_known({number_at(teacher_size, "bytes"), run.teacher_bytes});
  run.prefill = rate_of(speed, "prefill"), run.decode = rate_of(speed, "decode");
  run.teacher_decode = rate_of(teacher_speed, "decode");
  run.text_sha256 = text_at(results, "text_sha256");
  run.context = number_at(results, "context"), run.windows = number_at(results, "windows");
  run.scored_tokens = number_at(results, "scored_tokens");
  if (const Json baseline = object_at(results, "baseline"); !baseline.empty()) run.baseline = judged_of(baseline);
}

struct GateUnit {
  const char* name;
  double scale;
};
GateUnit unit_of(const ReportGate& gate) {
  if (gate.name == "bytes") return {" MB", 1e-6};
  if (gate.name == "top1" || gate.name == "agreement") return {" %", 100.0};
  return {"", 1.0};
}

double known(double value) {
  return std::isnan(value) ? 0.0 : value;
}

std::string gates_came_to(const std::vector<ReportGate>& gates) {
  const auto missed = std::count_if(gates.begin(), gates.end(), [](const ReportGate& gate) { return !gate.pass; });
  const size_t n = gates.size();
  if (n == 0) return "no gate set";
  if (n == 1) return missed == 0 ? "gate passed" : "gate missed";
  if (missed == 0) return (n == 2 ? "both" : "all " + std::to_string(n)) + std::string(" gates passed");
  return std::to_string(missed) + " of " + std::to_string(n) + " gates missed";
}

}  // namespace

double number_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : kUnknown;
}

std::string text_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

bool RunSummary::passes() const {
  return std::all_of(gates.begin(), gates.end(), [](const ReportGate& gate) { return gate.pass; });
}

RunSummary summary_of(const Json& report) {
  const Json &results = report.at("results"), &measurements = report.at("measurements");
  RunSummary run;
  run.name = text_at(report, "name");
  run.gates = gates_of(report);
  const Json machine = object_at(measurements, "machine");
  run.machine = text_at(machine, "cpu") + ", " + threads_of(machine);
  const Json& stages = results.at("stages");
  for (size_t i = 0; i < stages.size(); ++i) {
    const Json& stage = stages[i];
    const std::string kind = text_at(stage, "kind");
    if (kind == "teacher") read_teacher(stage.at("results"), run);
    if (kind == "export")
      run.student.bytes = first_known({number_at(object_at(stage.at("results"), "gguf"), "bytes"), run.student.bytes});
    if (kind == "verify") read_verification(stage, measurements.at("stages").at(i).at("measurements"), run);
  }
  if (const Json baseline = object_at(results, "baseline"); !baseline.empty()) run.baseline = judged_of(baseline);
  return run;
}

GateWords gate_words(const std::string& name) {
  constexpr const char* kWords[][3] = {{"kl", "KL to the teacher", "kl"},
                                       {"top1", "same likeliest token", "top1_agreement"},
                                       {"bytes", "file size", "bytes"},
                                       {"ppl_ratio", "perplexity, student / teacher", "perplexity"},
                                       {"bits_per_byte_ratio", "bits per byte, student / teacher", "bits_per_byte"},
                                       {"decode_ratio", "generation, student / teacher", "decode_tokens_per_s"},
                                       {"accuracy_ratio", "task accuracy, student / teacher", ""},
                                       {"agreement", "same answers to tasks", ""}};
  for (const auto& [key, label, term] : kWords)
    if (name == key) return {label, term};
  return {name, ""};
}

std::string gate_limit(const ReportGate& gate) {
  const GateUnit unit = unit_of(gate);
  char text[64];
  std::snprintf(text, sizeof text, "%g", unit.scale * gate.limit);
  return text + std::string(unit.name);
}

std::string gate_value(const ReportGate& gate) {
  const GateUnit unit = unit_of(gate);
  const double value = unit.scale * gate.value, limit = unit.scale * gate.limit;
  std::string text;
  for (int digits = 3; digits < 15; ++digits) {
    text = with_digits(value, digits);
    std::string bare = text;
    std::erase(bare, ',');
    const double shown = std::strtod(bare.c_str(), nullptr);
    if ((shown < limit) == (value < limit) && (shown > limit) == (value > limit)) break;
  }
  return text + unit.name;
}

std::string size_words(double bytes, double teacher_bytes) {
  if (std::isnan(bytes)) return "size not known";
  if (std::isnan(teacher_bytes)) return megabytes(bytes);
  const double change = 100.0 * (bytes / teacher_bytes - 1.0);
  const std::string amount = std::to_string(std::lround(std::abs(change)));
  if (amount == "0") return "the teacher's size";
  return amount + " % " + (change < 0 ? "smaller" : "larger");
}

std::string verdict(const RunSummary& run) {
  std::string text = size_words(run.student.bytes, run.teacher_bytes);
  if (run.verify_stage.empty()) return text + ", not verified";
  return text + ", KL " + runtime::to_spread(run.student.kl, run.student.kl_stderr) + ", " + gates_came_to(run.gates);
}

std::vector<std::string> warnings(const RunSummary& run) {
  std::vector<std::string> lines;
  std::string missed;
  for (const ReportGate& gate : run.gates)
    if (!gate.pass)
      missed += (missed.empty() ? "" : "; ") + gate_words(gate.name).label + " is " + gate_value(gate) +
                " (gate: " + (gate.limit_is.empty() ? "" : gate.limit_is + " ") + gate_limit(gate) + ")";
  if (!missed.empty()) lines.push_back("Missed: " + missed + ".");
  if (run.baseline) {
    const std::string alone =
        "KL " + runtime::to_spread(run.baseline->kl, run.baseline->kl_stderr) + " at " + megabytes(run.baseline->bytes);
    const double gain = run.baseline->kl - run.student.kl;
    const double unsure = 2.0 * std::hypot(known(run.baseline->kl_stderr), known(run.student.kl_stderr));
    if (gain < -unsure)
      lines.push_back("Quantizing alone loses less: " + alone + ".");
    else if (gain <= unsure)
      lines.push_back("No clear gain over quantizing alone (" + alone + "): the difference is within its error.");
  }
  return lines;
}

std::string threads_of(const Json& machine) {
  const int threads = machine.value("threads", 0);
  return std::to_string(threads) + (threads == 1 ? " thread" : " threads");
}

std::string megabytes(double bytes) {
  if (std::isnan(bytes)) return "–";
  const double mb = bytes * 1e-6;
  if (mb < 0.1) return with_digits(bytes * 1e-3, 2) + " kB";
  if (mb >= 1e4) return with_digits(mb * 1e-3, 3) + " GB";
  return (mb < 10.0 ? with_digits(mb, 2) : with_digits(mb, 3)) + " MB";
}

std::string whole(double count) {
  return std::isnan(count) ? "–" : with_digits(count, 1 + static_cast<int>(std::log10(std::max(1.0, std::abs(count)))));
}

std::string percent(double share, double stderr_share) {
  return std::isnan(share) ? "–" : with_spread(100.0 * share, 100.0 * stderr_share) + " %";
}

}  // namespace attar
