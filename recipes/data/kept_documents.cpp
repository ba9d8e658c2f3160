#include "recipes/data/kept_documents.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "compress/dataset/dataset_checks.h"
#include "compress/dataset/dataset_file.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"

namespace attar {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

std::string index_of(const std::string& path) {
  return path + "-part.json";
}
std::string shard(const std::string& path, int64_t number) {
  return path + "-part-" + std::to_string(number) + ".h5";
}

}  // namespace

KeptDocuments::KeptDocuments(std::string path, const TokenDataset& like, int64_t vocab_size)
    : path_(std::move(path)), vocab_size_(vocab_size) {
  waiting_ = like.without_documents();
}

std::vector<TokenDocument> KeptDocuments::take(std::string& state) {
  std::vector<TokenDocument> documents;
  const std::string index = index_of(path_);
  if (path_.empty() || !fs::exists(index)) return documents;
  const Json json = Json::parse(read_file(index), nullptr, false);
  if (!json.is_object() || !json.contains("state") || !json.value("shards", Json()).is_number_unsigned())
    throw input_error(index, "is damaged", "", "", "delete it: what it counts is made again");
  shards_ = json.at("shards");
  state = json.at("state").dump();
  for (int64_t i = 0; i < shards_; ++i) {
    TokenDataset part = read_dataset(shard(path_, i), waiting_.tokenizer_hash, vocab_size_);
    require_made_alike(part, waiting_, shard(path_, i), "delete " + index + ": what it counts is made again");
    for (TokenDocument& document : part.documents) documents.push_back(std::move(document));
  }
  return documents;
}

void KeptDocuments::add(const TokenDocument& document) {
  if (path_.empty()) return;
  waiting_tokens_ += static_cast<int64_t>(document.tokens.size());
  waiting_.documents.push_back(document);
}

void KeptDocuments::keep(const std::string& state) {
  if (path_.empty()) return;
  fs::create_directories(fs::path(path_).parent_path());
  if (!waiting_.documents.empty()) write_dataset(shard(path_, shards_++), waiting_);
  write_file_atomically(index_of(path_), Json({{"shards", shards_}, {"state", Json::parse(state)}}).dump() + "\n");
  waiting_.documents.clear();
  waiting_tokens_ = 0;
}

void remove_kept_documents(const std::string& path) {
  fs::remove(index_of(path));
  for (int64_t i = 0; fs::exists(shard(path, i)); ++i) fs::remove(shard(path, i));
}

}  // namespace attar
