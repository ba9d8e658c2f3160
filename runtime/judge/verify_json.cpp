#include "runtime/judge/verify_json.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace attar::runtime {
namespace {

using Json = nlohmann::ordered_json;

Json spread_json(const Spread& s) {
  return {{"mean", s.mean}, {"stderr", s.stderr_}, {"p50", s.p50}, {"p90", s.p90}, {"p99", s.p99}, {"max", s.max}};
}
Json pair_json(const Pair& p) {
  return {{"teacher", p.teacher}, {"student", p.student}, {"ratio", p.ratio}};
}

Json fidelity_json(const std::optional<Fidelity>& fidelity) {
  if (!fidelity) return nullptr;
  return {{"kl", spread_json(fidelity->kl)},
          {"top1_agreement", fidelity->top1_agreement},
          {"top1_stderr", fidelity->top1_stderr},
          {"top5_overlap", fidelity->top5_overlap},
          {"perplexity", pair_json(fidelity->perplexity)},
          {"bits_per_byte", pair_json(fidelity->bits_per_byte)},
          {"dropped_mass", fidelity->dropped_mass}};
}

Json efficiency_json(const std::optional<Efficiency>& e) {
  if (!e) return nullptr;
  return {{"bytes", e->bytes},
          {"parameters", e->parameters},
          {"bits_per_weight", e->bits_per_weight},
          {"prefill_tokens_per_s", e->prefill.tokens_per_s},
          {"prefill_iqr_tokens_per_s", e->prefill.iqr_tokens_per_s},
          {"prefill_runs", e->prefill.runs},
          {"decode_tokens_per_s", e->decode.tokens_per_s},
          {"decode_iqr_tokens_per_s", e->decode.iqr_tokens_per_s},
          {"decode_runs", e->decode.runs},
          {"time_to_first_token_s", e->time_to_first_token_s},
          {"peak_rss_bytes", e->peak_rss_bytes}};
}

// An interval from one item alone has no ends.
Json tasks_json(const std::vector<TaskComparison>& tasks) {
  Json json = Json::array();
  const auto end = [](double value) { return std::isfinite(value) ? Json(value) : Json(); };
  for (const TaskComparison& task : tasks)
    json.push_back({{"name", task.name},
                    {"sha256", task.sha256},
                    {"items", task.items},
                    {"accuracy",
                     {{"teacher", task.teacher},
                      {"student", task.student},
                      {"difference", task.difference},
                      {"low95", end(task.low)},
                      {"high95", end(task.high)}}},
                    {"agreement", task.agreement}});
  return json;
}

}  // namespace

std::string verify_document(const VerifyResults& results, const Speeds& speeds, const std::vector<GateResult>& gates) {
  Json gate_list = Json::array();
  for (const GateResult& gate : gates)
    gate_list.push_back({{"name", gate.name},
                         {"limit_is", gate.limit_is == Limit::AtMost ? "at most" : "at least"},
                         {"limit", gate.limit},
                         {"value", gate.value},
                         {"pass", gate.pass}});
  Json document = {
      {"schema_version", 1},
      {"results",
       {{"text_sha256", results.text_sha256},
        {"context", results.context},
        {"windows", results.windows},
        {"scored_tokens", results.scored_tokens},
        {"skipped_tokens", results.skipped_tokens},
        {"kv_format", results.kv_format.empty() ? Json(nullptr) : Json(results.kv_format)},
        {"fp32", fidelity_json(results.fp32)},
        {"deployed", fidelity_json(results.deployed)}}},
      {"measurements", {{"teacher", efficiency_json(speeds.teacher)}, {"student", efficiency_json(speeds.student)}}},
      {"gates", gate_list},
      {"notes", results.notes}};
  if (!results.tasks.empty()) document["results"]["tasks"] = tasks_json(results.tasks);
  return document.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace attar::runtime
