#include "distill/losses/row_sweeps.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

namespace attar {
namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kChunk = 4096;  // f32 lane sums go into a double after so many

template <class Form>
inline constexpr bool kIsDivergence =
    !std::is_same_v<Form, CrossEntropy> && !std::is_same_v<Form, AdaptiveKl> && !std::is_same_v<Form, Taid>;

// `visit(form)` with the divergence that `form` holds. A switch that inlines, so that the loops become vector code.
template <class Visit>
[[gnu::always_inline]] inline void with_divergence(const LossForm& form, Visit&& visit) {
  const auto one = [&]<class Form>(std::type_identity<Form>) {
    if (const Form* held = std::get_if<Form>(&form)) visit(*held);
  };
  one(std::type_identity<ForwardKl>{}), one(std::type_identity<ReverseKl>{}), one(std::type_identity<WeighedKl>{});
  one(std::type_identity<GeneralizedJsd>{}), one(std::type_identity<SkewForwardKl>{});
  one(std::type_identity<SkewReverseKl>{}), one(std::type_identity<TotalVariation>{});
}

[[gnu::always_inline]] inline Likelihood<float> at(const RowPair& row, int64_t i) {
  const float log_p = row.y[i] * row.inverse_t - row.y_lse, log_q = row.z[i] * row.inverse_t - row.z_lse;
  return {log_p, log_q, fast_exp(log_p), fast_exp(log_q)};
}

struct FloatSums {
  float value = 0.0f, qg = 0.0f;
};

template <class Form>
[[gnu::always_inline]] inline FloatSums sums_of(const RowPair& row, int64_t begin, int64_t end, const Form& form) {
  float values[kLanes] = {}, qgs[kLanes] = {};
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) {
      const Share<float> share = form.at(at(row, i + l));
      values[l] += share.value;
      qgs[l] += share.qg;
    }
  FloatSums out;
  for (int64_t l = 0; l < kLanes; ++l) out.value += values[l], out.qg += qgs[l];
  for (; i < end; ++i) {
    const Share<float> share = form.at(at(row, i));
    out.value += share.value, out.qg += share.qg;
  }
  return out;
}

ATTAR_VECTOR_CLONES FloatSums chunk_sums(const RowPair& row, int64_t begin, int64_t end, const LossForm& form) {
  FloatSums out;
  with_divergence(
      form, [&](const auto& divergence) __attribute__((always_inline)) { out = sums_of(row, begin, end, divergence); });
  return out;
}

ATTAR_VECTOR_CLONES void add_gradient(const RowPair& row, const LossForm& form, float mean, float factor,
                                      float* gradient) {
  with_divergence(
      form, [&](const auto& divergence) __attribute__((always_inline)) {
        for (int64_t i = 0; i < row.n; ++i) {
          const Likelihood<float> x = at(row, i);
          gradient[i] += factor * (divergence.at(x).qg - x.q * mean);
        }
      });
}

// gradient += factor * (q - p); -> sum p (log p - log q)
ATTAR_VECTOR_CLONES float add_kl_chunk(const RowPair& row, int64_t begin, int64_t end, float factor, float* gradient) {
  float lanes[kLanes] = {};
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) {
      const Likelihood<float> x = at(row, i + l);
      lanes[l] += x.p * (x.log_p - x.log_q);
      gradient[i + l] += factor * (x.q - x.p);
    }
  float sum = 0.0f;
  for (int64_t l = 0; l < kLanes; ++l) sum += lanes[l];
  for (; i < end; ++i) {
    const Likelihood<float> x = at(row, i);
    sum += x.p * (x.log_p - x.log_q);
    gradient[i] += factor * (x.q - x.p);
  }
  return sum;
}

ATTAR_VECTOR_CLONES float chunk_sum(const float* x, int64_t n) {
  float lanes[kLanes] = {}, sum = 0.0f;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] += x[i + l];
  for (int64_t l = 0; l < kLanes; ++l) sum += lanes[l];
  for (; i < n; ++i) sum += x[i];
  return sum;
}

