#include "compress/kept/text_hash.h"

#include <span>

#include "runtime/base/sha256.h"

namespace attar {

std::string text_hash(const std::vector<TokenBatch>& batches) {
  Sha256 hash;
  for (const TokenBatch& batch : batches) {
    hash.add(std::to_string(batch.lengths.size()) + ";");
    hash.add(std::as_bytes(std::span(batch.lengths)));
    const auto* tokens = batch.tokens.const_data_ptr<int64_t>();
    hash.add(std::as_bytes(std::span(tokens, static_cast<size_t>(batch.tokens.numel()))));
  }
  return hash.hex();
}

std::string text_hash(const TokenDataset& data) {
  Sha256 hash;
  for (const TokenDocument& document : data.documents) {
    hash.add(";" + std::to_string(document.tokens.size()) + (document.weights.empty() ? "" : "w"));
    hash.add(std::as_bytes(std::span(document.tokens)));
    hash.add(std::as_bytes(std::span(document.in_loss)));
    hash.add(std::as_bytes(std::span(document.weights)));
  }
  return hash.hex();
}

}  // namespace attar
