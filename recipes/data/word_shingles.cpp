#include "recipes/data/word_shingles.h"

#include <algorithm>

#include "runtime/base/words/utf8.h"
#include "runtime/formats/tokenizer/unicode.h"

namespace attar {
namespace {

// Scripts that leave no space between words.
bool is_word_by_itself(uint32_t c) {
  constexpr uint32_t kRanges[][2] = {{0x0E00, 0x0EFF},   {0x1000, 0x109F},  {0x1780, 0x17FF}, {0x3040, 0x30FF},
                                     {0x3400, 0x4DBF},   {0x4E00, 0x9FFF},  {0xF900, 0xFAFF}, {0xFF66, 0xFF9F},
                                     {0x1B000, 0x1B16F}, {0x20000, 0x3FFFF}};
  return c >= kRanges[0][0] &&
         std::any_of(std::begin(kRanges), std::end(kRanges), [&](const auto& r) { return c >= r[0] && c <= r[1]; });
}

// Calls `visit(begin of a word, its end)` over `text`, which is small and composed.
template <class Visit>
void for_each_word(std::string_view text, Visit&& visit) {
  size_t begin = 0, at = 0;
  const auto end_word = [&] {
    if (at > begin) visit(text.substr(begin, at - begin));
  };
  while (at < text.size()) {
    const size_t length = utf8_length(text, at);
    const uint32_t c = length == 0 ? 0 : decode_utf8(text, at).code_point;
    const bool alone = is_word_by_itself(c), part = !alone && c != '_' && is_word(c);
    if (part) {
      at += length;
      continue;
    }
    end_word();
    if (alone && is_word(c)) visit(text.substr(at, length));
    begin = at += std::max<size_t>(length, 1);
  }
  end_word();
}

// Composed and small.
std::string plain(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; })) {
    for (const char c : text) out.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c | 32) : c);
    return out;
  }
  const std::string composed = to_nfc(replace_invalid_utf8(text));
  for (size_t at = 0; at < composed.size();) {
    const Decoded one = decode_utf8(composed, at);
    append_utf8(out, small_letter(one.code_point));
    at += one.length;
  }
  return out;
}

uint64_t mixed(uint64_t x) {  // the finalizer of SplitMix64 (Steele, Lea, Flood 2014)
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint64_t hash_of(std::string_view word) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : word) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return mixed(hash);
}

}  // namespace

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  for_each_word(plain(text), [&](std::string_view word) { words.emplace_back(word); });
  return words;
}

std::vector<uint64_t> word_shingles(std::string_view text) {
  std::vector<uint64_t> words;
  for_each_word(plain(text), [&](std::string_view word) { words.push_back(hash_of(word)); });
  std::vector<uint64_t> shingles;
  if (words.empty()) return shingles;
  const size_t length = std::min(kShingleWords, words.size());
  for (size_t first = 0; first + length <= words.size(); ++first) {
    uint64_t hash = length;
    for (size_t i = first; i < first + length; ++i) hash = mixed(hash + words[i]);
    shingles.push_back(hash);
  }
  std::sort(shingles.begin(), shingles.end());
  shingles.erase(std::unique(shingles.begin(), shingles.end()), shingles.end());
  return shingles;
}

double jaccard(const std::vector<uint64_t>& a, const std::vector<uint64_t>& b) {
  if (a.empty() || b.empty()) return 0.0;
  size_t shared = 0;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    if (a[i] == b[j]) ++shared;
    const bool from_a = a[i] <= b[j], from_b = b[j] <= a[i];
    i += from_a ? 1 : 0, j += from_b ? 1 : 0;
  }
  return static_cast<double>(shared) / static_cast<double>(a.size() + b.size() - shared);
}

}  // namespace attar
