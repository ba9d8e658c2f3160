#include "recipes/run/folder/event_file.h"

#include <array>
#include <chrono>
#include <cstring>
#include <filesystem>

#include "runtime/base/error.h"

namespace attar {
namespace {

// Castagnoli's polynomial, bits reversed (RFC 3720, appendix B.4).
uint32_t crc32c(std::string_view bytes) {
  static const std::array<uint32_t, 256> kTable = [] {
    std::array<uint32_t, 256> table{};
    for (uint32_t i = 0; i < 256; ++i) {
      table[i] = i;
      for (int bit = 0; bit < 8; ++bit) table[i] = (table[i] >> 1) ^ ((table[i] & 1) != 0 ? 0x82F63B78u : 0u);
    }
    return table;
  }();
  uint32_t sum = ~0u;
  for (const char byte : bytes) sum = (sum >> 8) ^ kTable[(sum ^ static_cast<unsigned char>(byte)) & 255];
  return ~sum;
}

// A sum over data that holds sums is turned and lifted, so that it is none of theirs.
uint32_t masked(uint32_t sum) {
  return ((sum >> 15) | (sum << 17)) + 0xa282ead8u;
}

template <class Number>
std::string bytes_of(Number number) {
  std::string out(sizeof number, '\0');
  std::memcpy(out.data(), &number, sizeof number);
  return out;
}

std::string varint(uint64_t number) {
  std::string out;
  for (; number > 127; number >>= 7) out += static_cast<char>(number | 128);
  return out + static_cast<char>(number);
}

enum Wire { kVarint = 0, kEight = 1, kLength = 2, kFour = 5 };
std::string field(int number, Wire wire, const std::string& value) {
  return varint(static_cast<uint64_t>(number) << 3 | wire) + value;
}
std::string text_field(int number, const std::string& value) {
  return field(number, kLength, varint(value.size()) + value);
}

std::string wall_time() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return field(1, kEight, bytes_of(std::chrono::duration<double>(now).count()));
}

}  // namespace

EventFile::EventFile(const std::string& path) : path_(path) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  out_.open(path, std::ios::binary | std::ios::trunc);
  write(wall_time() + text_field(3, "brain.Event:2"));
}

void EventFile::add(int64_t step, const std::vector<Scalar>& scalars) {
  std::string summary;
  for (const Scalar& scalar : scalars)
    summary += text_field(1, text_field(1, scalar.name) + field(2, kFour, bytes_of(static_cast<float>(scalar.value))));
  write(wall_time() + field(2, kVarint, varint(static_cast<uint64_t>(step))) + text_field(5, summary));
}

void EventFile::write(std::string_view event) {
  const std::string length = bytes_of(static_cast<uint64_t>(event.size()));
  out_ << length << bytes_of(masked(crc32c(length))) << event << bytes_of(masked(crc32c(event)));
  if (!out_.flush())
    throw Error(ErrorKind::Resources, {.where = path_, .what = "cannot be written", .hint = "is the disk full?"});
}

}  // namespace attar
