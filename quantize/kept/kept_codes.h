// The codes of a quantization on disk, a part a file, in the order in which they are made: the embedding where it comes
// before the walk, each layer, the head. A run that is broken off goes on behind the last whole one.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "compress/kept/kept_parts.h"
#include "quantize/quantize.h"

namespace attar {

inline constexpr const char* kCodesKind = "codes";

// What decides the plan and the codes.
Identity codes_identity(const std::string& model_hash, const std::vector<TokenBatch>& text,
                        const QuantizeOptions& options);

class KeptCodes {
 public:
  // Errors and an empty folder as KeptParts has them.
  KeptCodes(std::string folder, Identity identity) : parts_(std::move(folder), kCodesKind, std::move(identity)) {}

  using Tensors = std::map<std::string, QuantizedTensor>;
  struct Part {
    Tensors tensors{};
    std::optional<BlockLoss> loss{};  // of a layer that learned
  };
  // nullopt: the part is not there.
  std::optional<Part> take(const std::string& part, const QuantizePlan& plan) const;
  // Those of `tensors` that are named.
  void keep(const std::string& part, const QuantizePlan& plan, const Tensors& tensors,
            const std::vector<std::string>& names, const std::optional<BlockLoss>& loss = {}) const;

  const std::string& folder() const { return parts_.folder(); }

 private:
  KeptParts parts_;
};

}  // namespace attar
