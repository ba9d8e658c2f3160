#include "distill/labels.h"

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>

namespace attar {
namespace {

// The teacher's mass at one token, over what of its k entries is usable and what was cut.
struct Mass {
  double kept = 0.0, cut = 0.0;
};
Mass mass_at(const TokenDocument& document, size_t token, size_t k) {
  Mass mass;
  if (document.signal_ids.empty()) return mass;
  for (size_t j = token * k; j < (token + 1) * k; ++j)
    (document.signal_ids[j] >= 0 ? mass.kept : mass.cut) += std::exp(static_cast<double>(document.signal_log_probs[j]));
  return mass;
}

// visit(row, document, token) for each row of the loss.
template <class Visit>
void for_each_loss_row(const TokenDataset& data, const std::vector<Piece>& pieces, Visit&& visit) {
  int64_t row = 0;
  for (const Piece& piece : pieces) {
    const TokenDocument& document = data.documents[static_cast<size_t>(piece.document)];
    for (int64_t i = 0; i + 1 < piece.length; ++i) {
      const auto token = static_cast<size_t>(piece.begin + i + 1);
      if (document.in_loss[token] != 0) visit(row + i, document, token);
    }
    row += piece.length;
  }
}

}  // namespace

Labels labels_of(const TokenDataset& data, const std::vector<Piece>& pieces, SignalSource source) {
  int64_t n = 0;
  for (const Piece& piece : pieces) n += piece.length;
  const int64_t k = source == SignalSource::Cached ? data.signal_k : 0;
  Labels labels{
      at::zeros({n}, at::kLong),
      at::zeros({n}, at::kBool),
      at::zeros({n}, at::kBool),
      {at::full({n, k}, -1, at::kLong), at::full({n, k}, -std::numeric_limits<float>::infinity(), at::kFloat)}};
  auto *next = labels.next.data_ptr<int64_t>(), *ids = labels.signal.ids.data_ptr<int64_t>();
  auto* log_probs = labels.signal.log_probs.data_ptr<float>();
  auto *signalled = labels.signalled.data_ptr<bool>(), *unsignalled = labels.unsignalled.data_ptr<bool>();
  for_each_loss_row(data, pieces, [&](int64_t row, const TokenDocument& document, size_t token) {
    next[row] = document.tokens[token];
    const bool silent = k > 0 && mass_at(document, token, static_cast<size_t>(k)).kept <= 0.0;
    (silent ? unsignalled : signalled)[row] = true;
    if (silent) return;
    for (int64_t j = 0; j < k; ++j) {
      const size_t entry = token * static_cast<size_t>(k) + static_cast<size_t>(j);
      ids[row * k + j] = document.signal_ids[entry];
      log_probs[row * k + j] = document.signal_log_probs[entry];
    }
  });
  return labels;
}

LossTokens& LossTokens::operator+=(const LossTokens& other) {
  count += other.count;
  unsignalled += other.unsignalled;
  weighed += other.weighed;
  dropped_mass += other.dropped_mass;
  return *this;
}

LossTokens loss_tokens(const TokenDataset& data, const std::vector<Piece>& pieces, SignalSource source) {
  LossTokens out;
  for_each_loss_row(data, pieces, [&](int64_t, const TokenDocument& document, size_t token) {
    ++out.count;
    if (source != SignalSource::Cached) return;
    const Mass mass = mass_at(document, token, static_cast<size_t>(data.signal_k));
    out.unsignalled += mass.kept <= 0.0 ? 1 : 0;
    out.weighed += mass.kept + mass.cut > 0.0 ? 1 : 0;
    out.dropped_mass += mass.cut;
  });
  return out;
}

}  // namespace attar
