#include "runtime/formats/blocks/quant_format.h"

#include <strings.h>

#include <cassert>
#include <string>

#include "runtime/formats/blocks/blocks.h"

namespace attar {
namespace {

using namespace blocks;

constexpr QuantFormat kFormats[] = {
    {TensorType::F32, "F32", 1, 4, decode_f32, true},
    {TensorType::F16, "F16", 1, 2, decode_f16, true},
    {TensorType::BF16, "BF16", 1, 2, decode_bf16, true},
    {TensorType::F64, "F64", 1, 8, decode_f64},
    {TensorType::I8, "I8", 1, 1, decode_i8},
    {TensorType::I16, "I16", 1, 2, decode_i16},
    {TensorType::I32, "I32", 1, 4, decode_i32},
    {TensorType::I64, "I64", 1, 8, decode_i64},
    {TensorType::Q4_0, "Q4_0", 32, 18, decode_codes<kQ4_0, 32>, true, &kQ4_0},
    {TensorType::Q4_1, "Q4_1", 32, 20, decode_codes<kQ4_1, 32>, true, &kQ4_1},
    {TensorType::Q5_0, "Q5_0", 32, 22, decode_codes<kQ5_0, 32>, true, &kQ5_0},
    {TensorType::Q5_1, "Q5_1", 32, 24, decode_codes<kQ5_1, 32>, true, &kQ5_1},
    {TensorType::Q8_0, "Q8_0", 32, 34, decode_codes<kQ8_0, 32>, true, &kQ8_0},
    {TensorType::Q8_1, "Q8_1", 32, 36, decode_codes<kQ8_1, 32>, false, &kQ8_1},
    {TensorType::IQ4_NL, "IQ4_NL", 32, 18, decode_codes<kIq4Nl, 32>, true, &kIq4Nl},
    {TensorType::Q2_K, "Q2_K", 256, 84, decode_codes<kQ2K, 256>, true, &kQ2K},
    {TensorType::Q3_K, "Q3_K", 256, 110, decode_codes<kQ3K, 256>, true, &kQ3K},
    {TensorType::Q4_K, "Q4_K", 256, 144, decode_codes<kQ4K, 256>, true, &kQ4K},
    {TensorType::Q5_K, "Q5_K", 256, 176, decode_codes<kQ5K, 256>, true, &kQ5K},
    {TensorType::Q6_K, "Q6_K", 256, 210, decode_codes<kQ6K, 256>, true, &kQ6K},
    {TensorType::Q8_K, "Q8_K", 256, 292, decode_q8_k},
    {TensorType::IQ4_XS, "IQ4_XS", 256, 136, decode_codes<kIq4Xs, 256>, true, &kIq4Xs},
    {TensorType::IQ2_XXS, "IQ2_XXS", 256, 66, decode_lattice<kIq2Xxs, 66>, true, nullptr, &kIq2Xxs},
    {TensorType::IQ2_XS, "IQ2_XS", 256, 74, decode_lattice<kIq2Xs, 74>, true, nullptr, &kIq2Xs},
    {TensorType::IQ2_S, "IQ2_S", 256, 82, decode_lattice<kIq2S, 82>, true, nullptr, &kIq2S},
    {TensorType::IQ3_XXS, "IQ3_XXS", 256, 98, decode_lattice<kIq3Xxs, 98>, true, nullptr, &kIq3Xxs},
    {TensorType::IQ3_S, "IQ3_S", 256, 110, decode_lattice<kIq3S, 110>, true, nullptr, &kIq3S},
    {TensorType::IQ1_S, "IQ1_S", 256, 50, decode_lattice<kIq1S, 50>, true, nullptr, &kIq1S},
    {TensorType::IQ1_M, "IQ1_M", 256, 56, decode_lattice<kIq1M, 56>, true, nullptr, &kIq1M},
    {TensorType::TQ1_0, "TQ1_0", 256, 54, decode_codes<kTq1_0, 256>, true, &kTq1_0},
    {TensorType::TQ2_0, "TQ2_0", 256, 66, decode_codes<kTq2_0, 256>, true, &kTq2_0},
    {TensorType::MXFP4, "MXFP4", 32, 17, decode_codes<kMxfp4, 32>, true, &kMxfp4},
    {TensorType::NVFP4, "NVFP4", 64, 36, decode_codes<kNvfp4, 64>, true, &kNvfp4},
    {TensorType::Q1_0, "Q1_0", 128, 18, decode_codes<kQ1_0, 128>, true, &kQ1_0},
    {TensorType::Q2_0, "Q2_0", 64, 18, decode_codes<kQ2_0, 64>, true, &kQ2_0},
};

}  // namespace

std::span<const QuantFormat> quant_formats() {
  return kFormats;
}

const QuantFormat* find_format(TensorType type) {
  for (const QuantFormat& format : kFormats)
    if (format.type == type) return &format;
  return nullptr;
}

const QuantFormat* find_format(std::string_view name) {
  const std::string text(name);
  for (const QuantFormat& format : kFormats)
    if (::strcasecmp(text.c_str(), format.name) == 0) return &format;
  return nullptr;
}

const QuantFormat& format_of(TensorType type) {
  const QuantFormat* format = find_format(type);
  assert(format != nullptr);
  return *format;
}

}  // namespace attar
