// Signals that stay on disk. What is in memory is where they lie: a batch's are read when the batch is learned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "compress/dataset/dataset_file.h"
#include "compress/token_dataset.h"

namespace attar {

// Files of a data set, opened and checked when one of their documents is first asked for. For one thread at a time.
class SignalStore {
 public:
  struct Shard {
    std::string path{};
    std::string checksum{};  // that write_dataset gave back
    int64_t documents = 0;
  };
  struct Contents {
    std::string hash{};  // of all signals, however they are cut into files
    uint64_t signal_bytes = 0;
    int64_t loss_tokens = 0;
    std::optional<int64_t> silent_tokens = 0;  // of those (signal_rows.h); nothing: nobody counted
  };
  // `like`: what all files follow from, and their tokenizer.
  SignalStore(const TokenDataset& like, int64_t vocab_size, std::vector<Shard> shards, Contents contents);
  // Of one file, which is open.
  SignalStore(const TokenDataset& like, int64_t vocab_size, std::string path, std::unique_ptr<DatasetFile> file);

  // Puts the signal of the document at `place` into one. -> the tokens that it has there. Error{Input}: its file is
  // damaged, is not the one that was named, or was made of something else.
  size_t read(int64_t place, TokenDocument& into);

  const std::string& hash() const { return contents_.hash; }
  double bytes_per_loss_token() const;
  const Contents& contents() const { return contents_; }

 private:
  DatasetFile& file_of(size_t shard);
  std::unique_ptr<DatasetFile> opened(const Shard& shard) const;

  TokenDataset like_;
  int64_t vocab_size_;
  std::vector<Shard> shards_;
  Contents contents_;
  std::vector<int64_t> first_;                       // place of the first document of each
  std::vector<std::unique_ptr<DatasetFile>> files_;  // of each that was asked for
  std::vector<size_t> open_;                         // of those, the last one asked the last
};

// The data set of one file, whose signals stay there.
TokenDataset open_dataset(const std::string& path, const std::string& tokenizer_hash, int64_t vocab_size);

// The document with its signal in memory.
TokenDocument with_signal(const TokenDataset& data, const TokenDocument& document);

// The documents of some pieces with their signals in memory, and the pieces in them.
struct LoadedPieces {
  TokenDataset data{};
  std::vector<Piece> pieces{};
};
LoadedPieces loaded(const TokenDataset& data, const std::vector<Piece>& pieces);

// work(data, pieces), with signals in memory.
template <class Work>
auto with_signals(const TokenDataset& data, const std::vector<Piece>& pieces, Work&& work) {
  if (data.store == nullptr) return work(data, pieces);
  const LoadedPieces there = loaded(data, pieces);
  return work(there.data, there.pieces);
}

}  // namespace attar
