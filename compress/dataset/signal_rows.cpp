#include "compress/dataset/signal_rows.h"

#include <cmath>
#include <optional>
#include <utility>

#include "compress/signal/hidden_states.h"
#include "compress/signal/sampled_signal.h"
#include "runtime/base/error.h"

namespace attar {
namespace {

struct EncodedRow {
  std::span<const uint8_t> bytes;
  SampledRow row;
};
std::vector<EncodedRow> encoded_rows(std::span<const uint8_t> rows, int id_bits) {
  std::vector<EncodedRow> out;
  while (!rows.empty()) {
    const std::span<const uint8_t> begin = rows;
    std::optional<SampledRow> row = decode_row(rows, id_bits);
    if (!row) throw input_error("the teacher's sampled signal", "is damaged");
    out.push_back({begin.first(begin.size() - rows.size()), std::move(*row)});
  }
  return out;
}

void hand_on_top_k(const TokenDocument& from, size_t k, const std::vector<int32_t>& rows,
                   std::span<const int32_t> new_id, TokenDocument& to) {
  const auto mapped = [&](int32_t id) { return id < 0 || new_id.empty() ? id : new_id[static_cast<size_t>(id)]; };
  for (const int32_t row : rows)
    for (size_t j = 0; j < k; ++j) {
      const size_t entry = row < 0 ? 0 : static_cast<size_t>(row) * k + j;
      to.signal_ids.push_back(row < 0 ? -1 : mapped(from.signal_ids[entry]));
      to.signal_log_probs.push_back(row < 0 ? -HUGE_VALF : from.signal_log_probs[entry]);
    }
}

void hand_on_sample(const TokenDocument& from, int id_bits, const std::vector<int32_t>& rows,
                    std::span<const int32_t> new_id, TokenDocument& to) {
  const std::vector<EncodedRow> encoded = encoded_rows(from.sampled_signal, id_bits);
  std::vector<uint8_t>& out = to.sampled_signal;
  for (const int32_t row : rows) {
    if (row < 0) {
      encode_row({}, id_bits, out);
      continue;
    }
    const EncodedRow& own = encoded.at(static_cast<size_t>(row));
    if (new_id.empty())
      out.insert(out.end(), own.bytes.begin(), own.bytes.end());
    else
      encode_row(remapped(own.row, new_id), id_bits, out);
  }
}

}  // namespace

void hand_on_signal(const TokenDocument& from, const TokenDataset& of, const std::vector<int32_t>& rows,
                    std::span<const int32_t> new_id, TokenDocument& to) {
  if (!from.stored.empty()) {
    to.stored = {from.stored.place, rows};
    if (!from.stored.rows.empty())
      for (int32_t& row : to.stored.rows) row = row < 0 ? -1 : from.stored.rows[static_cast<size_t>(row)];
    return;
  }
  if (!from.signal_ids.empty()) hand_on_top_k(from, static_cast<size_t>(of.signal_k), rows, new_id, to);
  if (!from.sampled_signal.empty()) hand_on_sample(from, static_cast<int>(of.sampled.id_bits), rows, new_id, to);
  if (from.hidden.empty()) return;
  for (const int32_t row : rows)
    if (row < 0)
      append_no_state(of.hidden_width, to.hidden);
    else
      append_state(from.hidden, static_cast<size_t>(row), of.hidden_width, to.hidden);
}

int64_t silent_tokens(const TokenDocument& document, const TokenDataset& of) {
  const size_t tokens = document.tokens.size(), k = document.signal_ids.empty() ? 0 : static_cast<size_t>(of.signal_k);
  std::vector<SampledRow> sampled;
  if (!document.sampled_signal.empty())
    sampled = decode_rows(document.sampled_signal, static_cast<int>(of.sampled.id_bits), 0, tokens);
  const auto is_silent = [&](size_t t) {
    if (!sampled.empty()) return sampled[t].empty() || sampled[t].cut >= 1.0;
    for (size_t j = t * k; j < (t + 1) * k; ++j)
      if (document.signal_ids[j] >= 0 && std::exp(static_cast<double>(document.signal_log_probs[j])) > 0.0)
        return false;
    return !has_state(document.hidden, t, of.hidden_width);
  };
  int64_t count = 0;
  for (size_t t = 1; t < tokens; ++t) count += document.in_loss[t] != 0 && is_silent(t) ? 1 : 0;
  return count;
}

}  // namespace attar
