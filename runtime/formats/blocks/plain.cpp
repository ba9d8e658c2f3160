// Types of one value each: floats and integers, little-endian.
#include <bit>
#include <cstring>

#include "runtime/formats/blocks/blocks.h"

namespace attar::blocks {
namespace {

template <class T>
T load(const std::byte* bytes, int64_t index) {
  T value;
  std::memcpy(&value, bytes + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

template <class T>
void decode_numbers(const std::byte* bytes, int64_t n, float* values) {
  for (int64_t i = 0; i < n; ++i) values[i] = static_cast<float>(load<T>(bytes, i));
}

}  // namespace

void decode_f32(const std::byte* bytes, int64_t n, float* values) {
  std::memcpy(values, bytes, static_cast<size_t>(n) * 4);
}
void decode_f16(const std::byte* bytes, int64_t n, float* values) {
  for (int64_t i = 0; i < n; ++i) values[i] = f16_to_f32(load<uint16_t>(bytes, i));
}
void decode_bf16(const std::byte* bytes, int64_t n, float* values) {
  for (int64_t i = 0; i < n; ++i) values[i] = bf16_to_f32(load<uint16_t>(bytes, i));
}
void decode_f64(const std::byte* bytes, int64_t n, float* values) {
  decode_numbers<double>(bytes, n, values);
}
void decode_i8(const std::byte* bytes, int64_t n, float* values) {
  decode_numbers<int8_t>(bytes, n, values);
}
void decode_i16(const std::byte* bytes, int64_t n, float* values) {
  decode_numbers<int16_t>(bytes, n, values);
}
void decode_i32(const std::byte* bytes, int64_t n, float* values) {
  decode_numbers<int32_t>(bytes, n, values);
}
void decode_i64(const std::byte* bytes, int64_t n, float* values) {
  decode_numbers<int64_t>(bytes, n, values);
}

void encode_f32(const float* values, int64_t n, std::byte* bytes) {
  std::memcpy(bytes, values, static_cast<size_t>(n) * 4);
}
void encode_f16(const float* values, int64_t n, std::byte* bytes) {
  for (int64_t i = 0; i < n; ++i) put_u16(bytes, 2 * i, f32_to_f16(values[i]));
}
void encode_bf16(const float* values, int64_t n, std::byte* bytes) {
  for (int64_t i = 0; i < n; ++i) put_u16(bytes, 2 * i, f32_to_bf16(values[i]));
}

}  // namespace attar::blocks
