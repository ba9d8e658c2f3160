#include "compress/signal/sampled_signal.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "compress/signal/bit_stream.h"
#include "runtime/base/error.h"
#include "runtime/base/fast_math.h"

namespace attar {
namespace {

// A number is kept as whole steps, in so many bits. Those of log p leave p right to 1.6 %, 0 in the mean.
struct Steps {
  double step;
  int bits;
};
constexpr Steps kLogProb{1.0 / 32.0, 10};  // down to exp(-32)
constexpr Steps kCut{1.0 / 128.0, 12};     // the same
constexpr Steps kEntropy{1.0 / 64.0, 10};  // up to 16 nats
constexpr int kCountBits = 3;              // of exact entries
constexpr size_t kMostExact = 7;
constexpr double kLeastExact = 0.125;  // what is likelier is kept as it is; the likeliest always
constexpr double kLeastRest = 1e-6;
constexpr size_t kChunk = 256;
constexpr size_t kLanes = 16;
constexpr uint32_t kMostDraws = 1 << 16;

uint32_t code_of(double value, Steps steps) {
  const double code = std::round(value / steps.step);
  return static_cast<uint32_t>(std::clamp(code, 0.0, static_cast<double>((1 << steps.bits) - 1)));
}
double value_of(uint32_t code, Steps steps) {
  return steps.step * static_cast<double>(code);
}
double probability_of(uint32_t code) {
  return std::exp(-value_of(code, kLogProb));
}

double exact_mass(const SampledRow& row) {
  double mass = 0.0;
  for (const SampledRow::Exact& entry : row.exact) mass += probability_of(entry.log_prob_code);
  return mass;
}

// sum exp(x - lse), and of that times lse - x
struct ChunkMass {
  float mass = 0.0f, entropy = 0.0f;
};
ATTAR_VECTOR_CLONES ChunkMass mass_of(const float* x, size_t n, float lse) {
  float masses[kLanes] = {}, entropies[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (size_t l = 0; l < kLanes; ++l) {
      const float log_p = x[i + l] - lse, p = fast_exp(log_p);
      masses[l] += p;
      entropies[l] -= p * log_p;
    }
  ChunkMass out;
  for (size_t l = 0; l < kLanes; ++l) out.mass += masses[l], out.entropy += entropies[l];
  for (; i < n; ++i) {
    const float log_p = x[i] - lse, p = fast_exp(log_p);
    out.mass += p;
    out.entropy -= p * log_p;
  }
  return out;
}

// The places of the `count` largest, the largest first; of equals the earlier.
std::vector<size_t> largest(std::span<const float> logits, size_t count) {
  std::vector<size_t> places;
  float least = -HUGE_VALF;
  for (size_t begin = 0; begin < logits.size(); begin += kChunk) {
    const size_t end = std::min(logits.size(), begin + kChunk);
    if (places.size() == count && !(maximum(logits.data() + begin, static_cast<int64_t>(end - begin)) > least))
      continue;
    for (size_t i = begin; i < end; ++i) {
      if (places.size() == count && !(logits[i] > least)) continue;
      const auto later = std::find_if(places.begin(), places.end(), [&](size_t p) { return logits[i] > logits[p]; });
      places.insert(later, i);
      if (places.size() > count) places.pop_back();
      if (places.size() == count) least = logits[places.back()];
    }
  }
  return places;
}

// Draws from what `taken` leaves of a distribution over places, by the sums of its chunks.
class RestSampler {
 public:
  RestSampler(std::span<const float> logits, float lse, std::vector<size_t> taken)
      : logits_(logits), lse_(lse), taken_(std::move(taken)) {
    std::sort(taken_.begin(), taken_.end());
    for (size_t begin = 0; begin < logits.size(); begin += kChunk) {
      const size_t size = std::min(kChunk, logits.size() - begin);
      const ChunkMass all = mass_of(logits.data() + begin, size, lse);
      entropy_ += static_cast<double>(all.entropy);
      const auto first = std::lower_bound(taken_.begin(), taken_.end(), begin);
      const bool some = first != taken_.end() && *first < begin + size;
      ends_.push_back(rest_ += some ? rest_of(begin, begin + size) : static_cast<double>(all.mass));
    }
  }
  double entropy() const { return entropy_; }

  // The place at which the sum of what is left reaches `uniform` of it.
  size_t at(double uniform) const {
    const double wanted = uniform * rest_;
    const auto chunk = static_cast<size_t>(std::upper_bound(ends_.begin(), ends_.end() - 1, wanted) - ends_.begin());
    double sum = chunk == 0 ? 0.0 : ends_[chunk - 1];
    size_t last = chunk * kChunk;
    for (size_t i = chunk * kChunk; i < std::min(logits_.size(), (chunk + 1) * kChunk); ++i) {
      if (is_taken(i)) continue;
      last = i;
      if ((sum += static_cast<double>(fast_exp(logits_[i] - lse_))) > wanted) break;
    }
    return last;
  }
  bool is_taken(size_t place) const { return std::binary_search(taken_.begin(), taken_.end(), place); }

 private:
  double rest_of(size_t begin, size_t end) const {
    double sum = 0.0;
    for (size_t i = begin; i < end; ++i)
      if (!is_taken(i)) sum += static_cast<double>(fast_exp(logits_[i] - lse_));
    return sum;
  }

  std::span<const float> logits_;
  float lse_;
  std::vector<size_t> taken_;
  std::vector<double> ends_;  // sums up to the end of each chunk
  double rest_ = 0.0, entropy_ = 0.0;
};

Error damaged_rows() {
  return input_error("the teacher's sampled signal", "is damaged");
}

// Bits that hold the low part of the gap between `count` ids, spread over 2^id_bits: about log2 of the usual gap.
int gap_bits(int id_bits, size_t count) {
  return std::max(0, id_bits - static_cast<int>(std::bit_width(count)));
}

}  // namespace

int id_bits_of(int64_t vocab_size) {
  return std::max(1, static_cast<int>(std::bit_width(static_cast<uint64_t>(vocab_size - 1))));
}

std::vector<TokenShare> shares_of(const SampledRow& row) {
  std::vector<TokenShare> shares;
  uint64_t draws = 0;
  for (const SampledRow::Drawn& entry : row.drawn) draws += entry.count;
  const double known = exact_mass(row), rest = draws == 0 ? 0.0 : std::max(0.0, 1.0 - known), whole = known + rest;
  for (const SampledRow::Exact& entry : row.exact)
    shares.push_back({entry.id, probability_of(entry.log_prob_code) / whole});
  for (const SampledRow::Drawn& entry : row.drawn)
    shares.push_back({entry.id, rest * entry.count / static_cast<double>(draws) / whole});
  return shares;
}

SampledRow sample_row(std::span<const float> logits, double lse, std::span<const int32_t> ids, double cut,
                      int64_t samples, double uniform) {
  const auto id_at = [&](size_t place) { return ids.empty() ? static_cast<int32_t>(place) : ids[place]; };
  SampledRow row{.cut = cut};
  std::vector<size_t> top = largest(logits, std::min(kMostExact, logits.size()));
  const double least = std::log(kLeastExact) + lse;
  while (top.size() > 1 && static_cast<double>(logits[top.back()]) < least) top.pop_back();
  for (const size_t place : top)
    row.exact.push_back({id_at(place), code_of(lse - static_cast<double>(logits[place]), kLogProb)});
  const RestSampler rest(logits, static_cast<float>(lse), top);
  row.entropy = std::max(0.0, rest.entropy());
  const double left = 1.0 - exact_mass(row);
  if (left < kLeastRest || logits.size() == top.size()) return row;
  std::vector<int32_t> drawn;
  const double draws = std::ceil(left * static_cast<double>(samples));
  for (double i = 0.0; i < draws; i += 1.0) drawn.push_back(id_at(rest.at((i + uniform) / draws)));
  std::sort(drawn.begin(), drawn.end());
  for (const int32_t id : drawn)
    if (row.drawn.empty() || row.drawn.back().id != id)
      row.drawn.push_back({id, 1});
    else
      ++row.drawn.back().count;
  return row;
}

SampledRow remapped(const SampledRow& row, std::span<const int32_t> new_id) {
  const std::vector<TokenShare> shares = shares_of(row);
  double lost = 0.0, lost_entropy = 0.0;
  SampledRow out{.cut = row.cut};
  std::vector<double> kept;
  for (size_t i = 0; i < shares.size(); ++i) {
    const int32_t id = new_id[static_cast<size_t>(shares[i].id)];
    const double p = shares[i].probability;
    if (id < 0) {
      lost += p;
      if (i < row.exact.size() && p > 0.0) lost_entropy -= p * std::log(p);
    } else if (i < row.exact.size()) {
      out.exact.push_back({id, 0});
      kept.push_back(p);
    } else {
      out.drawn.push_back({id, row.drawn[i - row.exact.size()].count});
    }
  }
  const double left = 1.0 - lost;
  if (out.exact.empty()) {  // a row without exact entries would say nothing: some of the drawn ones become exact
    const size_t moved = std::min(kMostExact, out.drawn.size());
    if (moved == 0) return {.cut = 1.0};
    double draws = 0.0;
    for (const SampledRow::Drawn& entry : out.drawn) draws += entry.count;
    for (size_t i = 0; i < moved; ++i) {
      out.exact.push_back({out.drawn[i].id, 0});
      kept.push_back(left * out.drawn[i].count / draws);
    }
    out.drawn.erase(out.drawn.begin(), out.drawn.begin() + static_cast<std::ptrdiff_t>(moved));
  }
  for (size_t i = 0; i < kept.size(); ++i) out.exact[i].log_prob_code = code_of(-std::log(kept[i] / left), kLogProb);
  std::sort(out.drawn.begin(), out.drawn.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  out.entropy = std::max(0.0, (row.entropy - lost_entropy) / left + std::log(left));
  out.cut = 1.0 - (1.0 - row.cut) * left;
  return out;
}

void encode_row(const SampledRow& row, int id_bits, std::vector<uint8_t>& bytes) {
  BitWriter bits(bytes);
  bits.add(static_cast<uint32_t>(row.exact.size()), kCountBits);
  bits.add(row.cut > 0.0 ? 1 : 0, 1);
  if (row.cut > 0.0) bits.add(code_of(-std::log(row.cut), kCut), kCut.bits);
  if (row.empty()) return;
  for (const SampledRow::Exact& entry : row.exact) {
    bits.add(static_cast<uint32_t>(entry.id), id_bits);
    bits.add(entry.log_prob_code, kLogProb.bits);
  }
  bits.add(code_of(row.entropy, kEntropy), kEntropy.bits);
  bits.add_gamma(static_cast<uint32_t>(row.drawn.size()) + 1);
  int32_t next = 0;
  for (const SampledRow::Drawn& entry : row.drawn) {
    bits.add_rice(static_cast<uint32_t>(entry.id - next), gap_bits(id_bits, row.drawn.size()));
    bits.add_unary(entry.count - 1);
    next = entry.id + 1;
  }
}

std::optional<SampledRow> decode_row(std::span<const uint8_t>& bytes, int id_bits) {
  BitReader bits(bytes);
  SampledRow row;
  const uint32_t n_exact = bits.take(kCountBits);
  if (bits.take(1) != 0) row.cut = std::exp(-value_of(bits.take(kCut.bits), kCut));
  const int64_t most = int64_t{1} << id_bits;
  if (n_exact > 0) {
    for (uint32_t i = 0; i < n_exact; ++i) {
      const auto id = static_cast<int32_t>(bits.take(id_bits));
      row.exact.push_back({id, bits.take(kLogProb.bits)});
    }
    row.entropy = value_of(bits.take(kEntropy.bits), kEntropy);
    const uint32_t n_drawn = bits.take_gamma() - 1;
    if (n_drawn > kMostDraws) return std::nullopt;
    int64_t next = 0;
    for (uint32_t i = 0; i < n_drawn && bits.good(); ++i) {
      const int64_t id = next + bits.take_rice(gap_bits(id_bits, n_drawn));
      if (id >= most) return std::nullopt;
      row.drawn.push_back({static_cast<int32_t>(id), bits.take_unary() + 1});
      next = id + 1;
    }
  }
  if (!bits.good()) return std::nullopt;
  bytes = bits.rest();
  return row;
}

std::span<const uint8_t> rows_between(std::span<const uint8_t> rows, int id_bits, size_t begin, size_t end) {
  std::span<const uint8_t> rest = rows, first = rows;
  for (size_t t = 0; t < end; ++t) {
    if (t == begin) first = rest;
    if (!decode_row(rest, id_bits)) throw damaged_rows();
  }
  if (begin >= end) return {};
  return first.subspan(0, first.size() - rest.size());
}

std::vector<SampledRow> decode_rows(std::span<const uint8_t> rows, int id_bits, size_t begin, size_t end) {
  std::vector<SampledRow> out;
  for (size_t t = 0; t < end; ++t) {
    std::optional<SampledRow> row = decode_row(rows, id_bits);
    if (!row) throw damaged_rows();
    if (t >= begin) out.push_back(std::move(*row));
  }
  return out;
}

}  // namespace attar
