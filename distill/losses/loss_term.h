// What a training minimises: a list of terms, each a kind with its weight, its temperature and its settings. A kind is
// a row of loss_kinds(), a setting one of loss_settings(); recipe keys, flags and errors follow from the rows.
#pragma once

#include <map>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "distill/losses/divergence.h"

namespace attar {

// The data's own next token. Label smoothing as in Szegedy et al. 2016 (arXiv 1512.00567, section 7): a share of the
// target goes to all tokens alike; z_loss * lse^2 keeps logits small (PaLM, arXiv 2204.02311, section 5).
struct CrossEntropy {
  double label_smoothing = 0.0, z_loss = 0.0;
};
// Forward and reverse KL, each as heavy as the gap |p - q| where the teacher is sure (its likeliest tokens up to
// head_mass) and elsewhere (Wu et al. 2024, arXiv 2404.02657, section 4). The weights are constants to the gradient.
struct AdaptiveKl {
  double head_mass;
};
// Forward KL to softmax((1 - share) * z + share * y), whose z is a constant to the gradient (Shing et al. 2025, arXiv
// 2501.16937, section 3). `share` grows over a training: taid.h.
struct Taid {
  double share;
};
// How likely stretches of text are that the teacher spells with other tokens: alignment/chunk_loss.h.
struct AlignedLikelihood {};
// The sum of |p - q| of the likeliest tokens, the next likeliest and so on, whichever those are (Boizard et al. 2024,
// arXiv 2402.12030, section 3): the vocabularies share nothing.
struct SortedDistance {};
using LossForm = std::variant<CrossEntropy, ForwardKl, ReverseKl, WeighedKl, GeneralizedJsd, SkewForwardKl,
                              SkewReverseKl, TotalVariation, AdaptiveKl, Taid, AlignedLikelihood, SortedDistance>;

struct LossTerm {
  const char* name;  // of its kind
  LossForm form;
  double weight = 1.0;
  double temperature = 1.0;  // of cross-entropy always 1
  bool needs_teacher() const { return !std::holds_alternative<CrossEntropy>(form); }
};

using LossSettings = std::map<std::string, double>;

struct LossKind {
  const char* name;  // recipe key of `losses`
  bool needs_teacher;
  LossForm (*form)(const LossSettings& settings, double taid_share);
  const char* help;
  bool across = false;             // of a teacher that reads the text with a tokenizer of its own (alignment/)
  double usual_temperature = 0.0;  // 0: that of all
};
std::span<const LossKind> loss_kinds();
const LossKind* find_loss(const std::string& name);  // nullptr: unknown

struct LossSetting {
  std::string name;             // recipe key of `loss_settings`
  std::vector<std::string> of;  // the kinds that have it
  double least, most;
  bool ends;  // whether it may be `least` or `most`
  double usual;
  std::string help;

  bool holds(double value) const;
  std::string range() const;  // "0 < x < 1"
};
std::span<const LossSetting> loss_settings();
double setting(const LossSettings& settings, const std::string& name);  // as given, or the usual

// The terms with a weight above 0, in order of their names, which loss_kinds() has. A kind's own temperature is the
// setting "NAME_temperature".
std::vector<LossTerm> loss_terms(const std::map<std::string, double>& weights, const LossSettings& settings,
                                 double temperature, double taid_share);
double temperature_of(const std::string& loss, const LossSettings& settings, double temperature);

}  // namespace attar
