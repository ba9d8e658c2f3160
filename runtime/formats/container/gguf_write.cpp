// Writes GGUF: one file, or several of a size.
#include <algorithm>
#include <cstdio>

#include "runtime/base/atomic_file.h"
#include "runtime/base/checked.h"
#include "runtime/base/error.h"
#include "runtime/formats/container/gguf.h"

namespace attar {
namespace {

constexpr uint64_t kDefaultAlignment = 32;

GgufValue whole(GgufType type, int64_t v) {
  GgufValue value;
  value.type = type;
  value.integers = {v};
  return value;
}

template <class T>
GgufValue array(GgufType type, std::vector<T> GgufValue::*values, std::vector<T> v) {
  GgufValue value;
  value.type = type;
  value.is_array = true;
  value.*values = std::move(v);
  return value;
}

}  // namespace

GgufValue GgufValue::u16(uint16_t v) {
  return whole(GgufType::U16, v);
}
GgufValue GgufValue::u32(uint32_t v) {
  return whole(GgufType::U32, v);
}
GgufValue GgufValue::i32(int32_t v) {
  return whole(GgufType::I32, v);
}
GgufValue GgufValue::u64(uint64_t v) {
  return whole(GgufType::U64, static_cast<int64_t>(v));
}
GgufValue GgufValue::boolean(bool v) {
  return whole(GgufType::Bool, v ? 1 : 0);
}
GgufValue GgufValue::f32(float v) {
  GgufValue value;
  value.type = GgufType::F32;
  value.reals = {static_cast<double>(v)};
  return value;
}
GgufValue GgufValue::string(std::string v) {
  GgufValue value;
  value.type = GgufType::String;
  value.strings = {std::move(v)};
  return value;
}
GgufValue GgufValue::array_of(std::vector<std::string> v) {
  return array(GgufType::String, &GgufValue::strings, std::move(v));
}
GgufValue GgufValue::array_of(std::vector<float> v) {
  return array(GgufType::F32, &GgufValue::reals, std::vector<double>(v.begin(), v.end()));
}
GgufValue GgufValue::array_of_i32(std::vector<int64_t> v) {
  return array(GgufType::I32, &GgufValue::integers, std::move(v));
}
GgufValue GgufValue::array_of_u32(std::vector<int64_t> v) {
  return array(GgufType::U32, &GgufValue::integers, std::move(v));
}

namespace {

template <class T>
void put(AtomicFile& file, T value) {
  file.write(std::as_bytes(std::span(&value, 1)));
}

void put_string(AtomicFile& file, const std::string& text) {
  put<uint64_t>(file, text.size());
  file.write(text);
}

bool is_real(GgufType type) {
  return type == GgufType::F32 || type == GgufType::F64;
}

void put_element(AtomicFile& file, const GgufValue& value, size_t i) {
  switch (value.type) {
    case GgufType::U8:
    case GgufType::I8:
    case GgufType::Bool:
      return put(file, static_cast<uint8_t>(value.integers[i]));
    case GgufType::U16:
    case GgufType::I16:
      return put(file, static_cast<uint16_t>(value.integers[i]));
    case GgufType::U32:
    case GgufType::I32:
      return put(file, static_cast<uint32_t>(value.integers[i]));
    case GgufType::U64:
    case GgufType::I64:
      return put(file, static_cast<uint64_t>(value.integers[i]));
    case GgufType::F32:
      return put(file, static_cast<float>(value.reals[i]));
    case GgufType::F64:
      return put(file, value.reals[i]);
    case GgufType::String:
      return put_string(file, value.strings[i]);
    case GgufType::Array:
      break;
  }
}

void put_entry(AtomicFile& file, const GgufEntry& entry) {
  put_string(file, entry.key);
  const GgufValue& value = entry.value;
  const size_t count = value.type == GgufType::String ? value.strings.size()
                       : is_real(value.type)          ? value.reals.size()
                                                      : value.integers.size();
  if (value.is_array) {
    put(file, static_cast<uint32_t>(GgufType::Array));
    put(file, static_cast<uint32_t>(value.type));
    put<uint64_t>(file, count);
  } else {
    put(file, static_cast<uint32_t>(value.type));
  }
  for (size_t i = 0; i < count; ++i) put_element(file, value, i);
}

void pad(AtomicFile& file, uint64_t alignment) {
  static constexpr char kZeros[256] = {};
  for (uint64_t rest = (alignment - file.size_bytes() % alignment) % alignment; rest > 0;) {
    const uint64_t take = std::min<uint64_t>(rest, sizeof kZeros);
    file.write(std::string_view(kZeros, take));
    rest -= take;
  }
}

}  // namespace

void write_gguf(const std::string& path, const std::vector<GgufEntry>& entries, const std::vector<GgufTensor>& tensors,
                const std::function<void(uint64_t bytes)>& written) {
  AtomicFile file(path);
  file.write("GGUF");
  put<uint32_t>(file, 3);
  put<uint64_t>(file, tensors.size());
  put<uint64_t>(file, entries.size());
  uint64_t alignment = kDefaultAlignment;
  for (const GgufEntry& entry : entries) {
    put_entry(file, entry);
    if (entry.key == "general.alignment") alignment = static_cast<uint64_t>(entry.value.integers.at(0));
  }
  uint64_t offset = 0;
  for (const GgufTensor& tensor : tensors) {
    put_string(file, tensor.name);
    put(file, static_cast<uint32_t>(tensor.shape.size()));
    for (auto extent = tensor.shape.rbegin(); extent != tensor.shape.rend(); ++extent)
      put(file, static_cast<uint64_t>(*extent));
    put(file, static_cast<int32_t>(tensor.type));
    put(file, offset);
    offset = checked_add(offset, round_up(tensor.bytes.size(), alignment, path), path);
  }
  pad(file, alignment);
  std::vector<std::byte> buffer;
  for (const GgufTensor& tensor : tensors) {
    file.write(tensor.bytes.read(buffer));
    pad(file, alignment);
    if (written) written(tensor.bytes.size());
  }
  file.commit();
}

uint64_t gguf_header_bytes(const std::vector<GgufEntry>& entries) {
  static constexpr uint64_t kScalarBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};  // by GgufType
  uint64_t bytes = 4 + 4 + 8 + 8;                                                      // magic, version, two counts
  for (const GgufEntry& entry : entries) {
    const GgufValue& value = entry.value;
    bytes += 8 + entry.key.size() + (value.is_array ? 4 + 4 + 8 : 4);
    for (const std::string& text : value.strings) bytes += 8 + text.size();
    bytes += (value.integers.size() + value.reals.size()) * kScalarBytes[static_cast<size_t>(value.type)];
  }
  return bytes;
}

