#include "compress/dataset/signal_shards.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "compress/dataset/dataset_checks.h"
#include "compress/dataset/signal_rows.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/base/sha256.h"

namespace attar {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kSignalAnew = "delete it: the signal is made anew";

template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span<const T>(values));
}

// With what the document of `of` adds to it.
SignalStore::Contents with_document(const SignalStore::Contents& before, const TokenDocument& document,
                                    const TokenDataset& of) {
  SignalStore::Contents now = before;
  Sha256 hash;
  hash.add(before.hash);
  for (const std::span<const std::byte> part :
       {bytes_of(document.signal_ids), bytes_of(document.signal_log_probs), bytes_of(document.sampled_signal),
        bytes_of(document.hidden.codes), bytes_of(document.hidden.scales)}) {
    hash.add(";" + std::to_string(part.size())).add(part);
    now.signal_bytes += part.size();
  }
  now.hash = hash.hex();
  for (size_t t = 1; t < document.in_loss.size(); ++t) now.loss_tokens += document.in_loss[t];
  now.silent_tokens = before.silent_tokens.value_or(0) + silent_tokens(document, of);
  return now;
}

// The text of an index, under a checksum of all else that it says.
std::string checked_text(Json json) {
  json.erase("sha256");
  json["sha256"] = sha256(json.dump(1));
  return json.dump(1) + "\n";
}

}  // namespace

SignalShards::SignalShards(std::string path, const TokenDataset& like, int64_t vocab_size, ShardSize size)
    : path_(std::move(path)), vocab_size_(vocab_size), size_(size), waiting_(like.without_documents()) {
  waiting_.store.reset();
  waiting_.store_ids.clear();
  if (fs::exists(index())) read_index();
}

void SignalShards::read_index() {
  Identity made_of;
  std::string tokenizer;
  try {
    const std::string text = read_file(index());
    const Json json = Json::parse(text);
    damaged_ = text != checked_text(json);
    if (damaged_) return;
    made_of = json.at("made_of").get<Identity>();
    tokenizer = json.at("tokenizer").get<std::string>();
    whole_ = json.at("whole").get<bool>();
    for (const Json& shard : json.at("shards")) {
      shards_.push_back({.documents = shard.at("documents").get<int64_t>(),
                         .tokens = shard.at("tokens").get<int64_t>(),
                         .checksum = shard.at("sha256").get<std::string>()});
      contents_.push_back({.hash = shard.at("signals_sha256").get<std::string>(),
                           .signal_bytes = shard.at("signal_bytes").get<uint64_t>(),
                           .loss_tokens = shard.at("loss_tokens").get<int64_t>(),
                           .silent_tokens = shard.at("silent_tokens").get<int64_t>()});
    }
  } catch (const Json::exception&) {  // no JSON, or without a part of it
    shards_.clear(), contents_.clear();
    whole_ = false, damaged_ = true;
    return;
  }
  if (tokenizer != waiting_.tokenizer_hash)
    throw input_error(index(), "was made with another tokenizer", "", "", kSignalAnew);
  if (const std::string differing = differences(made_of, identity_of(waiting_)); !differing.empty())
    throw input_error(index(), "was made of something else: " + differing, "", "", kSignalAnew);
  size_t there = 0;
  while (there < shards_.size() && fs::exists(shard_path(there))) ++there;
  const bool misses_some = there < shards_.size();
  whole_ = whole_ && !misses_some;
  shards_.resize(there), contents_.resize(there);
  for (const Shard& shard : shards_) documents_ += shard.documents, tokens_ += shard.tokens;
  if (there > 0) now_ = contents_.back();
  if (misses_some) write_index();  // before one that is cut in another way takes the place of what it names
}

void SignalShards::write_index() const {
  Json shards = Json::array();
  for (size_t i = 0; i < shards_.size(); ++i)
    shards.push_back({{"documents", shards_[i].documents},
                      {"tokens", shards_[i].tokens},
                      {"sha256", shards_[i].checksum},
                      {"signals_sha256", contents_[i].hash},
                      {"signal_bytes", contents_[i].signal_bytes},
                      {"loss_tokens", contents_[i].loss_tokens},
                      {"silent_tokens", contents_[i].silent_tokens.value_or(0)}});
  const Json json = {{"made_of", identity_of(waiting_)},
                     {"tokenizer", waiting_.tokenizer_hash},
                     {"whole", whole_},
                     {"shards", shards}};
  write_file_atomically(index(), checked_text(json));
}

void SignalShards::add(TokenDocument document) {
  const SignalStore::Contents before = std::exchange(now_, with_document(now_, document, waiting_));
  waiting_tokens_ += static_cast<int64_t>(document.tokens.size());
  waiting_bytes_ += static_cast<size_t>(now_.signal_bytes - before.signal_bytes);
  waiting_.documents.push_back(std::move(document));
  if (waiting_tokens_ >= std::max(size_.tokens, tokens_ / 16) || waiting_bytes_ >= size_.most_bytes) keep();
}

void SignalShards::keep() {
  if (waiting_.documents.empty()) return;
  Shard shard{.documents = std::ssize(waiting_.documents), .tokens = waiting_tokens_};
  shard.checksum = write_dataset(shard_path(shards_.size()), waiting_);
  documents_ += shard.documents, tokens_ += shard.tokens;
  shards_.push_back(std::move(shard));
  contents_.push_back(now_);
  write_index();
  waiting_.documents.clear();
  waiting_tokens_ = 0, waiting_bytes_ = 0;
}

void SignalShards::finish() {
  keep();
  whole_ = true;
  write_index();
  for (size_t stale = shards_.size(); fs::exists(shard_path(stale)); ++stale) fs::remove(shard_path(stale));
}

std::shared_ptr<SignalStore> SignalShards::store() const {
  std::vector<SignalStore::Shard> files;
  for (size_t i = 0; i < shards_.size(); ++i)
    files.push_back({shard_path(i), shards_[i].checksum, shards_[i].documents});
  return std::make_shared<SignalStore>(waiting_, vocab_size_, std::move(files), now_);
}

}  // namespace attar
