#include "distill/pass/row_math.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/fast_math.h"
#include "runtime/base/half.h"

namespace attar {
namespace {

constexpr int64_t kLanes = 16;

// Sums of sixteen lanes, in an order that no instruction set changes.
ATTAR_VECTOR_CLONES float sum_of_squares(const float* x, int64_t n) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] += x[i + l] * x[i + l];
  float sum = 0.0f;
  for (int64_t l = 0; l < kLanes; ++l) sum += lanes[l];
  for (; i < n; ++i) sum += x[i] * x[i];
  return sum;
}

ATTAR_VECTOR_CLONES float sum_of_three(const float* a, const float* b, const float* c, int64_t n) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] += a[i + l] * b[i + l] * c[i + l];
  float sum = 0.0f;
  for (int64_t l = 0; l < kLanes; ++l) sum += lanes[l];
  for (; i < n; ++i) sum += a[i] * b[i] * c[i];
  return sum;
}

ATTAR_VECTOR_CLONES void scale(const float* x, const float* w, float factor, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * factor * w[i];
}

ATTAR_VECTOR_CLONES void add_norm_gradients(const float* by_y, const float* x, const float* w, float inverse,
                                            float along, int64_t n, float* by_x, float* by_w) {
  for (int64_t i = 0; i < n; ++i) {
    const float normal = x[i] * inverse;
    by_x[i] += inverse * by_y[i] * w[i] - normal * along;
    by_w[i] += by_y[i] * normal;
  }
}

// 1 / (1 + exp(-x))
inline float logistic(float x) {
  const float e = fast_exp(-(x < 0.0f ? -x : x));
  return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

// gelu in its tanh form is x * logistic(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3).
constexpr float kTwice = 1.5957691216057308f, kCubic = 0.044715f;

ATTAR_VECTOR_CLONES void silu_gate(const float* gate, const float* up, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = gate[i] * logistic(gate[i]) * up[i];
}
ATTAR_VECTOR_CLONES void gelu_gate(const float* gate, const float* up, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    const float g = gate[i];
    out[i] = g * logistic(kTwice * (g + kCubic * g * g * g)) * up[i];
  }
}

ATTAR_VECTOR_CLONES void silu_gate_backward(const float* gate, const float* up, const float* by_out, int64_t n,
                                            float* out, float* by_gate, float* by_up) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const float g = gate[i], u = up[i], s = logistic(g), act = g * s;
    out[i] = act * u;
    by_gate[i] = by_out[i] * u * (s + act * (1.0f - s));
    by_up[i] = by_out[i] * act;
  }
}
ATTAR_VECTOR_CLONES void gelu_gate_backward(const float* gate, const float* up, const float* by_out, int64_t n,
                                            float* out, float* by_gate, float* by_up) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const float g = gate[i], u = up[i], s = logistic(kTwice * (g + kCubic * g * g * g)), act = g * s;
    const float slope = kTwice * (1.0f + 3.0f * kCubic * g * g);  // of the logistic's argument
    out[i] = act * u;
    by_gate[i] = by_out[i] * u * (s + act * (1.0f - s) * slope);
    by_up[i] = by_out[i] * act;
  }
}

ATTAR_VECTOR_CLONES void rotate(float* low, float* high, const float* cosine, const float* sine, float sign,
                                int64_t half) {
  for (int64_t j = 0; j < half; ++j) {
    const float a = low[j], b = high[j], c = cosine[j], s = sign * sine[j];
    low[j] = a * c - b * s;
    high[j] = b * c + a * s;
  }
}

}  // namespace

float norm_row(const float* x, const float* w, int64_t n, double epsilon, float* y) {
  const auto inverse =
      static_cast<float>(1.0 / std::sqrt(static_cast<double>(sum_of_squares(x, n)) / static_cast<double>(n) + epsilon));
  scale(x, w, inverse, n, y);
  return inverse;
}

void norm_row_backward(const float* by_y, const float* x, const float* w, float inverse, int64_t n, float* by_x,
                       float* by_w) {
  const float along = sum_of_three(by_y, w, x, n) * inverse * inverse / static_cast<float>(n);
  add_norm_gradients(by_y, x, w, inverse, along, n, by_x, by_w);
}

void rotate_row(float* x, const float* cosine, const float* sine, int64_t half, bool backward) {
  rotate(x, x + half, cosine, sine, backward ? -1.0f : 1.0f, half);
}

void gate_row(const float* gate, const float* up, int64_t n, bool gelu, float* out) {
  (gelu ? gelu_gate : silu_gate)(gate, up, n, out);
}
void gate_row_backward(const float* gate, const float* up, const float* by_out, int64_t n, bool gelu, float* out,
                       float* by_gate, float* by_up) {
  (gelu ? gelu_gate_backward : silu_gate_backward)(gate, up, by_out, n, out, by_gate, by_up);
}

ATTAR_VECTOR_CLONES void add_row(const float* x, int64_t n, float* sum) {
  for (int64_t i = 0; i < n; ++i) sum[i] += x[i];
}

ATTAR_VECTOR_CLONES void add_bf16_row(const uint16_t* x, int64_t n, float* sum) {
  for (int64_t i = 0; i < n; ++i) sum[i] += bf16_to_f32(x[i]);
}
ATTAR_VECTOR_CLONES void floats_of_bf16(const uint16_t* x, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = bf16_to_f32(x[i]);
}
ATTAR_VECTOR_CLONES void bf16_of_floats(const float* x, int64_t n, uint16_t* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = f32_to_bf16(x[i]);
}

Row::Row(const at::Tensor& tensor) : n_(tensor.size(-1)) {
  if (tensor.scalar_type() == at::kFloat) {
    floats_ = tensor.mutable_data_ptr<float>();
  } else {
    halves_ = reinterpret_cast<uint16_t*>(tensor.mutable_data_ptr<at::BFloat16>());
    copy_.resize(static_cast<size_t>(n_));
  }
}
float* Row::load(int64_t row) {
  float* x = blank(row);
  if (halves_ != nullptr) read(row, x);
  return x;
}
float* Row::blank(int64_t row) {
  row_ = row;
  return halves_ == nullptr ? floats_ + row * n_ : copy_.data();
}
void Row::store() {
  if (halves_ != nullptr) write(row_, copy_.data());
}
void Row::read(int64_t row, float* out) const {
  if (halves_ != nullptr)
    floats_of_bf16(halves_ + row * n_, n_, out);
  else
    std::copy_n(floats_ + row * n_, n_, out);
}
void Row::write(int64_t row, const float* values) const {
  if (halves_ != nullptr)
    bf16_of_floats(values, n_, halves_ + row * n_);
  else
    std::copy_n(values, n_, floats_ + row * n_);
}

}  // namespace attar