uint64_t gguf_tensor_info_bytes(const std::string& name, size_t dimensions) {
  return 8 + name.size() + 4 + 8 * dimensions + 4 + 8;
}

std::vector<std::string> write_gguf_split(const std::string& path, const std::vector<GgufEntry>& entries,
                                          const std::vector<GgufTensor>& tensors, uint64_t limit_bytes,
                                          const std::function<void(uint64_t bytes)>& written) {
  const auto split_entries = [&](size_t part, size_t count) {
    return std::vector<GgufEntry>{{"split.no", GgufValue::u16(static_cast<uint16_t>(part))},
                                  {"split.count", GgufValue::u16(static_cast<uint16_t>(count))},
                                  {"split.tensors.count", GgufValue::i32(static_cast<int32_t>(tensors.size()))}};
  };
  std::vector<std::vector<GgufTensor>> parts(1);
  const uint64_t own_bytes = gguf_header_bytes(split_entries(0, 0)) + kDefaultAlignment;  // and its padding
  uint64_t bytes = gguf_header_bytes(entries) + own_bytes;
  for (const GgufTensor& tensor : tensors) {
    const uint64_t size = round_up(tensor.bytes.size(), kDefaultAlignment, path) +
                          gguf_tensor_info_bytes(tensor.name, tensor.shape.size());
    if (limit_bytes > 0 && !parts.back().empty() && bytes + size > limit_bytes) {
      parts.emplace_back();
      bytes = own_bytes;
    }
    parts.back().push_back(tensor);
    bytes += size;
  }
  if (parts.size() == 1) {
    write_gguf(path, entries, tensors, written);
    return {path};
  }
  if (parts.size() > kMaxGgufParts)
    throw usage_error(path, "would take too many files", "at most " + std::to_string(kMaxGgufParts),
                      std::to_string(parts.size()), "a larger split size");
  std::vector<std::string> paths;
  for (size_t i = 0; i < parts.size(); ++i) {
    std::vector<GgufEntry> own = i == 0 ? entries : std::vector<GgufEntry>{};
    for (GgufEntry& entry : split_entries(i, parts.size())) own.push_back(std::move(entry));
    paths.push_back(gguf_part_path(path, i + 1, parts.size()));
    write_gguf(paths.back(), own, parts[i], written);
  }
  return paths;
}

}  // namespace attar
