#include "recipes/data/near_duplicates.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>

#include "recipes/data/word_shingles.h"
#include "runtime/base/random.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kFound = 0.995;         // of pairs that are just alike enough
constexpr size_t kAtOnce = 1024;         // documents between two looks at who waits
constexpr uint32_t kAlone = UINT32_MAX;  // no other document has this band
constexpr size_t kMostMet = 256;         // kept documents of a crowd that later ones meet

// The sets of both texts of a document; the second one empty where it is the first.
struct Shingles {
  std::vector<uint64_t> said, whole;
  explicit Shingles(const ComparedText& text)
      : said(word_shingles(text.said)),
        whole(text.whole.empty() ? std::vector<uint64_t>{} : word_shingles(text.whole)) {}
  const std::vector<uint64_t>& all() const { return whole.empty() ? said : whole; }
};

bool alike(const Shingles& a, const Shingles& b, double threshold) {
  return jaccard(a.said, b.said) >= threshold &&
         ((a.whole.empty() && b.whole.empty()) || jaccard(a.all(), b.all()) >= threshold);
}

// Multiply-add hashes of 32 bits, whose smallest value over a set is one draw from it.
struct MinHash {
  std::array<uint32_t, kMinHashes> factor{}, summand{};
  MinHash() {
    const CounterRandom random(0x6d696e68617368);  // fixed: what is dropped is no matter of luck
    for (size_t k = 0; k < kMinHashes; ++k) {
      const uint64_t bits = random.bits(k);
      factor[k] = static_cast<uint32_t>(bits) | 1, summand[k] = static_cast<uint32_t>(bits >> 32);
    }
  }
  std::array<uint32_t, kMinHashes> of(const std::vector<uint64_t>& shingles) const {
    std::array<uint32_t, kMinHashes> least{};
    least.fill(UINT32_MAX);
    for (const uint64_t shingle : shingles) {
      const auto x = static_cast<uint32_t>(shingle ^ (shingle >> 32));
      for (size_t k = 0; k < kMinHashes; ++k) least[k] = std::min(least[k], factor[k] * x + summand[k]);
    }
    return least;
  }
};

uint32_t hash_of(const uint32_t* values, int n) {
  uint64_t hash = 0xcbf29ce484222325;
  for (int i = 0; i < n; ++i) hash = (hash ^ values[i]) * 0x9e3779b97f4a7c15, hash ^= hash >> 29;
  return static_cast<uint32_t>(hash >> 32);
}

// Per band, which documents share it: (bands, documents), a number each crowd of two and more has, or kAlone.
class Crowds {
 public:
  Crowds(size_t documents, Bands bands)
      : n_(documents), bands_(bands), crowd_(static_cast<size_t>(bands.count) * documents), worded_(documents, 0) {}

  void take(const TextOf& text_of, ThreadPool& threads, const Progress& progress) {
    const MinHash hashes;
    for (size_t first = 0; first < n_; first += kAtOnce) {
      const size_t end = std::min(n_, first + kAtOnce);
      std::atomic<size_t> next{first};
      threads.run([&](int) {
        for (size_t i = next++; i < end; i = next++) take(i, word_shingles(text_of(i).said), hashes);
      });
      report(progress, {.stage = "near-duplicates",
                        .unit = "documents",
                        .done = static_cast<int64_t>(end),
                        .total = static_cast<int64_t>(n_)});
    }
    for (int band = 0; band < bands_.count; ++band) number(band);
  }

  bool has_words(size_t document) const { return worded_[document] != 0; }
  uint32_t of(int band, size_t document) const { return crowd_[static_cast<size_t>(band) * n_ + document]; }
  size_t count() const { return count_; }

 private:
  void take(size_t i, const std::vector<uint64_t>& shingles, const MinHash& hashes) {
    worded_[i] = shingles.empty() ? 0 : 1;
    const auto least = hashes.of(shingles);
    for (int band = 0; band < bands_.count; ++band)
      crowd_[static_cast<size_t>(band) * n_ + i] = hash_of(least.data() + band * bands_.rows, bands_.rows);
  }

  // Hashes become numbers of crowds.
  void number(int band) {
    uint32_t* of = crowd_.data() + static_cast<size_t>(band) * n_;
    std::vector<uint32_t> order;
    for (size_t i = 0; i < n_; ++i)
      if (has_words(i)) order.push_back(static_cast<uint32_t>(i));
    std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return of[a] < of[b]; });
    for (size_t first = 0, end = 0; first < order.size(); first = end) {
      const uint32_t hash = of[order[first]];
      while (end < order.size() && of[order[end]] == hash) ++end;
      const uint32_t name = end - first > 1 ? static_cast<uint32_t>(count_++) : kAlone;
      for (size_t i = first; i < end; ++i) of[order[i]] = name;
    }
  }

  size_t n_;
  Bands bands_;
  std::vector<uint32_t> crowd_;
  std::vector<uint8_t> worded_;  // (documents) 1: it has a word
  size_t count_ = 0;
};

