#include "recipes/schema/option_checks.h"

#include <algorithm>
#include <cmath>

#include "compress/precision.h"
#include "distill/loss.h"
#include "runtime/formats/numerics.h"
#include "runtime/judge/gates.h"

namespace attar {
namespace {

class Checker {
 public:
  void need(bool right, const char* field, const std::string& expected) {
    if (!right) problems_.push_back({field, expected});
  }
  void share(double value, const char* field) { need(value >= 0.0 && value < 1.0, field, "0 <= x < 1"); }
  void fraction(double value, const char* field) { need(value >= 0.0 && value <= 1.0, field, "0 <= x <= 1"); }
  void positive(double value, const char* field) {
    need(value > 0.0 && std::isfinite(value), field, "a number above 0");
  }
  void at_least(int64_t value, int64_t least, const char* field) {
    if (value < least) problems_.push_back({field, "a whole number of at least " + std::to_string(least)});
  }
  void add(std::string field, std::string expected) { problems_.push_back({std::move(field), std::move(expected)}); }
  std::vector<FieldProblem> take() { return std::move(problems_); }

 private:
  std::vector<FieldProblem> problems_;
};

void check_losses(const DistillOptions& options, Checker& check) {
  std::string known;
  for (const LossEntry& loss : losses()) known += (known.empty() ? "" : ", ") + std::string(loss.name);
  double total = 0.0;
  for (const auto& [name, weight] : options.losses) {
    if (find_loss(name) == nullptr) check.add("losses." + name, "one of " + known);
    if (!(weight >= 0.0) || !std::isfinite(weight)) check.add("losses." + name, "a weight of at least 0");
    total += weight;
  }
  check.need(total > 0.0, "losses", "at least one loss with a weight above 0");
}

}  // namespace

std::vector<FieldProblem> problems_of(const PruneOptions& o) {
  Checker check;
  check.at_least(o.layers, 0, "layers");
  check.share(o.ffn, "ffn");
  check.share(o.heads, "heads");
  check.at_least(o.vocab, 0, "vocab");
  check.need(o.layers > 0 || o.ffn > 0.0 || o.heads > 0.0 || o.vocab > 0, "layers",
             "something to prune: layers, ffn, heads or vocab above 0");
  check.at_least(o.round_channels, 1, "round_channels");
  check.need(o.damping > 0.0 && o.damping <= 1.0, "damping", "0 < x <= 1");
  check.at_least(o.calibration_tokens, 1, "calibration_tokens");
  return check.take();
}

std::vector<FieldProblem> problems_of(const DistillOptions& o) {
  Checker check;
  check.at_least(o.tokens, 1, "tokens");
  check_losses(o, check);
  check.positive(o.temperature, "temperature");
  check.positive(o.learning_rate, "learning_rate");
  check.fraction(o.final_learning_rate_ratio, "final_learning_rate_ratio");
  check.fraction(o.warmup, "warmup");
  check.need(o.weight_decay >= 0.0 && std::isfinite(o.weight_decay), "weight_decay", "at least 0");
  check.share(o.beta1, "beta1");
  check.share(o.beta2, "beta2");
  check.positive(o.epsilon, "epsilon");
  check.need(o.clip_norm >= 0.0, "clip_norm", "at least 0");
  check.at_least(o.batch_tokens, 2, "batch_tokens");
  check.need(o.sequence_tokens == 0 || o.sequence_tokens >= 2, "sequence_tokens", "at least 2, or 0");
  check.need(o.shards >= 1 && o.shards <= 256, "shards", "1 to 256");
  check.at_least(o.checkpoint_every_steps, 0, "checkpoint_every_steps");
  check.need(o.signal == "auto" || o.signal == "online" || o.signal == "cached", "signal", "auto, online or cached");
  check.need(o.signal_top_k >= 1 && o.signal_top_k <= 4096, "signal_top_k", "1 to 4096");
  check.need(find_precision(o.precision).has_value(), "precision", "fp32, bf16 or auto");
  check.need(find_numerics(o.signal_numerics).has_value(), "signal_numerics", "fp32 or deployed");
  check.need(o.unsignalled == "cross_entropy" || o.unsignalled == "online", "unsignalled", "cross_entropy or online");
  check.need(o.signal != "cached" || o.temperature == 1.0, "temperature",
             "1 beside signal: cached, which keeps the teacher at that temperature");
  return check.take();
}

std::string sequence_problem(const DistillOptions& options, int64_t context) {
  if (options.sequence_tokens <= context) return {};
  return "sequence_tokens = " + std::to_string(options.sequence_tokens) + ": expected at most " +
         std::to_string(context) + ", the model's context";
}

std::vector<FieldProblem> problems_of(const QuantizeOptions& o) {
  Checker check;
  check.at_least(o.qad.tokens, 1, "qad_tokens");
  check.positive(o.qad.learning_rate, "qad_learning_rate");
  check.need(o.qad.scale_rate >= 0.0 && std::isfinite(o.qad.scale_rate), "qad_scale_rate", "at least 0");
  check.need(o.qad.trains == "all" || o.qad.trains == "scales", "qad_trains", "all or scales");
  check.at_least(o.qad.batch_tokens, 2, "qad_batch_tokens");
  check.need(find_precision(o.qad.precision).has_value(), "qad_precision", "fp32, bf16 or auto");
  check.need(o.qad.signal == "auto" || o.qad.signal == "online" || o.qad.signal == "cached", "qad_signal",
             "auto, online or cached");
  std::vector<FieldProblem> problems = check_quantize_options(o), more = check.take();
  problems.insert(problems.end(), more.begin(), more.end());
  return problems;
}

std::vector<FieldProblem> problems_of(const ExportOptions& o) {
  Checker check;
  check.need(!o.formats.empty(), "formats", "at least one of gguf, hf, compressed-tensors");
  for (const std::string& format : o.formats)
    check.need(format == "gguf" || format == "hf" || format == "compressed-tensors", "formats",
               "gguf, hf or compressed-tensors");
  check.need(o.hf_dtype == "float32" || o.hf_dtype == "bfloat16", "hf_dtype", "float32 or bfloat16");
  return check.take();
}

std::vector<FieldProblem> problems_of(const VerifyStage& o) {
  Checker check;
  check.at_least(o.context, 2, "context");
  check.at_least(o.max_tokens, 0, "max_tokens");
  check.need(o.numerics == "both" || find_numerics(o.numerics).has_value(), "numerics", "fp32, deployed or both");
  check.at_least(o.samples, 0, "samples");
  for (const auto& [name, limit] : o.gates) {
    if (!runtime::is_gate(name)) check.add("gates." + name, "one of " + runtime::gate_names());
    if (!std::isfinite(limit) || limit < 0.0) check.add("gates." + name, "a limit of at least 0");
  }
  if (o.gates.count("decode_ratio") != 0)
    check.need(o.bench, "gates.decode_ratio", "bench: true, which measures speed");
  return check.take();
}

std::vector<FieldProblem> problems_of(const TeacherWrites& o) {
  Checker check;
  check.at_least(o.tokens, 1, "tokens");
  check.need(o.prompt == "chat" || o.prompt == "none", "prompt", "chat or none");
  check.at_least(o.max_tokens, 2, "max_tokens");
  check.need(o.temperature >= 0.0 && std::isfinite(o.temperature), "temperature", "at least 0");
  check.need(o.top_p > 0.0 && o.top_p <= 1.0, "top_p", "0 < x <= 1");
  check.need(o.signal_top_k >= 0 && o.signal_top_k <= 4096, "signal_top_k", "0 to 4096");
  check.need(find_numerics(o.numerics).has_value(), "numerics", "fp32 or deployed");
  return check.take();
}

std::vector<FieldProblem> problems_of(const Architecture& o) {
  Checker check;
  check.need(find_family(o.family) != nullptr, "family", family_names());
  check.need(o.layers >= 1 && o.layers <= 512, "layers", "1 to 512");
  check.at_least(o.width, 1, "width");
  check.at_least(o.heads, 1, "heads");
  check.need(o.kv_heads >= 1 && o.heads % std::max<int64_t>(o.kv_heads, 1) == 0, "kv_heads", "a divisor of heads");
  check.need(o.head_dim >= 2 && o.head_dim % 2 == 0, "head_dim", "an even number of at least 2");
  check.at_least(o.ffn, 1, "ffn");
  check.at_least(o.context, 2, "context");
  check.at_least(o.sliding_window, 0, "sliding_window");
  check.positive(o.rope_theta, "rope_theta");
  check.positive(o.norm_epsilon, "norm_epsilon");
  return check.take();
}

}  // namespace attar
