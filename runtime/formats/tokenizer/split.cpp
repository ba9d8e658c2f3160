#include "runtime/formats/tokenizer/split.h"

#include <string>

#include "runtime/formats/tokenizer/unicode.h"

namespace attar {
namespace {

// A reading position in one piece.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  bool done(size_t at) const { return at >= text_.size(); }
  size_t size() const { return text_.size(); }
  std::string_view part(size_t from, size_t to) const { return text_.substr(from, to - from); }
  char byte(size_t at) const { return done(at) ? '\0' : text_[at]; }

  CharClass at(size_t position, size_t& next) const {
    const auto first = static_cast<unsigned char>(text_[position]);
    if (first < 0x80) {
      next = position + 1;
      return char_class(first);
    }
    const Decoded c = decode_utf8(text_, position);
    next = position + c.length;
    return char_class(c.code_point);
  }
  bool is(size_t position, CharClass wanted) const {
    size_t next = 0;
    return !done(position) && at(position, next) == wanted;
  }
  // The end of the run of characters for which `belongs` holds.
  template <class Belongs>
  size_t run(size_t position, Belongs&& belongs, size_t most = SIZE_MAX) const {
    size_t next = position;
    while (most > 0 && !done(position) && belongs(at(position, next))) {
      position = next;
      --most;
    }
    return position;
  }

 private:
  std::string_view text_;
};

bool is_letter(CharClass c) {
  return c == CharClass::Letter;
}
bool is_number(CharClass c) {
  return c == CharClass::Number;
}
bool is_space(CharClass c) {
  return c == CharClass::Space || c == CharClass::Newline;
}
bool is_newline(CharClass c) {
  return c == CharClass::Newline;
}
bool is_other(CharClass c) {
  return c == CharClass::Other;
}

// 's|'t|'re|'ve|'m|'ll|'d  -> its end, or `at`
size_t contraction(const Scanner& s, size_t at, bool any_case) {
  if (s.byte(at) != '\'') return at;
  const auto letter = [&](size_t i) {
    return any_case && s.byte(i) >= 'A' && s.byte(i) <= 'Z' ? static_cast<char>(s.byte(i) | 32) : s.byte(i);
  };
  const char a = letter(at + 1), b = letter(at + 2);
  if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return at + 3;
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return at + 2;
  if (any_case && s.byte(at + 1) == '\xC5' && s.byte(at + 2) == '\xBF') return at + 3;  // U+017F folds to s
  return at;
}

// \s+(?!\S)|\s+ from a space on
size_t spaces(const Scanner& s, size_t at) {
  size_t end = at, last = at;
  for (size_t next = at; !s.done(end) && is_space(s.at(end, next)); end = next) last = end;
  return s.done(end) || last == at ? end : last;
}

// R: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
size_t gpt2_match(const Scanner& s, size_t at) {
  if (const size_t end = contraction(s, at, false); end != at) return end;
  const size_t body = s.byte(at) == ' ' ? at + 1 : at;
  if (const size_t end = s.run(body, is_letter); end != body) return end;
  if (const size_t end = s.run(body, is_number); end != body) return end;
  if (const size_t end = s.run(body, is_other); end != body) return end;
  return spaces(s, at);
}

// (?i:'s|...)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,n}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
size_t llama3_match(const Scanner& s, size_t at, size_t digits) {
  if (const size_t end = contraction(s, at, true); end != at) return end;
  size_t next = at;
  const CharClass first = s.at(at, next);
  const size_t letters = is_letter(first) || is_newline(first) || is_number(first) ? at : next;
  if (const size_t end = s.run(letters, is_letter); end != letters) return end;
  if (is_number(first)) return s.run(at, is_number, digits);
  const size_t body = s.byte(at) == ' ' ? at + 1 : at;
  if (const size_t end = s.run(body, is_other); end != body) return s.run(end, is_newline);
  size_t after_newline = at;  // \s*[\r\n]+ ends after the last line break of the run
  for (size_t position = at; !s.done(position);) {
    const CharClass c = s.at(position, next);
    if (!is_space(c)) break;
    position = next;
    if (is_newline(c)) after_newline = position;
  }
  return after_newline != at ? after_newline : spaces(s, at);
}

template <class Match>
void split_by(std::string_view text, Match&& match, const PieceVisitor& visit) {
  const Scanner scanner(text);
  for (size_t at = 0; at < text.size();) {
    const size_t end = match(scanner, at);
    visit(scanner.part(at, end));
    at = end;
  }
}

// Matches of a run expression and the gaps between them, both pieces.
template <class End>
void split_runs(std::string_view text, End&& run_end, const PieceVisitor& visit) {
  size_t gap = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = run_end(at);
    if (end == at) {
      at += decode_utf8(text, at).length;
      continue;
    }
    if (gap < at) visit(text.substr(gap, at - gap));
    visit(text.substr(at, end - at));
    gap = at = end;
  }
  if (gap < text.size()) visit(text.substr(gap));
}

