#include "distill/losses/loss_term.h"

#include <cassert>
#include <cstdint>

namespace attar {
namespace {

constexpr LossKind kKinds[] = {
    {"forward_kl", true, [](const LossSettings&, double) -> LossForm { return ForwardKl{}; },
     "KL(teacher || student): covers all the teacher says; the default"},
    {"reverse_kl", true, [](const LossSettings&, double) -> LossForm { return ReverseKl{}; },
     "KL(student || teacher): says only what the teacher would"},
    {"symmetric_kl", true,
     [](const LossSettings&, double) -> LossForm {
       return WeighedKl{0.5, 0.5};
     },
     "half of each KL"},
    {"jsd", true, [](const LossSettings& s, double) -> LossForm { return GeneralizedJsd{setting(s, "jsd_beta")}; },
     "generalised Jensen-Shannon divergence: bounded; jsd_beta near 0 leans to forward_kl, near 1 to reverse_kl"},
    {"skew_forward_kl", true,
     [](const LossSettings& s, double) -> LossForm { return SkewForwardKl{setting(s, "skew_alpha")}; },
     "KL(teacher || teacher and student mixed): bounded"},
    {"skew_reverse_kl", true,
     [](const LossSettings& s, double) -> LossForm { return SkewReverseKl{setting(s, "skew_alpha")}; },
     "KL(student || both mixed): bounded; DistiLLM's choice for text that the student wrote"},
    {"total_variation", true, [](const LossSettings&, double) -> LossForm { return TotalVariation{}; },
     "half the sum of |teacher - student|"},
    {"adaptive_kl", true, [](const LossSettings& s, double) -> LossForm { return AdaptiveKl{setting(s, "head_mass")}; },
     "both KLs, weighed at each token by where teacher and student differ"},
    {"taid", true, [](const LossSettings&, double share) -> LossForm { return Taid{share}; },
     "forward KL to a target that moves from the student to the teacher: for a far larger teacher"},
    {"aligned_likelihood", true, [](const LossSettings&, double) -> LossForm { return AlignedLikelihood{}; },
     "how likely the teacher finds each stretch of text that both tokenizers cut alike: for a student with a tokenizer "
     "of its own",
     true, 100.0},
    {"uld", true, [](const LossSettings&, double) -> LossForm { return SortedDistance{}; },
     "distance of the probabilities in falling order, whichever tokens they are of: for a student with a tokenizer of "
     "its own",
     true},
    {"cross_entropy", false,
     [](const LossSettings& s, double) -> LossForm {
       return CrossEntropy{setting(s, "label_smoothing"), setting(s, "z_loss")};
     },
     "the data's own next token"},
};

std::vector<LossSetting> all_settings() {
  std::vector<LossSetting> all = {
      {"label_smoothing", {"cross_entropy"}, 0.0, 1.0, true, 0.0, "share of the target that all tokens get alike"},
      {"z_loss", {"cross_entropy"}, 0.0, 1.0, true, 0.0, "weight of the square of the log of the sum of exponentials"},
      {"jsd_beta", {"jsd"}, 0.0, 1.0, false, 0.5, "share of the teacher in the mixture"},
      {"skew_alpha", {"skew_forward_kl", "skew_reverse_kl"}, 0.0, 1.0, false, 0.1, "how much of itself each meets"},
      {"head_mass",
       {"adaptive_kl"},
       0.0,
       1.0,
       false,
       0.5,
       "probability of the teacher's tokens that count as its head"},
      {"taid_start", {"taid"}, 0.0, 1.0, true, 0.4, "share of the teacher in the target of the first step"},
      {"taid_rate", {"taid"}, 0.0, 1.0, true, 5e-4, "how fast a falling loss moves the target ahead of its schedule"},
      {"taid_momentum", {"taid"}, 0.0, 1.0, true, 0.99, "how much of the loss's fall is remembered from step to step"},
  };
  for (const LossKind& kind : kKinds)
    if (kind.needs_teacher)
      all.push_back({std::string(kind.name) + "_temperature",
                     {kind.name},
                     0.0,
                     1e6,
                     true,
                     kind.usual_temperature,
                     "its own temperature; 0 for that of all"});
  return all;
}

}  // namespace

std::span<const LossKind> loss_kinds() {
  return kKinds;
}

const LossKind* find_loss(const std::string& name) {
  for (const LossKind& kind : kKinds)
    if (name == kind.name) return &kind;
  return nullptr;
}

std::span<const LossSetting> loss_settings() {
  static const std::vector<LossSetting> settings = all_settings();
  return settings;
}

bool LossSetting::holds(double value) const {
  return ends ? least <= value && value <= most : least < value && value < most;
}

std::string LossSetting::range() const {
  const char* sign = ends ? " <= " : " < ";
  return std::to_string(static_cast<int64_t>(least)) + sign + "x" + sign + std::to_string(static_cast<int64_t>(most));
}

double setting(const LossSettings& settings, const std::string& name) {
  if (const auto given = settings.find(name); given != settings.end()) return given->second;
  for (const LossSetting& each : loss_settings())
    if (name == each.name) return each.usual;
  assert(false);
  return 0.0;
}

double temperature_of(const std::string& loss, const LossSettings& settings, double temperature) {
  if (!find_loss(loss)->needs_teacher) return 1.0;
  const double own = setting(settings, loss + "_temperature");
  return own > 0.0 ? own : temperature;
}

std::vector<LossTerm> loss_terms(const std::map<std::string, double>& weights, const LossSettings& settings,
                                 double temperature, double taid_share) {
  std::vector<LossTerm> terms;
  for (const auto& [name, weight] : weights) {
    const LossKind* kind = find_loss(name);
    assert(kind != nullptr);
    if (weight > 0.0)
      terms.push_back(
          {kind->name, kind->form(settings, taid_share), weight, temperature_of(name, settings, temperature)});
  }
  return terms;
}

}  // namespace attar
