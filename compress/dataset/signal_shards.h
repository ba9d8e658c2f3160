// A teacher's signal as it is made, shard after shard, so that neither who makes it nor who learns from it holds all of
// it in memory: PATH-0.h5, PATH-1.h5, ... are data sets like any other, PATH.json says which of them count, under a
// checksum of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "compress/dataset/signal_store.h"
#include "compress/token_dataset.h"

namespace attar {

// How much waits in memory for its shard, beside a sixteenth of what is on disk already: so that what a kill costs, and
// the number of files, stay small.
struct ShardSize {
  int64_t tokens = 8192;
  size_t most_bytes = size_t{1} << 25;
};

class SignalShards {
 public:
  // What is made is `like` in all but its documents. A broken making of the same is gone on with, from its first shard
  // that is missing; behind an index that is damaged or missing, from the beginning. Error{Input}: what lies there was
  // made of something else.
  SignalShards(std::string path, const TokenDataset& like, int64_t vocab_size, ShardSize size = {});

  std::string index() const { return path_ + ".json"; }
  int64_t documents() const { return documents_; }  // on disk
  bool whole() const { return whole_; }
  bool was_damaged() const { return damaged_; }  // the index that lay there; none of its shards counts

  // The next document, with its signal in memory.
  void add(TokenDocument document);
  void keep();    // a shard of those that wait, where the making is broken off
  void finish();  // there are no more

  // Once it is whole.
  std::shared_ptr<SignalStore> store() const;

 private:
  struct Shard {
    int64_t documents = 0, tokens = 0;
    std::string checksum{};
  };
  std::string shard_path(size_t shard) const { return path_ + "-" + std::to_string(shard) + ".h5"; }
  void read_index();
  void write_index() const;

  std::string path_;
  int64_t vocab_size_;
  ShardSize size_;
  TokenDataset waiting_;
  int64_t waiting_tokens_ = 0;
  size_t waiting_bytes_ = 0;
  std::vector<Shard> shards_;
  std::vector<SignalStore::Contents> contents_;  // up to the end of each
  SignalStore::Contents now_;                    // with what waits
  int64_t documents_ = 0, tokens_ = 0;
  bool whole_ = false, damaged_ = false;
};

}  // namespace attar
