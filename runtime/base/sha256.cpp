#include "runtime/base/sha256.h"

#include <sodium/crypto_hash_sha256.h>

#include <new>

#include "runtime/base/input_file.h"

namespace attar {
namespace {

crypto_hash_sha256_state* as_state(std::array<std::byte, 128>& storage) {
  static_assert(sizeof(crypto_hash_sha256_state) <= sizeof(storage));
  return reinterpret_cast<crypto_hash_sha256_state*>(storage.data());
}

}  // namespace

Sha256::Sha256() {
  new (state_.data()) crypto_hash_sha256_state;
  crypto_hash_sha256_init(as_state(state_));
}

Sha256& Sha256::add(std::span<const std::byte> bytes) {
  crypto_hash_sha256_update(as_state(state_), reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  return *this;
}

Sha256& Sha256::add(std::string_view text) {
  return add(std::as_bytes(std::span(text.data(), text.size())));
}

std::string Sha256::hex() {
  std::array<unsigned char, crypto_hash_sha256_BYTES> digest{};
  crypto_hash_sha256_final(as_state(state_), digest.data());
  static const char* kHex = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : digest) {
    text += kHex[byte >> 4];
    text += kHex[byte & 15];
  }
  return text;
}

std::string sha256(std::string_view text) {
  return Sha256().add(text).hex();
}

std::string sha256_of_file(const std::string& path, const std::function<void(uint64_t)>& read) {
  Sha256 hash;
  InputFile(path).visit([&](std::span<const std::byte> part) {
    hash.add(part);
    if (read) read(part.size());
  });
  return hash.hex();
}

}  // namespace attar
