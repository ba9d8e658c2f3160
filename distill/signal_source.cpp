#include "distill/signal_source.h"

#include <algorithm>
#include <optional>

#include "compress/dataset/signal_rows.h"
#include "compress/dataset/signal_store.h"
#include "distill/losses/loss_term.h"
#include "runtime/base/error.h"

namespace attar {
namespace {

// What has_silent_tokens() is by what was counted as the signal was made, where that says it.
std::optional<bool> counted_silence(const TokenDataset& data) {
  if (data.store == nullptr) return std::nullopt;
  int64_t in_loss = 0;
  for (const TokenDocument& document : data.documents) {
    if (document.stored.empty() && document.has_signal()) return std::nullopt;
    const std::vector<int32_t>& rows = document.stored.rows;
    for (size_t t = 1; t < document.tokens.size(); ++t) {
      if (document.in_loss[t] == 0) continue;
      if (document.stored.empty() || (!rows.empty() && rows[t] < 0)) return true;
      ++in_loss;
    }
  }
  const SignalStore::Contents& there = data.store->contents();
  if (!there.silent_tokens) return std::nullopt;
  const bool keeps_ids = data.store_ids.empty() || data.hidden_width > 0;  // a cut vocabulary leaves states whole
  if (*there.silent_tokens == 0 && keeps_ids) return false;
  if (*there.silent_tokens > 0 && in_loss == there.loss_tokens) return true;  // else they may be those left out
  return std::nullopt;
}

// Whether a signal that is kept with the data says nothing about some token of the loss. Reads it all where nothing
// less says so. Error{Interrupted}.
bool has_silent_tokens(const TokenDataset& data, const Progress& progress) {
  if (const std::optional<bool> counted = counted_silence(data)) return *counted;
  Event now{.stage = "teacher signal", .unit = "tokens", .total = data.token_count()};
  for (const TokenDocument& document : data.documents) {
    if (silent_tokens(data.store == nullptr ? document : with_signal(data, document), data) > 0) return true;
    now.done += std::ssize(document.tokens);
    if (data.store != nullptr) report(progress, now);
  }
  return false;
}

// Losses with a weight that `which` holds of.
template <class Which>
bool has_loss(const DistillOptions& options, Which&& which) {
  return std::any_of(options.losses.begin(), options.losses.end(), [&](const auto& loss) {
    const LossKind* kind = find_loss(loss.first);
    return kind != nullptr && loss.second > 0.0 && which(*kind);
  });
}

void check_alignment(const TrainInputs& inputs) {
  const std::vector<TokenDocument>& documents = inputs.data->documents;
  if (inputs.teacher == nullptr)
    throw usage_error("distill.losses", "need a teacher beside the student, and there is none",
                      "cross_entropy alone, or a teacher");
  if (!inputs.student_to_teacher.empty() ||
      std::any_of(documents.begin(), documents.end(), [](const TokenDocument& d) { return d.other.empty(); }))
    throw usage_error("distill.losses", "compare two readings of the text, and the data holds one",
                      "data of aligned_data()");
}

void check_cache(const TrainInputs& inputs, const DistillOptions& options, const Progress& progress) {
  const TokenDataset& data = *inputs.data;
  if (!data.has_signal())
    throw input_error("distill.signal", "the training data holds no teacher signal", "text that a teacher wrote", "",
                      "use signal: online");
  if (const int64_t bare = data.documents_without_signal(); bare > 0)
    throw input_error("distill.signal", "part of the training data holds no teacher signal",
                      "a signal in each of " + std::to_string(data.documents.size()) + " documents",
                      std::to_string(bare) + " without one", "use signal: online");
  if (data.hidden_width > 0 && !inputs.teacher_head.defined())
    throw usage_error("distill.signal", "holds hidden states, and nothing to make logits of them",
                      "the teacher's head");
  if (const double t = other_temperature(options); t != 1.0 && data.hidden_width == 0)
    throw usage_error("distill.temperature", "a cached signal holds the teacher at temperature 1", "1",
                      std::to_string(t), "use signal: online");
  if (inputs.teacher == nullptr && !inputs.asked_beside && needs_teacher_beside(options, data, progress))
    throw usage_error("distill.unsignalled", "tokens without a signal need a teacher, and there is none",
                      "cross_entropy, or a teacher", options.unsignalled);
}

}  // namespace

SignalSource signal_source(const TrainInputs& inputs, const DistillOptions& options, const Progress& progress) {
  const TokenDataset& data = *inputs.data;
  for (const auto& [name, weight] : options.losses)
    if (find_loss(name) == nullptr)
      throw usage_error("distill.losses", "no such loss", "a name of loss_kinds()", printable(name));
  if (data.loss_token_count() == 0)
    throw input_error("distill", "the training data has no token to learn from", "text, or chats with assistant turns");
  if (asks_features(options) && inputs.teacher == nullptr)
    throw usage_error("distill.features", "need a teacher beside the student, and there is none");
  if (options.curriculum > 0.0 && inputs.teacher == nullptr)
    throw usage_error("distill.curriculum", "goes by a teacher's loss, and there is no teacher", "0");
  if (asks_features(options) && data.has_weights())
    throw usage_error("distill.features", "look at all tokens alike, and the data says how much each counts",
                      "none, or data without weights");
  if (options.position_share < 1.0 && data.has_weights())
    throw usage_error("distill.position_share", "chooses tokens, and the data says how much each counts",
                      "1, or data without weights", std::to_string(options.position_share));
  if (!asks_a_teacher(options)) return SignalSource::None;
  if (options.on_policy > 0.0 && inputs.teacher == nullptr)
    throw usage_error("distill.on_policy", "what the student writes needs a teacher to judge it, and there is none");
  if (asks_alignment(options)) {
    check_alignment(inputs);
    return SignalSource::Aligned;
  }
  const bool no_choice = options.signal == "auto" && data.has_signal() && inputs.teacher == nullptr;
  if (no_choice || learns_from_cache(options, data)) {
    check_cache(inputs, options, progress);
    return SignalSource::Cached;
  }
  if (inputs.teacher == nullptr)
    throw usage_error("distill.losses", "need a teacher, and there is none", "cross_entropy alone, or a teacher");
  return SignalSource::Online;
}

bool asks_a_teacher(const DistillOptions& options) {
  return has_loss(options, [](const LossKind& loss) { return loss.needs_teacher; });
}

bool asks_alignment(const DistillOptions& options) {
  return has_loss(options, [](const LossKind& loss) { return loss.across; });
}

std::string needs_same_tokens(const DistillOptions& options) {
  for (const auto& [name, weight] : options.losses)
    if (const LossKind* loss = find_loss(name); loss != nullptr && weight > 0.0 && loss->needs_teacher && !loss->across)
      return "losses." + name;
  if (asks_features(options)) return "features";
  if (options.curriculum > 0.0) return "curriculum";
  return options.on_policy > 0.0 ? "on_policy" : "";
}

double other_temperature(const DistillOptions& options) {
  for (const auto& [name, weight] : options.losses)
    if (const double t = temperature_of(name, options.loss_settings, options.temperature); weight > 0.0 && t != 1.0)
      return t;
  return 1.0;
}

bool learns_from_cache(const DistillOptions& options, const TokenDataset& data) {
  return keeps_signal(options) ||
         (options.signal == "auto" && !asks_features(options) && !asks_alignment(options) &&
          other_temperature(options) == 1.0 && data.signal_k > 0 && data.documents_without_signal() == 0);
}

bool always_beside(const DistillOptions& options) {
  return asks_features(options) || asks_alignment(options) || (options.on_policy > 0.0 && asks_a_teacher(options));
}

bool needs_teacher_beside(const DistillOptions& options, const TokenDataset& data, const Progress& progress) {
  if (always_beside(options) || options.curriculum > 0.0) return true;
  if (!asks_a_teacher(options)) return false;
  if (!learns_from_cache(options, data)) return true;
  return options.unsignalled == "online" && has_silent_tokens(data, progress);
}

}  // namespace attar
