// What a grammar says, whoever wrote it: rules over bytes and characters. GBNF and JSON Schema are read into these, and
// `Automaton` is made of them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace attar::runtime {

struct CodeRange {
  uint32_t first, last;  // code points, both inside
};
inline constexpr uint32_t kMostCodePoint = 0x10FFFF;

inline constexpr uint32_t kNoLimit = UINT32_MAX;
inline constexpr uint32_t kMostRepeats = 65536;  // that a count may ask for
// Expressions of one grammar: twice the nodes that it may become, each of which comes of about one.
inline constexpr size_t kMostPieces = size_t{1} << 19;

// Ascending and apart, neighbours joined.
std::vector<CodeRange> joined(std::vector<CodeRange> ranges);
// All other code points; surrogates are in neither.
std::vector<CodeRange> others(const std::vector<CodeRange>& joined_ranges);
std::vector<CodeRange> both(const std::vector<CodeRange>& a, const std::vector<CodeRange>& b);

using Piece = uint32_t;  // a place in Rules::pieces

struct Expression {
  enum class Kind : uint8_t { Text, Class, Sequence, Choice, Repeat, Rule };
  Kind kind = Kind::Text;
  std::string text{};               // of Text: its bytes
  std::vector<CodeRange> ranges{};  // of Class: ascending and apart, never none
  std::vector<Piece> parts{};       // of Sequence and Choice; Repeat has one
  uint32_t least = 0, most = 0;     // of Repeat; kNoLimit: as often as one likes
  uint32_t rule = 0;                // of Rule: its place in `rules`
};

struct Rules {
  struct Rule {
    std::string name;  // for messages, which show no more of a long one
    Piece body = 0;
  };
  std::vector<Expression> pieces{1};  // the first is nothing at all
  std::vector<Rule> rules{};
  uint32_t root = 0;
  std::string where{};  // what messages call the grammar: a file, "grammar"

  uint32_t add(std::string_view name, Piece body = 0);
  uint32_t named(std::string_view name) const;  // the first that is; rules.size(): none is

  // Of all that make a piece: Error{Usage} naming `where` for more than kMostPieces.
  Piece text(std::string_view bytes);
  Piece one_of(std::vector<CodeRange> set);  // in any order; never none
  Piece sequence(std::vector<Piece> parts);
  Piece choice(std::vector<Piece> parts);
  Piece repeat(Piece part, uint32_t least, uint32_t most);
  Piece maybe(Piece part) { return repeat(part, 0, 1); }
  Piece call(uint32_t rule);

 private:
  Piece add(Expression piece);
};

}  // namespace attar::runtime
