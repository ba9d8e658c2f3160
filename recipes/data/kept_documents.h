// Documents on disk as a teacher writes them, a shard after another, so that a long writing goes on behind the last one
// when it is broken off.
#pragma once

#include <string>
#include <vector>

#include "compress/token_dataset.h"

namespace attar {

class KeptDocuments {
 public:
  // Shards are PATH-part-N.h5, and PATH-part.json says how many of them count. `like`: whose tokenizer, origin and kind
  // of signal they share. An empty path: nothing is kept.
  KeptDocuments(std::string path, const TokenDataset& like, int64_t vocab_size);

  // What a broken run has kept, in order, and the JSON value that it left with the last shard ("" when there is none).
  // Error{Input}: it is damaged, or was made of something else.
  std::vector<TokenDocument> take(std::string& state);

  // The document waits for its shard.
  void add(const TokenDocument& document);
  bool due() const { return waiting_tokens_ >= kShardTokens; }  // as many wait as a shard should have
  void keep(const std::string& state);                          // a shard of all that wait, and the JSON value

 private:
  static constexpr int64_t kShardTokens = 8192;
  std::string path_;
  TokenDataset waiting_;  // with no more than the head of `like`
  int64_t vocab_size_, waiting_tokens_ = 0, shards_ = 0;
};

// Once the whole is written.
void remove_kept_documents(const std::string& path);

}  // namespace attar
