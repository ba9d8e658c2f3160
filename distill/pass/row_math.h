// The inner loops of a training step over one row of floats, forward and backward in closed form. Rows of a tensor in
// bf16 go through rows of f32 (Row).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace attar {

// RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467, eq. 4): y = x * inverse * w, inverse = 1 / sqrt(mean x^2 + eps).
// x, w, y (n). -> inverse
float norm_row(const float* x, const float* w, int64_t n, double epsilon, float* y);
// by_x += and by_w += what dy (n) says, with the inverse that norm_row gave.
void norm_row_backward(const float* by_y, const float* x, const float* w, float inverse, int64_t n, float* by_x,
                       float* by_w);

// RoPE of one head x (2 * half), pairs (j, j + half), in place; backward: by the angle's negative.
void rotate_row(float* x, const float* cosine, const float* sine, int64_t half, bool backward);

// out = act(gate) * up, act silu or the tanh form of gelu. All (n).
void gate_row(const float* gate, const float* up, int64_t n, bool gelu, float* out);
// Also gives `out` again. by_gate may be gate, by_up may be up.
void gate_row_backward(const float* gate, const float* up, const float* by_out, int64_t n, bool gelu, float* out,
                       float* by_gate, float* by_up);

void add_row(const float* x, int64_t n, float* sum);  // sum += x
void add_bf16_row(const uint16_t* x, int64_t n, float* sum);
void floats_of_bf16(const uint16_t* x, int64_t n, float* out);
void bf16_of_floats(const float* x, int64_t n, uint16_t* out);  // to nearest even; NaN stays NaN

// A row of a contiguous tensor (.., n) of f32 or bf16, as floats: of f32 its own memory, of bf16 a copy, which
// `store` writes back.
class Row {
 public:
  explicit Row(const at::Tensor& tensor);
  float* load(int64_t row);
  float* blank(int64_t row);  // to be written whole: nothing is read
  void store();               // the row that was loaded
  void read(int64_t row, float* out) const;
  void write(int64_t row, const float* values) const;

 private:
  float* floats_ = nullptr;
  uint16_t* halves_ = nullptr;
  int64_t n_, row_ = 0;
  std::vector<float> copy_;
};

}  // namespace attar
