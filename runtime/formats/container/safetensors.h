// safetensors: u64 header length, JSON header {name: {dtype, shape, data_offsets}}, data. Source: the format's README.
// Reader: one file or the shards of model.safetensors.index.json. Writer: one file, header padded to 8 bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/atomic_file.h"
#include "runtime/base/input_file.h"
#include "runtime/base/lazy_bytes.h"
#include "runtime/formats/blocks/quant_format.h"

namespace attar {

// `type` is F32, F16, BF16, F64, I64, I32, I16, I8; BOOL is read as I8; others are refused by name.
struct SafeTensor {
  std::string name;
  TensorType type;
  std::vector<int64_t> shape;
  LazyBytes bytes;
  bool is_boolean = false;  // read as I8; never a weight
};

// Masks and frequencies that old dumps carry: no weight, whatever an index says of it.
bool is_buffer(const SafeTensor& tensor);

class SafetensorsFile {
 public:
  static SafetensorsFile open(const std::string& path);
  // DIR/model.safetensors, or all shards of its index; every name once, or Error{Input}.
  static std::vector<SafetensorsFile> open_directory(const std::string& directory);

  const std::vector<SafeTensor>& tensors() const { return tensors_; }  // sorted by name
  const SafeTensor* find(const std::string& name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::string& path() const { return file_.path(); }

 private:
  InputFile file_;
  std::vector<SafeTensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

// `written`: told of each tensor's bytes once they are written; what it throws ends the writing.
void write_safetensors(const std::string& path, const std::vector<SafeTensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}},
                       const std::function<void(uint64_t bytes)>& written = {});
// The same without bringing it to the disk: no tensor is asked for afterwards, and file.commit() does the rest.
void write_safetensors(AtomicFile& file, const std::vector<SafeTensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}},
                       const std::function<void(uint64_t bytes)>& written = {});

}  // namespace attar
