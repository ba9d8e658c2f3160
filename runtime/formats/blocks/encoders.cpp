// The encoders apart from the decoders: what only runs models links none of them.
#include <cassert>

#include "runtime/formats/blocks/blocks.h"

namespace attar {
namespace {

using namespace blocks;

constexpr struct {
  TensorType type;
  void (*encode)(const float*, int64_t, std::byte*);
} kEncoders[] = {
    {TensorType::F32, encode_f32},
    {TensorType::F16, encode_f16},
    {TensorType::BF16, encode_bf16},
    {TensorType::Q4_0, encode_q4_0},
    {TensorType::Q4_1, encode_q4_1},
    {TensorType::Q5_0, encode_q5_0},
    {TensorType::Q5_1, encode_q5_1},
    {TensorType::Q8_0, encode_q8_0},
    {TensorType::IQ4_NL, encode_iq4_nl},
    {TensorType::Q2_K, encode_q2_k},
    {TensorType::Q3_K, encode_q3_k},
    {TensorType::Q4_K, encode_q4_k},
    {TensorType::Q5_K, encode_q5_k},
    {TensorType::Q6_K, encode_q6_k},
    {TensorType::IQ4_XS, encode_iq4_xs},
    {TensorType::IQ2_XXS, encode_lattice<kIq2Xxs, 66>},
    {TensorType::IQ2_XS, encode_lattice<kIq2Xs, 74>},
    {TensorType::IQ2_S, encode_lattice<kIq2S, 82>},
    {TensorType::IQ3_XXS, encode_lattice<kIq3Xxs, 98>},
    {TensorType::IQ3_S, encode_lattice<kIq3S, 110>},
    {TensorType::IQ1_S, encode_lattice<kIq1S, 50>},
    {TensorType::IQ1_M, encode_lattice<kIq1M, 56>},
    {TensorType::TQ1_0, encode_tq1_0},
    {TensorType::TQ2_0, encode_tq2_0},
    {TensorType::MXFP4, encode_mxfp4},
    {TensorType::NVFP4, encode_nvfp4},
    {TensorType::Q1_0, encode_q1_0},
    {TensorType::Q2_0, encode_q2_0},
};

}  // namespace

void QuantFormat::encode(const float* values, int64_t n_blocks, std::byte* bytes) const {
  for (const auto& row : kEncoders)
    if (row.type == type) return row.encode(values, n_blocks, bytes);
  assert(!written);
}

}  // namespace attar
