// Numbers of a few bits each, lowest bits first. A stream ends at a whole byte.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

namespace attar {

class BitWriter {
 public:
  explicit BitWriter(std::vector<uint8_t>& bytes) : bytes_(bytes) {}  // behind what is there

  void add(uint32_t value, int bits) {  // the low `bits` of it
    for (int i = 0; i < bits; ++i, ++used_) {
      if (used_ % 8 == 0) bytes_.push_back(0);
      bytes_.back() = static_cast<uint8_t>(bytes_.back() | ((value >> i & 1u) << (used_ % 8)));
    }
  }
  void add_unary(uint32_t value) {  // as many ones, then a zero
    for (uint32_t i = 0; i < value; ++i) add(1, 1);
    add(0, 1);
  }
  void add_rice(uint32_t value, int low_bits) {  // Rice 1979: the high part in unary
    add_unary(value >> low_bits);
    add(value, low_bits);
  }
  void add_gamma(uint32_t value) {  // Elias 1975; value > 0
    const int bits = static_cast<int>(std::bit_width(value)) - 1;
    add_unary(static_cast<uint32_t>(bits));
    add(value, bits);
  }

 private:
  std::vector<uint8_t>& bytes_;
  int64_t used_ = 0;
};

// Past the end it gives zeros and is no longer good().
class BitReader {
 public:
  explicit BitReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  uint32_t take(int bits) {
    uint32_t value = 0;
    for (int i = 0; i < bits; ++i) value |= bit() << i;
    return value;
  }
  uint32_t take_unary() {
    uint32_t value = 0;
    while (bit() != 0) ++value;
    return value;
  }
  uint32_t take_rice(int low_bits) {
    const uint32_t high = take_unary();
    if (high >> (31 - low_bits) != 0) good_ = false;
    return (high << low_bits) | take(low_bits);
  }
  uint32_t take_gamma() {
    const uint32_t bits = take_unary();
    if (bits > 31) {
      good_ = false;
      return 1;
    }
    return (1u << bits) | take(static_cast<int>(bits));
  }
  bool good() const { return good_; }
  std::span<const uint8_t> rest() const { return bytes_.subspan((used_ + 7) / 8); }

 private:
  uint32_t bit() {
    if (used_ >= bytes_.size() * 8) {
      good_ = false;
      return 0;
    }
    const uint32_t value = bytes_[used_ / 8] >> (used_ % 8) & 1u;
    ++used_;
    return value;
  }

  std::span<const uint8_t> bytes_;
  size_t used_ = 0;
  bool good_ = true;
};

}  // namespace attar
