// GGUF, the deployable format: reader for versions 2 and 3, writer for 3. Little-endian.
//
//   "GGUF" u32 version  u64 n_tensors  u64 n_keys
//   n_keys    x { string key; u32 value type; value }          string = u64 length + bytes; array = u32 type u64 n
//   n_tensors x { string name; u32 n_dims; u64 ne[n_dims] (fastest first); u32 type; u64 offset }
//   padding to general.alignment (default 32); tensor data, each tensor padded, contiguous in listing order
//
// Source: the GGUF specification of ggml (docs/gguf.md). A file may be one of several
// (NAME-00001-of-00003.gguf, keys split.*, of llama.cpp's gguf-split): the first has the keys, each has tensors of its
// own. Non-goal: big-endian files.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "runtime/base/input_file.h"
#include "runtime/base/lazy_bytes.h"
#include "runtime/formats/blocks/quant_format.h"

namespace attar {

// Arrays keep their element type: integer arrays as int64/uint64 widened, with the file's own type beside them.
enum class GgufType : uint32_t {
  U8 = 0,
  I8 = 1,
  U16 = 2,
  I16 = 3,
  U32 = 4,
  I32 = 5,
  F32 = 6,
  Bool = 7,
  String = 8,
  Array = 9,
  U64 = 10,
  I64 = 11,
  F64 = 12,
};

struct GgufValue {
  GgufType type = GgufType::U32;  // of the value, or of the elements when is_array
  bool is_array = false;
  // scalars are arrays of one; integers and bools in `integers`, floats in `reals`, strings in `strings`
  std::vector<int64_t> integers;  // U64 above 2^63-1 is refused by the reader
  std::vector<double> reals;
  std::vector<std::string> strings;

  static GgufValue u16(uint16_t v);
  static GgufValue u32(uint32_t v);
  static GgufValue i32(int32_t v);
  static GgufValue u64(uint64_t v);
  static GgufValue f32(float v);
  static GgufValue boolean(bool v);
  static GgufValue string(std::string v);
  static GgufValue array_of(std::vector<std::string> v);
  static GgufValue array_of(std::vector<float> v);
  static GgufValue array_of_i32(std::vector<int64_t> v);
  static GgufValue array_of_u32(std::vector<int64_t> v);
};

// What a float32 of a file was meant to be: 1e-05, not 9.999999747378752e-06.
double shortest_decimal(double value);

struct GgufEntry {
  std::string key;
  GgufValue value;
};

struct GgufTensor {
  std::string name;
  TensorType type;
  std::vector<int64_t> shape;  // (out, in): the file's ne reversed
  LazyBytes bytes;             // of the file (reader) or the caller's memory (writer)
};

// A parsed file. Everything is checked against the file's length before it is used: lying counts, lengths, offsets,
// types and shapes are Error{Input} naming the file and the key or tensor.
class GgufFile {
 public:
  // All parts of a file that is one of several, whichever of them `path` is.
  static GgufFile open(const std::string& path);
  // A file that is whole. Error{Input}: it is one of several.
  static GgufFile open(InputFile file);

  const std::string& path() const { return path_; }
  const std::vector<GgufEntry>& entries() const { return entries_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* find_tensor(std::string_view name) const;
  const GgufValue* find(std::string_view key) const;
  std::vector<std::string> take_strings(std::string_view key);  // those of a value, which has none afterwards
  uint64_t size_bytes() const;                                  // of all parts

  // A value of the wanted kind; the default when the key is absent; Error{Input} when it has another kind.
  int64_t integer(std::string_view key, std::optional<int64_t> fallback = {}) const;
  double real(std::string_view key, std::optional<double> fallback = {}) const;
  bool boolean(std::string_view key, std::optional<bool> fallback = {}) const;
  std::string string(std::string_view key, std::optional<std::string> fallback = {}) const;

 private:
  static GgufFile open_one(InputFile opened);
  void add_part(GgufFile part);

  std::string path_;
  std::vector<InputFile> parts_;
  std::vector<GgufEntry> entries_;  // in file order
  std::vector<GgufTensor> tensors_;
  std::vector<uint32_t> keys_by_name_;     // sorted index
  std::vector<uint32_t> tensors_by_name_;  // sorted index
};

// NAME.gguf -> NAME-00002-of-00003.gguf, for part 2 of 3.
std::string gguf_part_path(const std::string& path, size_t part, size_t count);
inline constexpr size_t kMaxGgufParts = 65535;  // split.count has 16 bits

// Bytes before the tensors' data: magic, version, counts and keys; and what one tensor adds.
uint64_t gguf_header_bytes(const std::vector<GgufEntry>& entries);
uint64_t gguf_tensor_info_bytes(const std::string& name, size_t dimensions);

// Writes version 3, aside and renamed. Tensors are read one at a time. Same input, same bytes. `written` is told of
// each tensor's bytes once they are in the file; what it throws ends the writing, of which nothing is left.
void write_gguf(const std::string& path, const std::vector<GgufEntry>& entries, const std::vector<GgufTensor>& tensors,
                const std::function<void(uint64_t bytes)>& written = {});

// Files of at most `limit_bytes` (0: of any size), but for tensors that are larger alone; one file of that name when
// all fits into it.
// -> the paths written.
std::vector<std::string> write_gguf_split(const std::string& path, const std::vector<GgufEntry>& entries,
                                          const std::vector<GgufTensor>& tensors, uint64_t limit_bytes,
                                          const std::function<void(uint64_t bytes)>& written = {});

}  // namespace attar
