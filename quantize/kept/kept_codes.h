// The codes of a quantization on disk, a part a file, in the order in which they are made: the embedding where it comes
// before the walk, each layer, the head. A run that is broken off goes on behind the last whole one.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "compress/kept/kept_file.h"
#include "quantize/quantize.h"

namespace attar {

// What decides the plan and the codes.
Identity codes_identity(const std::string& model_hash, const std::vector<TokenBatch>& text,
                        const QuantizeOptions& options);

class KeptCodes {
 public:
  // An empty folder: nothing is kept. What was left half written there is swept, and all else is checked before time is
  // spent. Error{Usage}, saying what differs: codes of another model, text or options. Error{Input}: they are damaged
  // or of another version.
  KeptCodes(std::string folder, Identity identity);

  using Tensors = std::map<std::string, QuantizedTensor>;
  // Adds the part's tensors. -> whether it is there
  bool take(const std::string& part, const QuantizePlan& plan, Tensors& into) const;
  // Those of `tensors` that are named.
  void keep(const std::string& part, const QuantizePlan& plan, const Tensors& tensors,
            const std::vector<std::string>& names) const;

  const std::string& folder() const { return folder_; }

 private:
  std::string path(const std::string& part) const;
  KeptFile checked(const std::string& path) const;

  std::string folder_;
  Identity identity_;
};

// Error{Usage} when codes are there, which a run from the start would overwrite.
void require_no_codes(const std::string& folder);

}  // namespace attar
