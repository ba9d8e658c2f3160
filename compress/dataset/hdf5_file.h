// HDF5 without its headers: a file that is made in memory, and where the arrays of one on disk lie. Plain arrays,
// neither filtered nor in chunks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace attar {

enum class ElementType { I8, U8, I32, I64, F32 };
template <class T>
constexpr ElementType element_type() {
  if constexpr (std::is_same_v<T, int8_t>) return ElementType::I8;
  if constexpr (std::is_same_v<T, uint8_t>) return ElementType::U8;
  if constexpr (std::is_same_v<T, int32_t>) return ElementType::I32;
  if constexpr (std::is_same_v<T, int64_t>) return ElementType::I64;
  return ElementType::F32;
}

// A disk that fails under HDF5's own writes leaves it with a file that it cannot close, and a crash when the process
// ends: so it writes into memory. The same arrays give the same bytes. Error{Resources}: there is none left.
class Hdf5Image {
 public:
  // `path` stands in messages. The first `user_block_bytes` are the caller's.
  Hdf5Image(const std::string& path, size_t user_block_bytes);
  ~Hdf5Image();
  Hdf5Image(const Hdf5Image&) = delete;
  Hdf5Image& operator=(const Hdf5Image&) = delete;

  // The values of all parts one after another, as rows of `columns` where that is not 0.
  template <class T>
  void add_parts(const char* name, const std::vector<std::span<const T>>& parts, uint64_t columns = 0) {
    std::vector<std::span<const std::byte>> bytes;
    bytes.reserve(parts.size());
    for (const std::span<const T> part : parts) bytes.push_back(std::as_bytes(part));
    add_array(name, element_type<T>(), bytes, columns);
  }
  template <class T>
  void add(const char* name, const std::vector<T>& values) {
    add_array(name, element_type<T>(), {std::as_bytes(std::span<const T>(values))}, 0);
  }
  void add_text(const char* name, const std::string& text);  // an attribute of the file

  // The whole file. Nothing may be added behind.
  std::span<std::byte> bytes();

 private:
  void add_array(const char* name, ElementType type, const std::vector<std::span<const std::byte>>& parts,
                 uint64_t columns);

  struct Made;
  std::unique_ptr<Made> made_;
};

// For who reads values himself, any of them and as often as he likes. Every Error{Input} names file and array.
class Hdf5Arrays {
 public:
  explicit Hdf5Arrays(const std::string& path);
  ~Hdf5Arrays();
  Hdf5Arrays(const Hdf5Arrays&) = delete;
  Hdf5Arrays& operator=(const Hdf5Arrays&) = delete;

  struct Place {
    uint64_t offset_bytes = 0;  // from the beginning of the file
    uint64_t count = 0;         // values
  };
  bool has(const char* name) const;
  template <class T>
  Place place(const char* name) const {
    return place_of(name, element_type<T>(), sizeof(T));
  }
  bool has_text(const char* name) const;
  std::string text(const char* name) const;

 private:
  Place place_of(const char* name, ElementType type, uint64_t element_bytes) const;

  struct Opened;
  std::unique_ptr<Opened> opened_;
};

}  // namespace attar