void split_gpt2(std::string_view text, const PieceVisitor& visit) {
  split_by(text, gpt2_match, visit);
}

// \p{N} then R
void split_smollm(std::string_view text, const PieceVisitor& visit) {
  const Scanner scanner(text);
  split_runs(
      text, [&](size_t at) { return scanner.run(at, is_number, 1); },
      [&](std::string_view piece) { split_gpt2(piece, visit); });
}

void split_llama3(std::string_view text, const PieceVisitor& visit) {
  split_by(
      text, [](const Scanner& s, size_t at) { return llama3_match(s, at, 3); }, visit);
}
void split_qwen2(std::string_view text, const PieceVisitor& visit) {
  split_by(
      text, [](const Scanner& s, size_t at) { return llama3_match(s, at, 1); }, visit);
}

// [\p{P}\$\+<=>\^~\|]+ then R then \p{N}+ then [0-9][0-9][0-9]
void split_default(std::string_view text, const PieceVisitor& visit) {
  const auto punctuation = [&](size_t at) {
    while (at < text.size()) {
      const Decoded c = decode_utf8(text, at);
      const bool symbol = c.code_point < 0x80 &&
                          std::string_view("$+<=>^~|").find(static_cast<char>(c.code_point)) != std::string_view::npos;
      if (!symbol && !is_punctuation(c.code_point)) break;
      at += c.length;
    }
    return at;
  };
  const auto triples = [&](std::string_view piece) {
    const auto digit = [&](size_t i) { return i < piece.size() && piece[i] >= '0' && piece[i] <= '9'; };
    split_runs(
        piece, [&](size_t at) { return digit(at) && digit(at + 1) && digit(at + 2) ? at + 3 : at; }, visit);
  };
  const auto numbers = [&](std::string_view piece) {
    const Scanner scanner(piece);
    split_runs(
        piece, [&](size_t at) { return scanner.run(at, is_number); }, triples);
  };
  split_runs(text, punctuation, [&](std::string_view piece) { split_gpt2(piece, numbers); });
}

struct SplitRow {
  std::string_view pre;
  std::string_view canonical;
  SplitFunction split;
};
constexpr SplitRow kSplits[] = {
    {"gpt-2", "gpt-2", split_gpt2},        {"smollm", "smollm", split_smollm},
    {"starcoder", "smollm", split_smollm}, {"refact", "smollm", split_smollm},
    {"command-r", "smollm", split_smollm}, {"llama-bpe", "llama-bpe", split_llama3},
    {"llama3", "llama-bpe", split_llama3}, {"llama-v3", "llama-bpe", split_llama3},
    {"qwen2", "qwen2", split_qwen2},       {"default", "default", split_default},
};

}  // namespace

SplitFunction find_split(std::string_view pre) {
  for (const SplitRow& row : kSplits)
    if (row.pre == pre) return row.split;
  return nullptr;
}

std::string_view canonical_pre(std::string_view pre) {
  for (const SplitRow& row : kSplits)
    if (row.pre == pre) return row.canonical;
  return pre;
}

}  // namespace attar
