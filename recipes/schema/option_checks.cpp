#include "recipes/schema/option_checks.h"

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "distill/features/feature_kinds.h"
#include "distill/losses/loss_term.h"
#include "distill/optimizer/schedule.h"
#include "distill/signal_source.h"
#include "prune/layer_choice.h"
#include "runtime/formats/numerics.h"
#include "runtime/formats/tensor_specs.h"
#include "runtime/judge/gates.h"

namespace attar {
namespace {

using Rules = std::vector<FieldRule>;
using Problems = std::vector<FieldProblem>;

FieldRule share(const char* field) {
  return {.field = field, .least = 0.0, .below = 1.0};
}
FieldRule fraction(const char* field) {
  return {.field = field, .least = 0.0, .most = 1.0};
}
FieldRule positive(const char* field) {
  return {.field = field, .above = 0.0};
}
FieldRule at_least(const char* field, double least) {
  return {.field = field, .least = least};
}
FieldRule one_of(const char* field, std::vector<std::string> choices) {
  return {.field = field, .choices = std::move(choices)};
}

// Weights of losses, by their names.
FieldRule weights_of_losses(const char* field) {
  FieldRule rule = at_least(field, 0.0);
  for (const LossKind& loss : loss_kinds()) rule.keys.emplace_back(loss.name);
  return rule;
}
// The same where a student has the tokens of its teacher.
FieldRule weights_of_losses_of_one_tokenizer(const char* field) {
  FieldRule rule = weights_of_losses(field);
  std::erase_if(rule.keys, [](const std::string& name) { return find_loss(name)->across; });
  return rule;
}

constexpr const char* kSomeLoss = "at least one loss with a weight above 0";
bool has_weight(const std::map<std::string, double>& losses) {
  double total = 0.0;
  for (const auto& [name, weight] : losses) total += weight;
  return total > 0.0;
}

// Rules that one value breaks, then what several say together: `need(right, field, expected)`.
template <class Options, class Check>
Problems checked(const Options& options, Check&& check) {
  Problems problems = broken_rules(options, rules_of(options));
  check([&](bool right, const std::string& field, const std::string& expected) {
    if (!right) problems.push_back({field, expected, "", true});
  });
  return problems;
}

}  // namespace

Rules rules_of(const PruneOptions&) {
  return {at_least("drop_layers", 0),
          one_of("layer_choice", {"influence", kUniform}),
          {.field = "keep_layers", .least = 0, .filled = true},
          share("drop_ffn"),
          share("drop_heads"),
          at_least("keep_vocab", 0),
          at_least("round_channels", 1),
          {.field = "damping", .above = 0.0, .most = 1.0},
          at_least("calibration_tokens", 1)};
}
Problems problems_of(const PruneOptions& o) {
  const std::vector<int64_t> kept = o.keep_layers.value_or(std::vector<int64_t>());
  Problems problems = checked(o, [&](auto&& need) {
    need(std::adjacent_find(kept.begin(), kept.end(), std::greater_equal<>()) == kept.end(), "keep_layers",
         "ascending numbers of layers, each once");
    need(o.layer_choice != kUniform || !o.keep_layers, "layer_choice",
         "influence beside keep_layers, which says itself what stays");
    need(o.layer_choice != kUniform || o.keep_layers || o.drop_layers > 0, "layer_choice",
         "influence, or drop_layers above 0 beside it");
  });
  if (o.drop_layers == 0 && !o.keep_layers && o.drop_ffn == 0.0 && o.drop_heads == 0.0 && o.keep_vocab == 0)
    problems.push_back(
        {"drop_layers", "something to prune: drop_layers, drop_ffn, drop_heads or keep_vocab above 0, or keep_layers"});
  return problems;
}

bool is_layer_matrix(Role role) {
  return role == Role::Query || role == Role::Key || role == Role::Value || role == Role::AttentionOutput ||
         role == Role::Gate || role == Role::Up || role == Role::Down;
}
FieldRule roles(const char* field, bool matrices) {
  FieldRule rule{.field = field};
  for (int role = 0; role <= static_cast<int>(Role::PostFfnNorm); ++role)
    if (!matrices || is_layer_matrix(static_cast<Role>(role)))
      rule.choices.emplace_back(role_name(static_cast<Role>(role)));
  return rule;
}

// One that is not has its own problem, and says nothing of the others.
bool losses_are_known(const DistillOptions& o) {
  return std::all_of(o.losses.begin(), o.losses.end(),
                     [](const auto& loss) { return find_loss(loss.first) != nullptr; });
}

// Losses across tokenizers compare other rows than all else does.
template <class Need>
void check_losses_across(const DistillOptions& o, Need&& need) {
  if (!losses_are_known(o) || !asks_alignment(o)) return;
  for (const auto& [name, weight] : o.losses)
    need(weight == 0.0 || find_loss(name)->across || !find_loss(name)->needs_teacher, "losses." + name,
         "aligned_likelihood and uld alone or beside cross_entropy, since they compare two tokenizers");
  const std::string beside = " beside aligned_likelihood and uld, for which the teacher reads tokens of its own";
  need(!asks_features(o), "features", "none" + beside);
  need(!keeps_signal(o), "signal", "online or auto" + beside);
  need(o.on_policy == 0.0, "on_policy", "0" + beside);
  need(o.position_share == 1.0, "position_share", "1" + beside);
  need(o.curriculum == 0.0, "curriculum", "0" + beside);
}

Rules rules_of(const DistillOptions&) {
  FieldRule features = at_least("features", 0.0);
  for (const FeatureKind& feature : feature_kinds()) features.keys.emplace_back(feature.name);
  FieldRule settings = at_least("loss_settings", 0.0);
  for (const LossSetting& each : loss_settings()) settings.keys.push_back(each.name);
  return {at_least("tokens", 1),
          weights_of_losses("losses"),
          settings,
          features,
          positive("temperature"),
          one_of("optimizer", {"adamw", "muon"}),
          positive("learning_rate"),
          one_of("schedule", schedule_names()),
          fraction("final_learning_rate_ratio"),
          fraction("warmup"),
          {.field = "decay", .above = 0.0, .most = 1.0},
          at_least("weight_decay", 0.0),
          share("beta1"),
          share("beta2"),
          positive("epsilon"),
          share("muon_momentum"),
          at_least("clip_norm", 0.0),
          {.field = "spike_factor", .above = 1.0, .or_zero = true},
          share("ema"),
          at_least("batch_tokens", 2),
          {.field = "sequence_tokens", .least = 2, .or_zero = true},
          one_of("precision", {"fp32", "bf16", "auto"}),
          one_of("device", {"cpu", "cuda", "auto"}),
          at_least("checkpoint_every_steps", 0),
          one_of("signal", {"auto", "online", "cached", "sampled", "hidden"}),
          {.field = "signal_top_k", .least = 1, .most = 4096},
          {.field = "signal_samples", .least = 1, .most = 4096},
          one_of("signal_numerics", {"fp32", "deployed", kTrainingNumerics}),
          one_of("unsignalled", {"cross_entropy", "online"}),
          at_least("held_out_tokens", 0),
          at_least("held_out_every_steps", 1),
          {.field = "position_share", .above = 0.0, .most = 1.0},
          fraction("curriculum"),
          fraction("on_policy"),
          at_least("rollouts", 1),
          at_least("rollout_tokens", 1),
          at_least("rollout_prompt_tokens", 1),
          at_least("rollout_temperature", 0.0),
          share("replay"),
          roles("frozen", false),
          at_least("lora_rank", 0),
          positive("lora_alpha"),
          roles("lora_targets", true),
          one_of("keep", {"last", "best"}),
          at_least("patience", 0)};
}
Problems problems_of(const DistillOptions& o) {
  return checked(o, [&](auto&& need) {
    need(has_weight(o.losses), "losses", kSomeLoss);
    const auto used = [&](const std::string& loss) { return o.losses.count(loss) != 0; };
    for (const LossSetting& each : loss_settings()) {
      const auto given = o.loss_settings.find(each.name);
      if (given == o.loss_settings.end()) continue;
      need(each.holds(given->second), "loss_settings." + each.name, each.range());
      need(std::any_of(each.of.begin(), each.of.end(), used), "loss_settings." + each.name,
           each.of.front() + " among the losses, whose setting it is");
    }
    need(asks_features(o) || o.feature_layers.empty(), "feature_layers", "features beside them, with a weight above 0");
    for (const std::string& pair : o.feature_layers)
      need(parse_layer_pair(pair).has_value(), "feature_layers", "STUDENT:TEACHER, such as 3:7");
    need(!asks_features(o) || !keeps_signal(o), "features",
         "signal: online or auto beside them, since the teacher shows them as it runs");
    check_losses_across(o, need);
    need(o.lora_rank > 0 || o.lora_targets.empty(), "lora_targets", "lora_rank above 0 beside it");
    need(o.lora_rank == 0 || o.frozen.empty(), "frozen",
         "nothing beside lora_rank, which freezes all but its adapters");
    need(!keeps_signal(o) || o.signal == "hidden" || !losses_are_known(o) || asks_alignment(o) ||
             other_temperature(o) == 1.0,
         "temperature", "1 beside signal: " + o.signal + ", which keeps the teacher at that temperature");
    for (const auto& [name, weight] : o.losses)
      need(o.signal != "sampled" || weight == 0.0 || name == "forward_kl" || name == "cross_entropy", "losses." + name,
           "forward_kl or cross_entropy beside signal: sampled, which is right in the mean for those alone");
    need(o.on_policy == 0.0 || asks_a_teacher(o), "on_policy",
         "a loss that asks a teacher, such as reverse_kl, beside it");
    need(o.on_policy == 0.0 || o.sequence_tokens == 0 || o.rollout_tokens + 1 <= o.sequence_tokens, "rollout_tokens",
         "fewer than sequence_tokens, which hold the prompt too");
    need(o.schedule != "wsd" || o.warmup + o.decay <= 1.0, "decay", "beside schedule: wsd, warmup + decay at most 1");
    need(o.keep != "best" || o.held_out_tokens > 0, "keep", "last, or held_out_tokens to find the best by");
    need(o.patience == 0 || o.held_out_tokens > 0, "patience", "0, or held_out_tokens to look at");
  });
}

Rules rules_of(const DistillStage& o) {
  Rules rules = rules_of(static_cast<const DistillOptions&>(o));
  rules.push_back({.field = "arm_seeds", .least = 1, .most = 20});
  return rules;
}
Problems problems_of(const DistillStage& o) {
  Problems problems = problems_of(static_cast<const DistillOptions&>(o));
  const auto need = [&](bool right, const std::string& field, const std::string& expected) {
    if (!right) problems.push_back({field, expected, "", true});
  };
  for (const FieldProblem& problem : broken_rules(o, rules_of(o)))
    if (problem.field == "arm_seeds") problems.push_back(problem);
  const bool asks = asks_features(o) || asks_a_teacher(o) || !losses_are_known(o);
  need(o.arms || o.arm_seeds <= 1, "arm_seeds", "1, or arms beside it");
  need(!o.arms || asks, "losses", "a loss that asks the teacher, since arms compare it with cross_entropy alone");
  need(!o.arms || o.patience == 0, "patience", "0 beside arms, which learn from the same number of tokens");
  return problems;
}

std::string sequence_problem(const DistillOptions& options, int64_t context) {
  if (options.sequence_tokens <= context) return {};
  return "sequence_tokens = " + std::to_string(options.sequence_tokens) + ": expected at most " +
         std::to_string(context) + ", the model's context";
}

Rules rules_of(const QuantizeOptions&) {
  Rules rules = quantize_rules();
  rules.push_back(weights_of_losses_of_one_tokenizer("qad_losses"));
  return rules;
}
Problems problems_of(const QuantizeOptions& o) {
  Problems problems = check_quantize_options(o);
  const Rules of_losses{weights_of_losses_of_one_tokenizer("qad_losses")};
  for (FieldProblem problem : broken_rules(o, of_losses)) {
    const LossKind* loss = find_loss(problem.field.substr(problem.field.find('.') + 1));
    if (loss != nullptr && loss->across)
      problem.expected += ", since aligned_likelihood and uld compare two tokenizers";
    problems.push_back(problem);
  }
  DistillOptions learned;
  learned.losses = o.qad.losses;
  if (!has_weight(learned.losses))
    problems.push_back({"qad_losses", kSomeLoss, "", true});
  else if (losses_are_known(learned) && !asks_a_teacher(learned))
    problems.push_back({"qad_losses", "a loss that asks the teacher, from which the quantized model learns", "", true});
  return problems;
}

Rules rules_of(const ExportOptions&) {
  return {one_of("formats", {"gguf", "hf", "compressed-tensors"}), one_of("hf_dtype", {"float32", "bfloat16"})};
}
Problems problems_of(const ExportOptions& o) {
  const bool hf = std::find(o.formats.begin(), o.formats.end(), "hf") != o.formats.end();
  return checked(o, [&](auto&& need) {
    need(!o.formats.empty(), "formats", "at least one of gguf, hf, compressed-tensors");
    need(hf || !o.dequantized, "dequantized", "hf among the formats, whose values it says");
    need(hf || o.hf_dtype == ExportOptions().hf_dtype, "hf_dtype", "hf among the formats, whose numbers it says");
  });
}

Rules rules_of(const VerifyStage&) {
  FieldRule gates = at_least("gates", 0.0);
  gates.keys = runtime::gate_list();
  return {at_least("context", 2),
          at_least("max_tokens", 0),
          one_of("numerics", {"fp32", "deployed", "both"}),
          gates,
          one_of("kv", {"f16", "int8"}),
          at_least("task_items", 0),
          at_least("samples", 0)};
}
Problems problems_of(const VerifyStage& o) {
  return checked(o, [&](auto&& need) {
    need(!o.kv || o.numerics != "fp32", "kv", "numerics: deployed or both, which keep keys and values so");
    need(o.gates.count("decode_ratio") == 0 || o.bench, "gates.decode_ratio", "bench: true, which measures speed");
    for (const auto& [name, limit] : o.gates) {
      need(!o.tasks.empty() || !runtime::judges_tasks(name), "gates." + name, "tasks: [FILE], which it judges");
      need(o.numerics != "fp32" || !runtime::judges_deployed(name), "gates." + name,
           "numerics: deployed or both, since gates judge what users run");
    }
  });
}

Rules rules_of(const TeacherWrites&) {
  return {at_least("tokens", 1),
          one_of("prompt", {"chat", "none"}),
          at_least("max_tokens", 2),
          at_least("temperature", 0.0),
          {.field = "top_p", .above = 0.0, .most = 1.0},
          {.field = "signal_top_k", .least = 0, .most = 4096},
          one_of("numerics", {"fp32", "deployed"})};
}
Problems problems_of(const TeacherWrites& o) {
  return broken_rules(o, rules_of(o));
}

Rules rules_of(const EndpointWrites&) {
  return {at_least("tokens", 1),
          {.field = "samples", .least = 1, .most = 128},
          at_least("max_tokens", 1),
          at_least("temperature", 0.0),
          {.field = "top_p", .above = 0.0, .most = 1.0},
          {.field = "top_logprobs", .least = 0, .most = 20},
          {.field = "concurrency", .least = 1, .most = 256},
          at_least("requests_per_minute", 0),
          positive("timeout_s")};
}
Problems problems_of(const EndpointWrites& o) {
  Problems problems = checked(o, [&](auto&& need) {
    need(!o.model.empty(), "model", "the name of a model");
    need(!o.prompts.empty(), "prompts", "a file of chats (.jsonl) or beginnings of texts (.txt)");
    need(o.temperature > 0.0 || o.samples == 1, "samples",
         "1 beside temperature: 0, at which all answers are the same");
  });
  const std::string address = o.url.substr(std::min(o.url.size(), o.url.find("://") + 3));
  const bool is_address = (o.url.starts_with("http://") || o.url.starts_with("https://")) && !address.empty() &&
                          address.find_first_of("@?# ") == std::string::npos && !o.url.ends_with("/completions");
  if (!is_address)
    problems.push_back({"url", "http://HOST[:PORT]/v1 or https://..., without a name, a query or the path of a call"});
  if (o.key.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != std::string::npos)
    problems.push_back({"key", "the name of an environment variable, such as OPENAI_API_KEY, never a key itself"});
  return problems;
}

Rules rules_of(const Architecture&) {
  FieldRule family{.field = "family"};
  for (const FamilyTraits& row : families()) family.choices.emplace_back(row.name);
  return {family,
          {.field = "layers", .least = 1, .most = 512},
          at_least("width", 1),
          at_least("heads", 1),
          at_least("kv_heads", 1),
          {.field = "head_dim", .least = 2, .multiple_of = 2},
          at_least("ffn", 1),
          at_least("context", 2),
          at_least("sliding_window", 0),
          positive("rope_theta"),
          positive("norm_epsilon")};
}
Problems problems_of(const Architecture& o) {
  return checked(
      o, [&](auto&& need) { need(o.kv_heads < 1 || o.heads % o.kv_heads == 0, "kv_heads", "a divisor of heads"); });
}

Rules rules_of(const DataOptions&) {
  return {{.field = "deduplicate", .above = 0.0, .most = 1.0, .or_zero = true}};
}
Problems problems_of(const DataOptions& o) {
  return broken_rules(o, rules_of(o));
}

}  // namespace attar
