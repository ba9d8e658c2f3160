// What a model file holds: its shape, its tokenizer, its tensor types.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "runtime/formats/model_file.h"

namespace attar::runtime {

struct TypeSum {
  int64_t tensors = 0, weights = 0;
  uint64_t bytes = 0;
  uint64_t resident_bytes = 0;  // once loaded as it is deployed
};
std::map<std::string, TypeSum> by_type(const ModelFile& file);

// The JSON document of `inspect` (runtime/cli/JSON.md).
std::string inspect_document(const ModelFile& file);

}  // namespace attar::runtime
