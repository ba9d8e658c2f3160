#include "distill/alignment/aligned_dataset.h"

#include <algorithm>
#include <cstdio>
#include <span>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/words/utf8.h"
#include "runtime/formats/model_text.h"
#include "runtime/formats/tokenizer/shared_ends.h"

namespace attar {
namespace {

// A text that tokens spell, and where each of them ends in it. EOS ends a byte behind the text.
struct Spelling {
  ModelText text{};
  std::vector<size_t> ends{};  // (T) of the tokens that are left
  bool ended = false;          // EOS is the last of them
};

// The same text by two tokenizers.
struct TwoReadings {
  EncodedText own{};               // the new one
  std::vector<uint8_t> in_loss{};  // of its tokens
  std::vector<size_t> other_ends{};
};

// Adds bytes [begin, end) to ascending spans.
void extend(std::vector<ByteSpan>& spans, size_t begin, size_t end) {
  if (begin == end) return;
  if (!spans.empty() && spans.back().end == begin)
    spans.back().end = end;
  else
    spans.push_back({begin, end});
}

class Rereader {
 public:
  Rereader(const Tokenizer& from, const Tokenizer& to) : from_(from), to_(to) {
    for (const Token& token : to.data().tokens)
      if (token.kind == TokenKind::Control || token.kind == TokenKind::UserDefined) known_.insert(token.text);
  }

  TwoReadings operator()(const TokenDocument& document) const {
    size_t n = document.tokens.size();
    Spelling spelling = spelled(document, n);
    for (size_t valid = 0; (valid = valid_utf8_prefix(spelling.text.text)) < spelling.text.text.size();) {
      n = whole_tokens(spelling, valid);
      spelling = spelled(document, n);
    }
    TwoReadings out{.own = encode(to_, spelling.text), .other_ends = std::move(spelling.ends)};
    out.in_loss = counted_tokens(out.own, spelling.text);
    if (spelling.ended && to_.data().eos >= 0) {
      out.own.ids.push_back(to_.data().eos);
      out.own.ends.push_back(out.other_ends.back());
      out.in_loss.push_back(document.in_loss[out.other_ends.size() - 1]);
    }
    return out;
  }

 private:
  // The first `n` tokens.
  Spelling spelled(const TokenDocument& document, size_t n) const {
    Spelling out;
    std::string& text = out.text.text;
    const TokenizerData& data = from_.data();
    bool at_start = true;  // of a stretch of words: SPM's space in front is not in the text
    bool framed = false;   // by control tokens
    for (size_t t = 0; t < n; ++t) {
      const int32_t id = document.tokens[t];
      const Token& token = data.tokens[static_cast<size_t>(id)];
      const size_t begin = text.size();
      if (t + 1 == document.tokens.size() && id == data.eos && !framed) {
        out.ends.push_back(begin + 1), out.ended = true;
        break;
      }
      const bool is_words = !from_.is_control(id);
      if (is_words) {
        const std::string_view bytes = from_.token_bytes(id);
        const bool prefixed = at_start && data.add_space_prefix && bytes.starts_with(' ');
        text.append(bytes, prefixed ? 1 : 0, std::string::npos);
        extend(out.text.words, begin, text.size());
      } else if (token.kind == TokenKind::Control && !(t == 0 && id == data.bos)) {
        if (!goes_on(document, t)) break;
        framed = true;
        text += token.text;
      }
      const bool plain = is_words && token.kind != TokenKind::UserDefined;
      at_start = !plain && (at_start || data.space_prefix != SpacePrefix::FirstUnlessSpace);
      if (document.in_loss[t] != 0) extend(out.text.counted, begin, text.size());
      out.ends.push_back(text.size());
    }
    return out;
  }