// Those of `met` (earlier documents, one entry a shared band) that share most bands, the earlier first of equals.
std::vector<uint32_t> most_alike(std::vector<uint32_t> met) {
  std::sort(met.begin(), met.end());
  std::vector<std::pair<int, uint32_t>> shared;  // minus the bands, so that the order is that of numbers
  for (const uint32_t document : met)
    if (shared.empty() || shared.back().second != document)
      shared.emplace_back(-1, document);
    else
      --shared.back().first;
  const size_t n = std::min(shared.size(), kMostCompared);
  std::partial_sort(shared.begin(), shared.begin() + static_cast<std::ptrdiff_t>(n), shared.end());
  std::vector<uint32_t> out;
  for (size_t i = 0; i < n; ++i) out.push_back(shared[i].second);
  return out;
}

// Of a chat what the assistant says is learned; of a text all but its first token.
ComparedText compared_text(const TokenDocument& document, const Tokenizer& tokenizer) {
  const bool chat = std::find(document.in_loss.begin() + (document.in_loss.empty() ? 0 : 1), document.in_loss.end(),
                              uint8_t{0}) != document.in_loss.end();
  const std::string whole = tokenizer.decode(document.tokens);
  if (!chat) return {whole};
  std::vector<int32_t> learned;
  for (size_t i = 0; i < document.tokens.size(); ++i)
    if (document.in_loss[i] != 0) learned.push_back(document.tokens[i]);
  return {tokenizer.decode(learned), whole};
}

}  // namespace

double Bands::finds(double similarity) const {
  return 1.0 - std::pow(1.0 - std::pow(similarity, rows), count);
}

Bands bands_for(double threshold) {
  Bands best{kMinHashes, 1};
  for (int rows = 2; rows <= kMinHashes; ++rows)
    if (const Bands bands{kMinHashes / rows, rows}; bands.finds(threshold) >= kFound) best = bands;
  return best;
}

std::vector<bool> near_duplicates(size_t documents, const TextOf& text_of, double threshold, ThreadPool& threads,
                                  const Progress& progress) {
  const Bands bands = bands_for(threshold);
  Crowds crowds(documents, bands);
  crowds.take(text_of, threads, progress);
  std::vector<std::vector<uint32_t>> kept(crowds.count());  // of each crowd
  std::vector<bool> out(documents, false);
  for (size_t i = 0; i < documents; ++i) {
    if (!crowds.has_words(i)) continue;
    std::vector<uint32_t> met;
    for (int band = 0; band < bands.count; ++band)
      if (const uint32_t crowd = crowds.of(band, i); crowd != kAlone)
        met.insert(met.end(), kept[crowd].begin(), kept[crowd].end());
    if (!met.empty()) {
      const Shingles own(text_of(i));
      for (const uint32_t other : most_alike(std::move(met)))
        if (alike(own, Shingles(text_of(other)), threshold)) {
          out[i] = true;
          break;
        }
      report(progress, {.stage = "near-duplicates",
                        .unit = "documents",
                        .done = static_cast<int64_t>(documents),
                        .total = static_cast<int64_t>(documents)});
    }
    for (int band = 0; band < bands.count && !out[i]; ++band)
      if (const uint32_t crowd = crowds.of(band, i); crowd != kAlone && kept[crowd].size() < kMostMet)
        kept[crowd].push_back(static_cast<uint32_t>(i));
  }
  return out;
}

std::vector<bool> near_duplicates_reference(size_t documents, const TextOf& text_of, double threshold) {
  std::vector<bool> out(documents, false);
  std::vector<Shingles> all;
  for (size_t i = 0; i < documents; ++i) {
    all.emplace_back(text_of(i));
    for (size_t j = 0; j < i && !out[i]; ++j) out[i] = !out[j] && alike(all[i], all[j], threshold);
  }
  return out;
}

std::string near_duplicates_record(const NearDuplicates& found) {
  return Json({{"threshold", found.threshold}, {"dropped", found.dropped}, {"of", found.of}}).dump();
}

NearDuplicates near_duplicates_of(const std::string& record) {
  const Json json = Json::parse(record);
  return {json.value("threshold", 0.0), json.value("dropped", int64_t{0}), json.value("of", int64_t{0})};
}

std::string to_words(const NearDuplicates& found) {
  return std::to_string(found.dropped) + " of " + std::to_string(found.of) +
         " documents dropped as near-duplicates of one before them";
}

NearDuplicates drop_near_duplicates(std::vector<TokenDataset>& parts, const Tokenizer& tokenizer, double threshold,
                                    int threads, const Progress& progress) {
  NearDuplicates found{.threshold = threshold};
  if (threshold == 0.0) return found;
  std::vector<const TokenDocument*> all;
  for (const TokenDataset& part : parts)
    for (const TokenDocument& document : part.documents) all.push_back(&document);
  ThreadPool pool(threads);
  const std::vector<bool> duplicate = near_duplicates(
      all.size(), [&](size_t i) { return compared_text(*all[i], tokenizer); }, threshold, pool, progress);
  size_t next = 0;
  for (TokenDataset& part : parts) {
    std::vector<TokenDocument> left;
    for (TokenDocument& document : part.documents)
      if (!duplicate[next++]) left.push_back(std::move(document));
    part.documents = std::move(left);
  }
  found.of = static_cast<int64_t>(all.size());
  found.dropped = std::count(duplicate.begin(), duplicate.end(), true);
  return found;
}

}  // namespace attar
