#include "recipes/splits.h"

#include <algorithm>
#include <deque>
#include <filesystem>

#include "runtime/base/error.h"

namespace attar {
namespace {

constexpr size_t kRunWords = 13;  // the n-gram of Brown et al. 2020, appendix C

template <class Visit>
void for_each_run(const std::string& text, Visit&& visit) {
  std::deque<uint64_t> words;
  uint64_t word = 0;
  const auto end_word = [&] {
    if (word == 0) return true;
    words.push_back(word);
    word = 0;
    if (words.size() > kRunWords) words.pop_front();
    if (words.size() < kRunWords) return true;
    uint64_t run = 0xcbf29ce484222325;
    for (const uint64_t hash : words) run = (run ^ hash) * 0x100000001b3;
    return visit(run);
  };
  for (const char raw : text) {
    const auto c = static_cast<unsigned char>(raw);
    const bool letter = c >= 0x80 || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
    if (letter) {
      const unsigned char lower = c >= 'A' && c <= 'Z' ? static_cast<unsigned char>(c | 32) : c;
      word = ((word == 0 ? 0xcbf29ce484222325 : word) ^ lower) * 0x100000001b3;
    } else if (c != '\'' && !end_word()) {
      return;
    }
  }
  end_word();
}

}  // namespace

std::string recipe_relative(const Recipe& recipe, const std::string& file) {
  const std::filesystem::path path(file);
  if (path.is_absolute()) return file;
  return (std::filesystem::path(recipe.path).parent_path() / path).string();
}

std::vector<Document> evaluation_documents(const Recipe& recipe) {
  std::vector<Document> documents;
  for (const DataSource& source : recipe.evaluation)
    for (Document& document : read_documents(recipe_relative(recipe, source.file)))
      documents.push_back(std::move(document));
  return documents;
}

EvaluationText::EvaluationText(const std::vector<Document>& documents) {
  for (const Document& document : documents)
    for_each_run(document_text(document), [&](uint64_t run) {
      runs_.push_back(run);
      return true;
    });
  std::sort(runs_.begin(), runs_.end());
}

bool EvaluationText::overlaps(const std::string& text) const {
  bool found = false;
  for_each_run(text, [&](uint64_t run) {
    found = std::binary_search(runs_.begin(), runs_.end(), run);
    return !found;
  });
  return found;
}

int64_t drop_overlapping(TokenDataset& dataset, const Tokenizer& tokenizer, const EvaluationText& evaluation) {
  const size_t before = dataset.documents.size();
  std::erase_if(dataset.documents,
                [&](const TokenDocument& document) { return evaluation.overlaps(tokenizer.decode(document.tokens)); });
  return static_cast<int64_t>(before - dataset.documents.size());
}

}  // namespace attar