  // Whether the new tokenizer has the control token, so that the text goes on.
  bool goes_on(const TokenDocument& document, size_t t) const {
    const Token& token = from_.data().tokens[static_cast<size_t>(document.tokens[t])];
    if (known_.contains(token.text)) return true;
    if (document.in_loss[t] != 0) return false;
    throw input_error("the student's tokenizer", "lacks a control token that the text holds", printable(token.text), "",
                      "chats need a chat_template whose control tokens both tokenizers have");
  }

  // Tokens that end before byte `valid`, between two characters.
  static size_t whole_tokens(const Spelling& spelling, size_t valid) {
    const std::string& text = spelling.text.text;
    size_t n = spelling.ends.size();
    while (n > 0 &&
           (spelling.ends[n - 1] > valid || (static_cast<unsigned char>(text[spelling.ends[n - 1]]) & 0xC0) == 0x80))
      --n;
    return n;
  }

  const Tokenizer& from_;
  const Tokenizer& to_;
  std::unordered_set<std::string_view> known_;
};

// One side of a part: tokens [begin, end) behind `start`. The first of them is not predicted.
struct Slice {
  std::vector<int32_t> tokens;
  std::vector<uint8_t> in_loss;
};
Slice slice_of(const std::vector<int32_t>& tokens, const std::vector<uint8_t>& in_loss, TokenRange range,
               std::span<const int32_t> start) {
  Slice out{{start.begin(), start.end()}, std::vector<uint8_t>(start.size(), 0)};
  const auto add = [&](const auto& from, auto& to) {
    to.insert(to.end(), from.begin() + static_cast<std::ptrdiff_t>(range.begin),
              from.begin() + static_cast<std::ptrdiff_t>(range.end));
  };
  add(tokens, out.tokens);
  add(in_loss, out.in_loss);
  if (!out.in_loss.empty()) out.in_loss[0] = 0;
  return out;
}

// Cuts a document that both have read into parts that neither finds too long.
class Cutter {
 public:
  Cutter(const Tokenizer& teacher, const Tokenizer& student, size_t most)
      : teacher_start_(teacher.start()), student_start_(student.start()), most_(most) {}

  void operator()(const TokenDocument& whole, std::vector<TokenDocument>& out) const {
    const std::vector<OtherReading::End>& chunks = whole.other.chunks;
    for (size_t begin = 0; begin < chunks.size();) {
      const OtherReading::End from = begin == 0 ? OtherReading::End{} : chunks[begin - 1];
      const size_t own_room = most_ - (begin == 0 ? 0 : student_start_.size()),
                   other_room = most_ - (begin == 0 ? 0 : teacher_start_.size());
      size_t end = begin;
      while (end < chunks.size() && static_cast<size_t>(chunks[end].own - from.own) <= own_room &&
             static_cast<size_t>(chunks[end].other - from.other) <= other_room)
        ++end;
      if (end > begin) out.push_back(part_of(whole, begin, end));
      begin = std::max(end, begin + 1);
    }
  }

 private:
  TokenDocument part_of(const TokenDocument& whole, size_t begin, size_t end) const {
    const std::vector<OtherReading::End>& chunks = whole.other.chunks;
    const OtherReading::End from = begin == 0 ? OtherReading::End{} : chunks[begin - 1], to = chunks[end - 1];
    const auto start = [&](std::span<const int32_t> of) { return begin == 0 ? std::span<const int32_t>{} : of; };
    const auto place = [](int64_t i) { return static_cast<size_t>(i); };
    Slice own = slice_of(whole.tokens, whole.in_loss, {place(from.own), place(to.own)}, start(student_start_));
    Slice other =
        slice_of(whole.other.tokens, whole.other.in_loss, {place(from.other), place(to.other)}, start(teacher_start_));
    const OtherReading::End added{static_cast<int64_t>(start(student_start_).size()),
                                  static_cast<int64_t>(start(teacher_start_).size())};
    OtherReading reading{std::move(other.tokens), std::move(other.in_loss), {}};
    if (added != OtherReading::End{}) reading.chunks.push_back(added);
    for (size_t c = begin; c < end; ++c)
      reading.chunks.push_back({chunks[c].own - from.own + added.own, chunks[c].other - from.other + added.other});
    return {.tokens = std::move(own.tokens),
            .in_loss = std::move(own.in_loss),
            .signal_ids = {},
            .signal_log_probs = {},
            .other = std::move(reading)};
  }