struct EntropySums {
  float mass = 0.0f, energy = 0.0f;  // sum e, sum e (x - most) of e = exp(x - most)
};
ATTAR_VECTOR_CLONES EntropySums entropy_chunk(const float* x, int64_t n, float most) {
  float masses[kLanes] = {}, energies[kLanes] = {};
  EntropySums sums;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) {
      const float below = x[i + l] - most, e = fast_exp(below);
      masses[l] += e, energies[l] += e * below;
    }
  for (int64_t l = 0; l < kLanes; ++l) sums.mass += masses[l], sums.energy += energies[l];
  for (; i < n; ++i) {
    const float below = x[i] - most, e = fast_exp(below);
    sums.mass += e, sums.energy += e * below;
  }
  return sums;
}

// Adds up `chunk(begin, end)` over a row.
template <class Chunk>
void for_each_chunk(int64_t n, Chunk&& chunk) {
  for (int64_t begin = 0; begin < n; begin += kChunk) chunk(begin, std::min(n, begin + kChunk));
}

}  // namespace

double row_sum_exp(const float* x, int64_t n, float inverse_t, float most) {
  double sum = 0.0;
  for_each_chunk(n, [&](int64_t begin, int64_t end) {
    sum += static_cast<double>(sum_exp(x + begin, end - begin, inverse_t, most));
  });
  return sum;
}

double row_lse(const float* x, int64_t n, float inverse_t) {
  const float most = maximum(x, n) * inverse_t;
  return static_cast<double>(most) + std::log(row_sum_exp(x, n, inverse_t, most));
}

double row_entropy(const float* x, int64_t n) {
  const float most = maximum(x, n);
  double mass = 0.0, energy = 0.0;
  for_each_chunk(n, [&](int64_t begin, int64_t end) {
    const EntropySums part = entropy_chunk(x + begin, end - begin, most);
    mass += static_cast<double>(part.mass), energy += static_cast<double>(part.energy);
  });
  return std::log(mass) - energy / mass;
}

double row_sum(const float* x, int64_t n) {
  double sum = 0.0;
  for_each_chunk(n, [&](int64_t begin, int64_t end) { sum += static_cast<double>(chunk_sum(x + begin, end - begin)); });
  return sum;
}

ATTAR_VECTOR_CLONES void add_softmax(const float* x, int64_t n, float inverse_t, float offset, float factor,
                                     float constant, float* gradient) {
  for (int64_t i = 0; i < n; ++i) gradient[i] += factor * fast_exp(x[i] * inverse_t - offset) + constant;
}

ATTAR_VECTOR_CLONES void mix_rows(const float* x, float a, const float* y, float b, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = a * x[i] + b * y[i];
}

ATTAR_VECTOR_CLONES void row_probabilities(const RowPair& row, float* p, float* gap) {
  for (int64_t i = 0; i < row.n; ++i) {
    const Likelihood<float> x = at(row, i);
    p[i] = x.p;
    gap[i] = std::abs(x.p - x.q);
  }
}

DivergenceSums divergence_sums(const RowPair& row, const LossForm& form) {
  DivergenceSums sums;
  for_each_chunk(row.n, [&](int64_t begin, int64_t end) {
    const FloatSums part = chunk_sums(row, begin, end, form);
    sums.value += static_cast<double>(part.value), sums.mean += static_cast<double>(part.qg);
  });
  return sums;
}

void add_divergence_gradient(const RowPair& row, const LossForm& form, double mean, double factor, float* gradient) {
  add_gradient(row, form, static_cast<float>(mean), static_cast<float>(factor), gradient);
}

double add_forward_kl(const RowPair& row, double factor, float* gradient) {
  double kl = 0.0;
  for_each_chunk(row.n, [&](int64_t begin, int64_t end) {
    kl += static_cast<double>(add_kl_chunk(row, begin, end, static_cast<float>(factor), gradient));
  });
  return kl;
}

}  // namespace attar
