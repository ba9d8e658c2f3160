// One file of work that a later run may take up: tensors and a JSON value, with all that they depend on, as safetensors
// under a SHA-256 of everything that is read of it. Written aside and renamed; what is read is never believed
// unchecked.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/formats/container/safetensors.h"

namespace attar {

// Raised when what the files hold changes, or the numbers that an option gives: other versions are not read.
inline constexpr int kKeptVersion = 4;

// What kept work depends on: names that people know, and values or hashes.
using Identity = std::vector<std::pair<std::string, std::string>>;
// What every number depends on: this version of Attar, and which kernels multiply here.
Identity program_identity();
std::string identity_hash(const Identity& identity);
// "model, target_size (60MB, not 50MB)": hashes by name alone, short values with both; "" where they are the same.
std::string differences(const Identity& kept, const Identity& wanted);

struct KeptFile {
  std::string kind;  // what the file holds, such as "codes"
  Identity identity;
  std::string json;
  std::vector<SafeTensor> tensors{};  // whose bytes outlive a write; those that were read lie in the file
};
void write_kept(const std::string& path, KeptFile file);
// Error{Input}: it is damaged, holds something else, or is of another version.
KeptFile read_kept(const std::string& path, const std::string& kind);

// The same of LibTorch's tensors, f32 or f64.
void write_kept(const std::string& path, const std::string& kind, const Identity& identity, const std::string& json,
                const std::map<std::string, at::Tensor>& tensors);
std::map<std::string, at::Tensor> tensors_of(const KeptFile& file, const std::string& path);
// A JSON value that is a list of `n` whole numbers >= 0; n = 0: any number of them.
std::vector<int64_t> number_list(const std::string& json, size_t n, const std::string& path);

// One file of a work that keeps no others. "": nothing is kept.
struct KeptAt {
  std::string path{};
  Identity identity{};
};

// For what a checked file holds that cannot be.
Error damaged_kept(const std::string& path, const std::string& part);

}  // namespace attar