  std::span<const int32_t> teacher_start_, student_start_;
  size_t most_;
};

void add_counts(const TokenDocument& document, AlignedData& out) {
  out.loss_tokens += std::count(document.in_loss.begin(), document.in_loss.end(), uint8_t{1});
  for_each_loss_chunk(document, [&](const OtherReading::End& begin, const OtherReading::End& end) {
    ++out.chunks;
    out.student_tokens += end.own - begin.own, out.teacher_tokens += end.other - begin.other;
  });
}

}  // namespace

namespace {

void refuse_weights(const TokenDataset& data) {
  if (data.has_weights())
    throw usage_error("data", "says how much tokens count, and the student has tokens of its own",
                      "data without weights");
}

}  // namespace

TokenDataset in_tokens_of(const Tokenizer& to, const TokenDataset& data, const Tokenizer& from) {
  refuse_weights(data);
  const Rereader reread(from, to);
  TokenDataset out = dataset_of(to);
  for (const TokenDocument& document : data.documents) {
    TwoReadings read = reread(document);
    if (!read.own.ids.empty()) out.documents.push_back({std::move(read.own.ids), std::move(read.in_loss), {}, {}});
  }
  return out;
}

AlignedData aligned_data(const TokenDataset& data, const Tokenizer& teacher, const Tokenizer& student,
                         int64_t most_tokens) {
  refuse_weights(data);
  const Rereader reread(teacher, student);
  const Cutter cut(teacher, student, static_cast<size_t>(std::max<int64_t>(most_tokens, 2)));
  AlignedData out{.data = dataset_of(student)};
  for (const TokenDocument& document : data.documents) {
    TwoReadings read = reread(document);
    const auto left = static_cast<std::ptrdiff_t>(read.other_ends.size());
    TokenDocument whole{std::move(read.own.ids), std::move(read.in_loss), {}, {}};
    whole.other.tokens.assign(document.tokens.begin(), document.tokens.begin() + left);
    whole.other.in_loss.assign(document.in_loss.begin(), document.in_loss.begin() + left);
    for (size_t t = 0; t < whole.other.tokens.size(); ++t)  // stands for bytes that are not in the text
      if (whole.other.tokens[t] == teacher.data().unknown) whole.other.in_loss[t] = 0;
    for (const SharedEnd& end : shared_ends(read.own.ends, read.other_ends))
      whole.other.chunks.push_back({static_cast<int64_t>(end.first), static_cast<int64_t>(end.second)});
    cut(whole, out.data.documents);
  }
  for (const TokenDocument& document : out.data.documents) add_counts(document, out);
  if (out.chunks == 0)
    throw input_error("the training data", "holds nothing that both tokenizers cut at the same places within a part",
                      "text, or chats with assistant turns", "", "raise sequence_tokens");
  return out;
}

std::string AlignedData::note() const {
  char line[200];
  const auto per_chunk = [&](int64_t tokens) { return static_cast<double>(tokens) / static_cast<double>(chunks); };
  std::snprintf(line, sizeof line,
                "two tokenizers: %lld chunks of text that both end a token behind, of %.2f tokens of the student and "
                "%.2f of the teacher; they hold %.1f %% of the student's tokens that count",
                static_cast<long long>(chunks), per_chunk(student_tokens), per_chunk(teacher_tokens),
                100.0 * static_cast<double>(student_tokens) / static_cast<double>(std::max<int64_t>(loss_tokens, 1)));
  return line;
}

}  // namespace attar
