#include "compress/dataset/dataset_checks.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "compress/signal/sampled_signal.h"

namespace attar {
namespace {

constexpr double kMostMass = 1.0 + 1e-3;  // k roundings of f32 logarithms

bool is_mark(uint8_t value) {
  return value <= 1;
}

bool is_amount(float value) {  // false for NaN too
  return value >= 0.0f && value < HUGE_VALF;
}

// One token's entries: ids (k), log-probabilities (k). `sorted` is scratch.
bool can_be_signal(std::span<const int32_t> ids, std::span<const float> log_probs, int64_t vocab_size,
                   std::vector<int32_t>& sorted) {
  double mass = 0.0;
  sorted.clear();
  for (size_t j = 0; j < ids.size(); ++j) {
    if (ids[j] < -1 || ids[j] >= vocab_size || !(log_probs[j] <= 0.01f)) return false;  // false for NaN too
    if (ids[j] >= 0) sorted.push_back(ids[j]);
    mass += std::exp(static_cast<double>(log_probs[j]));
  }
  std::sort(sorted.begin(), sorted.end());
  return mass <= kMostMass && std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end();
}

// A row for each of `tokens`, of tokens of the vocabulary that differ.
bool can_be_sampled(std::span<const uint8_t> rows, size_t tokens, int64_t id_bits, int64_t vocab_size,
                    std::vector<int32_t>& sorted) {
  for (size_t t = 0; t < tokens; ++t) {
    const std::optional<SampledRow> row = decode_row(rows, static_cast<int>(id_bits));
    if (!row) return false;
    sorted.clear();
    for (const SampledRow::Exact& entry : row->exact) sorted.push_back(entry.id);
    for (const SampledRow::Drawn& entry : row->drawn) sorted.push_back(entry.id);
    std::sort(sorted.begin(), sorted.end());
    if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) return false;
    if (!sorted.empty() && sorted.back() >= vocab_size) return false;
  }
  return rows.empty();
}

// What is kept of the teacher at a token.
std::string signal_kind(const TokenDataset& data) {
  if (data.hidden_width > 0) return "states of " + std::to_string(data.hidden_width);
  if (data.sampled.samples > 0)
    return std::to_string(data.sampled.samples) + " draws, " + std::to_string(data.sampled.id_bits) + " bits";
  return data.signal_k > 0 ? "top " + std::to_string(data.signal_k) : "none";
}

}  // namespace

Error damaged_dataset(const std::string& path, const std::string& part) {
  return input_error(path, "is damaged at " + part, "", "", "delete it and run again with --resume: it is made anew");
}

void check_text(const TokenDocument& document, int64_t vocab_size, const std::string& path) {
  for (const int32_t token : document.tokens)
    if (token < 0 || token >= vocab_size) throw damaged_dataset(path, "tokens");
  if (!std::all_of(document.in_loss.begin(), document.in_loss.end(), is_mark)) throw damaged_dataset(path, "in_loss");
  if (!std::all_of(document.weights.begin(), document.weights.end(), is_amount)) throw damaged_dataset(path, "weights");
}

void check_signal(const TokenDocument& document, size_t tokens, const TokenDataset& head, int64_t vocab_size,
                  const std::string& path) {
  std::vector<int32_t> sorted;
  if (!std::all_of(document.hidden.scales.begin(), document.hidden.scales.end(), is_amount) ||
      (!document.hidden.empty() && (!document.signal_ids.empty() || !document.sampled_signal.empty())))
    throw damaged_dataset(path, "the teacher's hidden states");
  if (!document.sampled_signal.empty() &&
      (!document.signal_ids.empty() ||
       !can_be_sampled(document.sampled_signal, tokens, head.sampled.id_bits, vocab_size, sorted)))
    throw damaged_dataset(path, "the teacher's sampled signal");
  const auto k = static_cast<size_t>(head.signal_k);
  const std::span ids(document.signal_ids);
  const std::span log_probs(document.signal_log_probs);
  for (size_t at = 0; at < ids.size(); at += k)
    if (!can_be_signal(ids.subspan(at, k), log_probs.subspan(at, k), vocab_size, sorted))
      throw damaged_dataset(path, "the teacher's signal");
}

Identity identity_of(const TokenDataset& data) {
  return {{"teacher", data.origin.teacher_hash},
          {"text", data.origin.text_hash},
          {"options", data.origin.made_by},
          {"signal", signal_kind(data)},
          {"numerics", data.signal_numerics}};
}

void require_made_alike(const TokenDataset& kept, const TokenDataset& wanted, const std::string& path,
                        const std::string& hint) {
  const std::string differing = differences(identity_of(kept), identity_of(wanted));
  if (differing.empty()) return;
  if (kept.origin == DatasetOrigin{} && wanted.origin != DatasetOrigin{})
    throw input_error(path, "does not say what it was made of: an older version of Attar wrote it", "", "", hint);
  throw input_error(path, "was made of something else: " + differing, "", "", hint);
}

}  // namespace attar
