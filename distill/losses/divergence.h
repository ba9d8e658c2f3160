// The divergences between a teacher's p and a student's q, each written once: what one token adds to the value, and
// q * dDiv/dq there. With those, for q = softmax(z / t) and loss = t^2 * Div (Hinton et al. 2015, arXiv 1503.02531,
// section 2), d loss / d z_i = t * (qg_i - q_i * sum_j qg_j). Floats are for the sweeps over a row, doubles for
// buckets.
#pragma once

#include <algorithm>
#include <cmath>

#include "runtime/base/fast_math.h"

namespace attar {

template <class T>
struct Likelihood {
  T log_p, log_q, p, q;
};
template <class T>
struct Share {
  T value, qg;
};

inline float exponential(float x) {
  return fast_exp(x);
}
inline float logarithm(float x) {
  return fast_log(x);
}
inline double exponential(double x) {
  return std::exp(x);
}
inline double logarithm(double x) {
  return std::log(x);
}

// m = share * p + (1 - share) * q as seen from q: log(m / q) and q / m. No exponential is above 1.
template <class T>
struct Mixture {
  T log_ratio, inverse_ratio;
  Mixture(const Likelihood<T>& x, T share) {
    const T d = x.log_p - x.log_q, most = std::max(d, T(0)), student = exponential(-most);
    const T ratio = share * exponential(d - most) + (T(1) - share) * student;
    log_ratio = most + logarithm(ratio);
    inverse_ratio = student / ratio;
  }
};

struct ForwardKl {  // KL(p || q)
  template <class T>
  Share<T> at(const Likelihood<T>& x) const {
    return {x.p * (x.log_p - x.log_q), -x.p};
  }
};

struct ReverseKl {  // KL(q || p)
  template <class T>
  Share<T> at(const Likelihood<T>& x) const {
    const T value = x.q * (x.log_q - x.log_p);
    return {value, value};
  }
};

struct WeighedKl {  // forward * KL(p || q) + reverse * KL(q || p)
  double forward, reverse;
  template <class T>
  Share<T> at(const Likelihood<T>& x) const {
    const T d = x.log_p - x.log_q, f = T(forward), r = T(reverse);
    return {(f * x.p - r * x.q) * d, -f * x.p - r * x.q * d};
  }
};

struct GeneralizedJsd {  // beta * KL(p || m) + (1 - beta) * KL(q || m), m = beta * p + (1 - beta) * q; arXiv 2306.13649
  double beta;
  template <class T>
  Share<T> at(const Likelihood<T>& x) const {
    const T b = T(beta), log_ratio = Mixture<T>(x, b).log_ratio, of_student = -(T(1) - b) * x.q * log_ratio;
    return {b * x.p * (x.log_p - x.log_q - log_ratio) + of_student, of_student};
  }
};

struct SkewForwardKl {  // KL(p || alpha * p + (1 - alpha) * q); DistiLLM, arXiv 2402.03898, section 3.1
  double alpha;
  template <class T>
  Share<T> at(const Likelihood<T>& x) const {
    const Mixture<T> m(x, T(alpha));
    return {x.p * (x.log_p - x.log_q - m.log_ratio), -(T(1) - T(alpha)) * x.p * m.inverse_ratio};
  }
};

struct SkewReverseKl {  // KL(q || (1 - alpha) * p + alpha * q)
  double alpha;
  template <class T>
  Share<T> at(const Likelihood<T>& x) const {
    const Mixture<T> m(x, T(1) - T(alpha));
    return {-x.q * m.log_ratio, x.q * (-m.log_ratio - T(alpha) * m.inverse_ratio)};
  }
};

struct TotalVariation {  // half the sum of |p - q|
  template <class T>
  Share<T> at(const Likelihood<T>& x) const {
    const T d = x.q - x.p, half = d > T(0) ? T(0.5) : d < T(0) ? T(-0.5) : T(0);
    return {half * d, half * x.q};
  }
};

}  // namespace attar
