// Chat templates that go by a name, for models that come without one.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar {

struct KnownTemplate {
  std::string_view name;
  std::string_view tokens;  // control tokens it writes, a blank between; none: its marks are plain text
  const char* source;       // Jinja; writes bos_token in front
};

std::span<const KnownTemplate> known_templates();
const KnownTemplate* find_known_template(std::string_view name);  // nullptr: none
std::string known_template_names();                               // "chatml, llama3, ..."

// Those of its control tokens that the vocabulary lacks, a blank between; "": none.
std::string missing_tokens(const KnownTemplate& known, const TokenizerData& tokenizer);
// The first that has control tokens, all of them in the vocabulary; nullptr: none.
const KnownTemplate* fitting_template(const TokenizerData& tokenizer);

}  // namespace attar
