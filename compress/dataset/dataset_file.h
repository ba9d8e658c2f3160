// A token data set in one file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "compress/dataset/hdf5_file.h"
#include "compress/token_dataset.h"
#include "runtime/base/input_file.h"

namespace attar {

// HDF5, written aside and renamed, under a checksum of all its bytes, which it gives back. Of documents whose signal is
// in memory.
std::string write_dataset(const std::string& path, const TokenDataset& dataset);

// A file that is there. Reading trusts nothing: Error{Input} when a single bit has changed, on another tokenizer's
// hash, and on ids, lengths or probabilities that cannot be.
class DatasetFile {
 public:
  // Reads all of it once, no more than a document's signal at a time.
  DatasetFile(const std::string& path, const std::string& tokenizer_hash, int64_t vocab_size);

  // All but the signals; there once.
  TokenDataset take_text() { return std::move(text_); }
  size_t documents() const { return extents_.size(); }
  size_t tokens_of(size_t document) const { return extents_[document].tokens; }
  const std::string& checksum() const { return checksum_; }

  bool has_signal(size_t document) const;
  // Puts the signal of a document into one, from where it lies: no other is read.
  void read_signal(size_t document, TokenDocument& into) const;

  // Lets the file go until it is opened again; what was checked still holds of it if nobody wrote to it since.
  void close() { file_.reset(); }
  bool is_open() const { return file_.has_value(); }
  bool open_again();  // false: it is another one now

 private:
  static constexpr uint64_t kNone = UINT64_MAX;
  struct Extent {  // where a document's signal lies: first rows, kNone without one
    size_t tokens = 0;
    uint64_t top_k = kNone, hidden = kNone;
    uint64_t sampled = 0, sampled_bytes = 0;
  };

  template <class T>
  std::vector<T> values(const Hdf5Arrays::Place& of, uint64_t first, uint64_t count) const;
  template <class T>
  std::vector<T> all(const Hdf5Arrays& arrays, const char* name) const;
  template <class T>
  Hdf5Arrays::Place place(const Hdf5Arrays& arrays, const char* name) const;
  void read_text(const Hdf5Arrays& arrays);
  void read_weights(const Hdf5Arrays& arrays);
  void find_top_k(const Hdf5Arrays& arrays);
  void find_sampled(const Hdf5Arrays& arrays);
  void find_hidden(const Hdf5Arrays& arrays);
  void check_all(int64_t vocab_size) const;

  std::string path_, checksum_, stamp_;
  std::optional<InputFile> file_;
  TokenDataset text_;
  int64_t signal_k_ = 0, hidden_width_ = 0;
  std::vector<Extent> extents_;  // of the documents
  Hdf5Arrays::Place ids_, log_probs_, rows_, codes_, scales_;
};

// The data set of a file with all of it in memory.
TokenDataset read_dataset(const std::string& path, const std::string& tokenizer_hash, int64_t vocab_size);

}  // namespace attar
