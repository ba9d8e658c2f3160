#include "compress/dataset/signal_store.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "compress/dataset/dataset_checks.h"
#include "compress/dataset/signal_rows.h"
#include "runtime/base/error.h"

namespace attar {
namespace {

constexpr size_t kMostOpen = 64;  // a process may have some 1,000 files open
constexpr const char* kMadeAnew = "delete it and run again with --resume: it is made anew";

}  // namespace

SignalStore::SignalStore(const TokenDataset& like, int64_t vocab_size, std::vector<Shard> shards, Contents contents)
    : like_(like.without_documents()),
      vocab_size_(vocab_size),
      shards_(std::move(shards)),
      contents_(std::move(contents)),
      files_(shards_.size()) {
  like_.store.reset();
  int64_t first = 0;
  for (const Shard& shard : shards_) {
    first_.push_back(first);
    first += shard.documents;
  }
}

SignalStore::SignalStore(const TokenDataset& like, int64_t vocab_size, std::string path,
                         std::unique_ptr<DatasetFile> file)
    : SignalStore(like, vocab_size, {{std::move(path), file->checksum(), static_cast<int64_t>(file->documents())}},
                  {.hash = file->checksum(), .silent_tokens = std::nullopt}) {
  files_[0] = std::move(file);
  open_.push_back(0);
}

size_t SignalStore::read(int64_t place, TokenDocument& into) {
  const auto behind = std::upper_bound(first_.begin(), first_.end(), place);
  const auto shard = static_cast<size_t>(behind - first_.begin()) - 1;
  const auto document = static_cast<size_t>(place - first_[shard]);
  try {
    file_of(shard).read_signal(document, into);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::Input || !files_[shard] || !files_[shard]->is_open()) throw;
    files_[shard] = opened(shards_[shard]);  // who changes its rights or its times changes no byte of it
    files_[shard]->read_signal(document, into);
  }
  return files_[shard]->tokens_of(document);
}

double SignalStore::bytes_per_loss_token() const {
  return static_cast<double>(contents_.signal_bytes) / static_cast<double>(std::max<int64_t>(1, contents_.loss_tokens));
}

DatasetFile& SignalStore::file_of(size_t shard) {
  std::unique_ptr<DatasetFile>& file = files_[shard];
  if (file == nullptr || (!file->is_open() && !file->open_again())) file = opened(shards_[shard]);
  std::erase(open_, shard);
  open_.push_back(shard);
  if (open_.size() > kMostOpen) {
    files_[open_.front()]->close();
    open_.erase(open_.begin());
  }
  return *file;
}

std::unique_ptr<DatasetFile> SignalStore::opened(const Shard& shard) const {
  auto file = std::make_unique<DatasetFile>(shard.path, like_.tokenizer_hash, vocab_size_);
  require_made_alike(file->take_text().without_documents(), like_, shard.path, kMadeAnew);
  if (file->checksum() != shard.checksum || static_cast<int64_t>(file->documents()) != shard.documents)
    throw input_error(shard.path, "is not the file that was written there", "", "", kMadeAnew);
  return file;
}

TokenDataset open_dataset(const std::string& path, const std::string& tokenizer_hash, int64_t vocab_size) {
  auto file = std::make_unique<DatasetFile>(path, tokenizer_hash, vocab_size);
  TokenDataset data = file->take_text();
  bool any = false;
  for (size_t d = 0; d < data.documents.size(); ++d)
    if (file->has_signal(d)) data.documents[d].stored.place = static_cast<int64_t>(d), any = true;
  if (any) data.store = std::make_shared<SignalStore>(data, vocab_size, path, std::move(file));
  return data;
}

TokenDocument with_signal(const TokenDataset& data, const TokenDocument& document) {
  TokenDocument out = document;
  if (document.stored.empty()) return out;
  out.stored = {};
  TokenDocument there;
  const size_t tokens = data.store->read(document.stored.place, there);
  std::vector<int32_t> rows = document.stored.rows;
  if (rows.empty()) {
    rows.resize(document.tokens.size());
    std::iota(rows.begin(), rows.end(), 0);
  }
  const auto is_there = [&](int32_t row) { return row < static_cast<int64_t>(tokens); };
  if (rows.size() != document.tokens.size() || !std::all_of(rows.begin(), rows.end(), is_there))
    throw input_error("the teacher's signal", "is of other text than what is learned", "", "", kMadeAnew);
  hand_on_signal(there, data, rows, data.store_ids, out);
  return out;
}

LoadedPieces loaded(const TokenDataset& data, const std::vector<Piece>& pieces) {
  LoadedPieces out{data.without_documents(), pieces};
  out.data.store.reset();
  out.data.store_ids.clear();
  for (Piece& piece : out.pieces) {
    out.data.documents.push_back(with_signal(data, data.documents[static_cast<size_t>(piece.document)]));
    piece.document = static_cast<int64_t>(out.data.documents.size()) - 1;
  }
  return out;
}

}  // namespace attar
