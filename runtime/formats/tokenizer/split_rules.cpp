#include "runtime/formats/tokenizer/split_rules.h"

#include "runtime/formats/tokenizer/unicode.h"

namespace attar::split_rules {
namespace {

// A reading position in one piece.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  bool done(size_t at) const { return at >= text_.size(); }
  size_t size() const { return text_.size(); }
  std::string_view part(size_t from, size_t to) const { return text_.substr(from, to - from); }
  char byte(size_t at) const { return done(at) ? '\0' : text_[at]; }

  uint32_t code_point(size_t position, size_t& next) const {
    const Decoded c = decode_utf8(text_, position);
    next = position + c.length;
    return c.code_point;
  }
  CharClass at(size_t position, size_t& next) const {
    const auto first = static_cast<unsigned char>(text_[position]);
    if (first < 0x80) {
      next = position + 1;
      return char_class(first);
    }
    return char_class(code_point(position, next));
  }
  // The end of the run of characters for whose class `belongs` holds.
  template <class Belongs>
  size_t run(size_t position, Belongs&& belongs, size_t most = SIZE_MAX) const {
    size_t next = position;
    while (most > 0 && !done(position) && belongs(at(position, next))) {
      position = next;
      --most;
    }
    return position;
  }

  // The same for the characters themselves.
  template <class Belongs>
  size_t run_of(size_t position, Belongs&& belongs) const {
    for (size_t next = position; !done(position) && belongs(code_point(position, next));) position = next;
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

enum class Letters { Plain, WithMarks, Cased };           // \p{L}, [\p{L}\p{M}], words that change case but once
enum class Contractions { None, BeforeWord, AfterWord };  // (?i:'s|'t|'re|'ve|'m|'ll|'d), alone or at a word's end
enum class AfterSigns { Nothing, Newlines, NewlinesAndSlashes };

// The expressions that came after GPT-2's, by what tells them apart:
// CONTRACTION|[^\r\n\p{L}\p{N}]?LETTERS|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+AFTER*|\s*[\r\n]+|\s+(?!\S)|\s+
struct WordRule {
  Letters letters = Letters::Plain;
  Contractions contractions = Contractions::BeforeWord;
  size_t digits = 1;
  AfterSigns after_signs = AfterSigns::Newlines;
};

// The end of the run of characters that one half of a cased word may have.
size_t case_run(const Scanner& s, size_t at, LetterCase half) {
  return s.run_of(at, [half](uint32_t c) { return letter_case(c) == half || letter_case(c) == LetterCase::Either; });
}

// [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+ -> its end, or `at`
size_t upper_then_lower(const Scanner& s, size_t at) {
  const size_t upper_end = case_run(s, at, LetterCase::Upper);
  if (const size_t end = case_run(s, upper_end, LetterCase::Lower); end != upper_end) return end;
  size_t end = at;  // backtracking: the first half gives back what follows its last letter of either case
  for (size_t position = at, next = at; position < upper_end; position = next)
    if (letter_case(s.code_point(position, next)) == LetterCase::Either) end = next;
  return end;
}

// [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]* -> its end, or `at`
size_t upper_maybe_lower(const Scanner& s, size_t at) {
  const size_t upper_end = case_run(s, at, LetterCase::Upper);
  return upper_end == at ? at : case_run(s, upper_end, LetterCase::Lower);
}

// [^\r\n\p{L}\p{N}]?LETTERS -> its end, or `at`
size_t word(const Scanner& s, size_t at, const WordRule& rule) {
  size_t after_first = at;
  const CharClass first = s.at(at, after_first);
  const bool may_lead = !is_letter(first) && !is_newline(first) && !is_number(first);
  const auto with_or_without_lead = [&](auto&& letters) {
    if (const size_t end = letters(after_first); may_lead && end != after_first) return end;
    return letters(at);
  };
  if (rule.letters == Letters::Plain) return with_or_without_lead([&](size_t i) { return s.run(i, is_letter); });
  if (rule.letters == Letters::WithMarks)
    return with_or_without_lead(
        [&](size_t i) { return s.run_of(i, [](uint32_t c) { return letter_case(c) != LetterCase::None; }); });
  size_t end = with_or_without_lead([&](size_t i) { return upper_then_lower(s, i); });
  if (end == at) end = with_or_without_lead([&](size_t i) { return upper_maybe_lower(s, i); });
  return end != at && rule.contractions == Contractions::AfterWord ? contraction(s, end, true) : end;
}

// \s*[\r\n]+ -> its end, or `at`
size_t line_breaks(const Scanner& s, size_t at) {
  size_t end = at;  // after the last line break of the run of spaces
  for (size_t position = at, next = at; !s.done(position); position = next) {
    const CharClass c = s.at(position, next);
    if (!is_space(c)) break;
    if (is_newline(c)) end = next;
  }
  return end;
}

size_t word_match(const Scanner& s, size_t at, const WordRule& rule) {
  if (rule.contractions == Contractions::BeforeWord)
    if (const size_t end = contraction(s, at, true); end != at) return end;
  if (const size_t end = word(s, at, rule); end != at) return end;
  if (const size_t end = s.run(at, is_number, rule.digits); end != at) return end;
  const size_t body = s.byte(at) == ' ' ? at + 1 : at;
  const bool marks_are_letters = rule.letters == Letters::WithMarks;
  const auto is_sign = [&](uint32_t c) {
    return is_other(char_class(c)) && !(marks_are_letters && letter_case(c) != LetterCase::None);
  };
  if (const size_t end = s.run_of(body, is_sign); end != body) {
    if (rule.after_signs == AfterSigns::Nothing) return end;
    const bool slashes = rule.after_signs == AfterSigns::NewlinesAndSlashes;
    return s.run_of(end, [&](uint32_t c) { return c == '\r' || c == '\n' || (slashes && c == '/'); });
  }
  if (const size_t end = line_breaks(s, at); end != at) return end;
  return spaces(s, at);
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

void split_words(std::string_view text, const WordRule& rule, const PieceVisitor& visit) {
  split_by(
      text, [&](const Scanner& s, size_t at) { return word_match(s, at, rule); }, visit);
}

// Runs of characters for which `belongs` holds, and the gaps between them; or, with `most`, parts of such runs.
template <class Belongs>
void split_class(std::string_view text, Belongs&& belongs, size_t most, const PieceVisitor& visit) {
  const Scanner scanner(text);
  split_runs(
      text, [&](size_t at) { return scanner.run(at, belongs, most); }, visit);
}
template <class Belongs>
void split_characters(std::string_view text, Belongs&& belongs, const PieceVisitor& visit) {
  const Scanner scanner(text);
  split_runs(
      text, [&](size_t at) { return scanner.run_of(at, belongs); }, visit);
}

bool is_sign(uint32_t c) {
  return is_punctuation(c) || is_symbol(c);
}
bool is_ascii_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// SIGN[A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ with SIGN a sign
// of ASCII -> its end, or `at`
size_t deepseek_match(const Scanner& s, size_t at) {
  size_t next = at;
  const uint32_t first = s.code_point(at, next);
  if (first < 0x80 && is_sign(first) && is_ascii_letter(s.byte(next))) {
    while (is_ascii_letter(s.byte(next))) ++next;
    return next;
  }
  const auto letters = [&](size_t i) {
    return s.run_of(i, [](uint32_t c) { return letter_case(c) != LetterCase::None; });
  };
  const bool may_lead = first != '\r' && first != '\n' && !is_letter(char_class(first)) && !is_sign(first);
  if (const size_t end = letters(next); may_lead && end != next) return end;
  if (const size_t end = letters(at); end != at) return end;
  const size_t body = first == ' ' ? next : at;
  if (const size_t end = s.run_of(body, is_sign); end != body) return s.run(end, is_newline);
  if (const size_t end = line_breaks(s, at); end != at) return end;
  return spaces(s, at);
}

// \s? and a run of characters for which `belongs` holds, and the gaps.
template <class Belongs>
void split_after_space(std::string_view text, Belongs&& belongs, const PieceVisitor& visit) {
  const Scanner scanner(text);
  const auto match = [&](size_t at) {
    size_t body = at;
    if (!is_space(scanner.at(at, body))) body = at;
    const size_t end = scanner.run_of(body, belongs);
    return end != body ? end : at;
  };
  split_runs(text, match, visit);
}

// [0-9][0-9][0-9]
void split_triples(std::string_view text, const PieceVisitor& visit) {
  const auto digit = [&](size_t i) { return i < text.size() && text[i] >= '0' && text[i] <= '9'; };
  split_runs(
      text, [&](size_t at) { return digit(at) && digit(at + 1) && digit(at + 2) ? at + 3 : at; }, visit);
}

bool is_ascii_symbol(uint32_t c) {
  return c < 0x80 && std::string_view("$+<=>^~|").find(static_cast<char>(c)) != std::string_view::npos;
}

// [U+4E00-U+9FA5 U+0800-U+4E00 U+AC00-U+D7FF]
bool is_deepseek_cjk(uint32_t c) {
  return (c >= 0x0800 && c <= 0x9FA5) || (c >= 0xAC00 && c <= 0xD7FF);
}

// DeepSeek LLM's list of letters: those of two cases, without these blocks.
bool is_deepseek_letter(uint32_t c) {
  struct Block {
    uint32_t first, last;
  };
  static constexpr Block kWithout[] = {{0x0560, 0x0588},   {0x10C7, 0x10FF},  {0x1C80, 0x1C8F},   {0x2D00, 0x2D2F},
                                       {0xA790, 0xA7FF},   {0xAB30, 0xAB6F},  {0x10570, 0x105BF}, {0x16E40, 0x16E7F},
                                       {0x1D400, 0x1D7FF}, {0x1DF00, 0x1DFFF}};
  for (const Block& block : kWithout)
    if (c >= block.first && c <= block.last) return false;
  return letter_case(c) == LetterCase::Upper || letter_case(c) == LetterCase::Lower;
}

}  // namespace

void gpt2(std::string_view text, const PieceVisitor& visit) {
  split_by(text, gpt2_match, visit);
}

// \p{N} then R
void smollm(std::string_view text, const PieceVisitor& visit) {
  split_class(text, is_number, 1, [&](std::string_view piece) { gpt2(piece, visit); });
}

void llama3(std::string_view text, const PieceVisitor& visit) {
  split_words(text, {.digits = 3}, visit);
}
void qwen2(std::string_view text, const PieceVisitor& visit) {
  split_words(text, {}, visit);
}
void qwen35(std::string_view text, const PieceVisitor& visit) {
  split_words(text, {.letters = Letters::WithMarks}, visit);
}
void seed_coder(std::string_view text, const PieceVisitor& visit) {
  split_words(text, {.after_signs = AfterSigns::Nothing}, visit);
}

// \p{N}{1,3} then Llama 3's with \p{N}+
void minicpm5(std::string_view text, const PieceVisitor& visit) {
  split_class(text, is_number, 3, [&](std::string_view piece) { llama3(piece, visit); });
}

void tekken(std::string_view text, const PieceVisitor& visit) {
  constexpr WordRule kRule{Letters::Cased, Contractions::None, 1, AfterSigns::NewlinesAndSlashes};
  split_words(text, kRule, visit);
}
void gpt4o(std::string_view text, const PieceVisitor& visit) {
  constexpr WordRule kRule{Letters::Cased, Contractions::AfterWord, 3, AfterSigns::NewlinesAndSlashes};
  split_words(text, kRule, visit);
}

// \p{N}{1,3} then [U+4E00-U+9FA5 U+3040-U+30FF]+ then deepseek_match
void deepseek_v3(std::string_view text, const PieceVisitor& visit) {
  const auto is_cjk = [](uint32_t c) { return (c >= 0x4E00 && c <= 0x9FA5) || (c >= 0x3040 && c <= 0x30FF); };
  const auto words = [&](std::string_view piece) {
    const Scanner scanner(piece);
    split_runs(
        piece, [&](size_t at) { return deepseek_match(scanner, at); }, visit);
  };
  split_class(text, is_number, 3, [&](std::string_view piece) { split_characters(piece, is_cjk, words); });
}

// [\r\n] then \s?\p{L}+ then \s?\p{P}+ then [CJK]+ then \p{N}
void deepseek_coder(std::string_view text, const PieceVisitor& visit) {
  const auto is_letter_of = [](uint32_t c) { return is_letter(char_class(c)); };
  const auto numbers = [&](std::string_view piece) { split_class(piece, is_number, 1, visit); };
  const auto cjk = [&](std::string_view piece) { split_characters(piece, is_deepseek_cjk, numbers); };
  const auto signs = [&](std::string_view piece) { split_after_space(piece, is_punctuation, cjk); };
  const auto letters = [&](std::string_view piece) { split_after_space(piece, is_letter_of, signs); };
  split_class(text, is_newline, 1, letters);
}

// [\r\n] then \s?[LETTERS]+ then \s?[SIGNS]+ then \s+$ then [CJK]+ then \p{N}+
void deepseek_llm(std::string_view text, const PieceVisitor& visit) {
  const auto is_signs = [](uint32_t c) {  // ASCII from ! on without digits, its full-width twins, quotes, CJK stops
    return (c >= '!' && c <= '~' && !(c >= '0' && c <= '9')) ||
           (c >= 0xFF01 && c <= 0xFF5E && !(c >= 0xFF10 && c <= 0xFF19)) || (c >= 0x2018 && c <= 0x201F) ||
           (c >= 0x3000 && c <= 0x3002);
  };
  const auto numbers = [&](std::string_view piece) { split_class(piece, is_number, SIZE_MAX, visit); };
  const auto cjk = [&](std::string_view piece) { split_characters(piece, is_deepseek_cjk, numbers); };
  const auto end = [&](std::string_view piece) {
    const Scanner scanner(piece);
    split_runs(
        piece,
        [&](size_t at) {
          const size_t run_end = scanner.run(at, is_space);
          return scanner.done(run_end) ? run_end : at;
        },
        cjk);
  };
  const auto signs = [&](std::string_view piece) { split_after_space(piece, is_signs, end); };
  const auto letters = [&](std::string_view piece) { split_after_space(piece, is_deepseek_letter, signs); };
  split_class(text, is_newline, 1, letters);
}

// [\p{P}\$\+<=>\^~\|`]+ then R then [0-9][0-9][0-9]
void falcon(std::string_view text, const PieceVisitor& visit) {
  const auto belongs = [](uint32_t c) { return is_ascii_symbol(c) || c == '`' || is_punctuation(c); };
  const auto words = [&](std::string_view piece) {
    gpt2(piece, [&](std::string_view part) { split_triples(part, visit); });
  };
  split_characters(text, belongs, words);
}

// [\p{P}\$\+<=>\^~\|]+ then R then \p{N}+ then [0-9][0-9][0-9]
void llama_cpp_default(std::string_view text, const PieceVisitor& visit) {
  const auto belongs = [](uint32_t c) { return is_ascii_symbol(c) || is_punctuation(c); };
  const auto triples = [&](std::string_view piece) { split_triples(piece, visit); };
  const auto numbers = [&](std::string_view piece) { split_class(piece, is_number, SIZE_MAX, triples); };
  split_characters(text, belongs, [&](std::string_view piece) { gpt2(piece, numbers); });
}

}  // namespace attar::split_rules
