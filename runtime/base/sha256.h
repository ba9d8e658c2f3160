// SHA-256 by libsodium, as lower-case hexadecimal.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace attar {

class Sha256 {
 public:
  Sha256();
  Sha256& add(std::span<const std::byte> bytes);
  Sha256& add(std::string_view text);
  std::string hex();  // ends the hash

 private:
  alignas(64) std::array<std::byte, 128> state_;  // crypto_hash_sha256_state, kept out of this header
};

std::string sha256(std::string_view text);
// `read` is told of the bytes of each part; what it throws comes out.
std::string sha256_of_file(const std::string& path, const std::function<void(uint64_t bytes)>& read = {});

}  // namespace attar
