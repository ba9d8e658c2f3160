// Template source -> tokens. Whitespace control (trim_blocks, lstrip_blocks, `-` and `+`) happens here.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/error.h"

namespace attar::jinja {

enum class TokenType {
  Text,
  BlockBegin,
  BlockEnd,
  OutputBegin,
  OutputEnd,
  Name,
  String,
  Integer,
  Float,
  Operator,
  End
};
struct Token {
  TokenType type;
  std::string text;
  int line;
};

// Error{Input} with the line of a syntax error.
std::vector<Token> tokenize(const std::string& source);
Error syntax_error(int line, const std::string& what);

}  // namespace attar::jinja
