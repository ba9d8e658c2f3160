// Token data in a trimmed vocabulary.
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "compress/dataset/signal_rows.h"
#include "compress/token_dataset.h"
#include "prune/vocabulary.h"
#include "runtime/formats/text_file.h"
#include "runtime/formats/tokenizer/unicode.h"

namespace attar {
namespace {

// One document on its way from the old vocabulary to the new one.
class Remapper {
 public:
  Remapper(const Tokenizer& from, const Tokenizer& to, const VocabularyCut& cut, const TokenDataset& data)
      : from_(from), to_(to), data_(data), new_id_(static_cast<size_t>(from.vocab_size()), -1) {
    for (size_t i = 0; i < cut.kept.size(); ++i) new_id_[static_cast<size_t>(cut.kept[i])] = static_cast<int32_t>(i);
    byte_id_.fill(-1);
    for (int32_t id = 0; id < static_cast<int32_t>(to.vocab_size()); ++id) {
      const TokenKind kind = to.data().tokens[static_cast<size_t>(id)].kind;
      const TokenKind wanted = to.data().kind == TokenizerKind::Bpe ? TokenKind::Normal : TokenKind::Byte;
      if (kind == wanted && to.token_bytes(id).size() == 1)
        byte_id_[static_cast<unsigned char>(to.token_bytes(id)[0])] = id;
    }
  }

  TokenDocument operator()(const TokenDocument& document) const {
    Mapped out;
    for (size_t begin = 0; begin < document.tokens.size();) {
      size_t end = begin + 1;
      if (is_text(document.tokens[begin]))
        while (end < document.tokens.size() && is_text(document.tokens[end])) ++end;
      map_stretch(document, begin, end, out);
      begin = end;
    }
    hand_on_signal(document, data_, out.rows, new_id_, out.document);
    return std::move(out.document);
  }

  // Of tokens that the old vocabulary calls so; of all of it where there are none.
  std::vector<int32_t> new_ids(std::vector<int32_t> ids) const {
    if (ids.empty()) return new_id_;
    for (int32_t& id : ids) id = mapped(id);
    return ids;
  }

 private:
  struct Mapped {
    TokenDocument document{};
    std::vector<int32_t> rows{};  // of each token the old one that it is the same as, -1: none
  };

  bool is_text(int32_t id) const {
    const TokenKind kind = from_.data().tokens[static_cast<size_t>(id)].kind;
    return kind == TokenKind::Normal || kind == TokenKind::Byte;
  }
  int32_t mapped(int32_t id) const { return id < 0 ? -1 : new_id_[static_cast<size_t>(id)]; }

  // A stretch of text between control and user-defined tokens, or one of those.
  void map_stretch(const TokenDocument& in, size_t begin, size_t end, Mapped& out) const {
    bool is_covered = true;
    for (size_t t = begin; t < end; ++t) is_covered = is_covered && mapped(in.tokens[t]) >= 0;
    if (is_covered) {
      for (size_t t = begin; t < end; ++t) append(in, t, mapped(in.tokens[t]), true, out);
      return;
    }
    // Tokenize as much again as is whole text; bytes that are none, as at a cut inside a character, are spelled out.
    std::string pending;  // bytes after the last place where text was whole
    size_t whole_end = begin;
    for (size_t t = begin; t < end && pending.size() < 4; ++t) {
      pending += from_.token_bytes(in.tokens[t]);
      pending.erase(0, valid_utf8_prefix(pending));
      if (pending.empty()) whole_end = t + 1;
    }
    if (whole_end > begin) map_text(in, begin, whole_end, out);
    if (whole_end < end) spell(in, whole_end, out);
    if (whole_end + 1 < end) map_stretch(in, whole_end + 1, end, out);
  }

  void map_text(const TokenDocument& in, size_t begin, size_t end, Mapped& out) const {
    std::string text;
    std::vector<size_t> old_begin;  // (end - begin) bytes before each old token
    for (size_t t = begin; t < end; ++t) {
      old_begin.push_back(text.size());
      text += from_.token_bytes(in.tokens[t]);
    }
    // Encoding puts SPM's prefix space back; a stretch without it cannot be had from any text.
    const bool has_prefix = to_.data().add_space_prefix;
    const bool only_one = to_.data().space_prefix != SpacePrefix::Always && text.substr(1, 1) == " ";
    if (has_prefix && (text[0] != ' ' || only_one)) {
      for (size_t t = begin; t < end; ++t) spell(in, t, out);
      return;
    }
    const std::vector<int32_t> ids =
        to_.encode(std::string_view(text).substr(has_prefix ? 1 : 0), {.add_special = false});
    size_t at = 0, old = 0;
    for (const int32_t id : ids) {
      while (old + 1 < old_begin.size() && old_begin[old + 1] <= at) ++old;
      const size_t size = to_.token_bytes(id).size();
      const bool is_same = old_begin[old] == at && from_.token_bytes(in.tokens[begin + old]).size() == size;
      append(in, begin + old, id, is_same, out);
      at += size;
    }
  }

  void spell(const TokenDocument& in, size_t t, Mapped& out) const {
    if (mapped(in.tokens[t]) >= 0) return append(in, t, mapped(in.tokens[t]), true, out);
    for (const char byte : from_.token_bytes(in.tokens[t]))
      if (const int32_t id = byte_id_[static_cast<unsigned char>(byte)]; id >= 0) append(in, t, id, false, out);
  }

  // New token `id` in place of, or beginning within, old token t.
  void append(const TokenDocument& in, size_t t, int32_t id, bool is_same, Mapped& out) const {
    out.document.tokens.push_back(id);
    out.document.in_loss.push_back(in.in_loss[t]);
    if (!in.weights.empty()) out.document.weights.push_back(in.weights[t]);
    out.rows.push_back(is_same ? static_cast<int32_t>(t) : -1);
  }

  const Tokenizer& from_;
  const Tokenizer& to_;
  const TokenDataset& data_;
  std::vector<int32_t> new_id_;  // (V of the old)
  std::array<int32_t, 256> byte_id_;
};

}  // namespace

std::vector<int64_t> count_tokens(const TokenDataset& data, int64_t vocab_size) {
  std::vector<int64_t> counts(static_cast<size_t>(vocab_size), 0);
  for (const TokenDocument& document : data.documents)
    for (const int32_t id : document.tokens) ++counts.at(static_cast<size_t>(id));
  return counts;
}

TokenDataset remap_dataset(const TokenDataset& data, const Tokenizer& old_tokenizer, const Tokenizer& new_tokenizer,
                           const VocabularyCut& cut) {
  const Remapper remap(old_tokenizer, new_tokenizer, cut, data);
  TokenDataset out = dataset_of(new_tokenizer);
  out.signal_k = data.signal_k;
  out.sampled = data.sampled;
  out.hidden_width = data.hidden_width;
  out.signal_numerics = data.signal_numerics;
  out.store = data.store;
  if (data.store != nullptr) out.store_ids = remap.new_ids(data.store_ids);
  for (const TokenDocument& document : data.documents) out.documents.push_back(remap(document));
  return out;
}

}  // namespace attar
