// A teacher's distribution at one token in some thirty bytes: its likeliest tokens, the rest of its mass as a
// sample drawn from it (Anshumann et al. 2025, "Sparse logit sampling", arXiv 2503.16870, section 3). The expectation
// of what is kept is the distribution itself, so losses linear in it (forward KL) keep their gradient in the mean,
// whatever k.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace attar {

struct SampledRow {
  struct Exact {
    int32_t id;
    uint32_t log_prob_code;  // -log p in steps of 1/32
  };
  struct Drawn {
    int32_t id;
    uint32_t count;
  };
  std::vector<Exact> exact{};  // at most 7, the likeliest first
  std::vector<Drawn> drawn{};  // ids ascend; share what `exact` leaves of 1 in proportion to their counts
  double entropy = 0.0;        // of the whole distribution, nats
  double cut = 0.0;            // mass on tokens that the student does not have; the distribution is of the others

  bool empty() const { return exact.empty(); }  // the teacher says nothing here
};

// What a row stands for: tokens and probabilities that add up to 1.
struct TokenShare {
  int32_t id;
  double probability;
};
std::vector<TokenShare> shares_of(const SampledRow& row);

// Of the logits (V) over the tokens that the student has, whose log-sum-exp is `lse`; ids[i] is the id of logits[i],
// empty: i itself; `cut` is the mass of all others. Of `samples` draws for a whole mass, the share that the exact
// entries leave is made, evenly spaced over it from a first one that `uniform` in [0, 1) places (systematic sampling,
// Madow 1949): as right in the mean as draws of their own, and nearer to it.
SampledRow sample_row(std::span<const float> logits, double lse, std::span<const int32_t> ids, double cut,
                      int64_t samples, double uniform);

// The row in a vocabulary cut down to `new_id` (-1: cut away), renormalised; what it loses is added to `cut`.
SampledRow remapped(const SampledRow& row, std::span<const int32_t> new_id);

// Rows one after another, each a whole number of bytes. id_bits: of the largest id.
void encode_row(const SampledRow& row, int id_bits, std::vector<uint8_t>& bytes);
// Takes the next row off `bytes`; nothing when they are no row. Ids are below 2^id_bits.
std::optional<SampledRow> decode_row(std::span<const uint8_t>& bytes, int id_bits);

int id_bits_of(int64_t vocab_size);

// The bytes of rows [begin, end) of `rows`, and what they hold. Error{Input}: there are none.
std::span<const uint8_t> rows_between(std::span<const uint8_t> rows, int id_bits, size_t begin, size_t end);
std::vector<SampledRow> decode_rows(std::span<const uint8_t> rows, int id_bits, size_t begin, size_t end);

}  // namespace attar
