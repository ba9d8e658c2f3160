#include "runtime/formats/tokenizer/text_list.h"

#include "runtime/base/error.h"

namespace attar {

void TextList::reserve(size_t n_texts, size_t n_bytes) {
  ends_.reserve(n_texts);
  bytes_.reserve(n_bytes);
}

void TextList::push_back(std::string_view text) {
  if (text.size() > UINT32_MAX - bytes_.size())
    throw input_error("tokenizer", "its texts are too long together", "at most 4 GiB");
  bytes_.append(text);
  ends_.push_back(static_cast<uint32_t>(bytes_.size()));
}

std::string_view TextList::at(size_t i) const {
  static_cast<void>(ends_.at(i));
  return (*this)[i];
}

MergeList::MergeList(std::span<const Texts> merges) {
  size_t n_bytes = 0;
  for (const auto& [left, right] : merges) n_bytes += left.size() + right.size();
  reserve(merges.size(), n_bytes);
  for (const auto& [left, right] : merges) push_back({left, right});
}

}  // namespace attar
