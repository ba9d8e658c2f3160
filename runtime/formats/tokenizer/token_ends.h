// Where tokens end in the text they were encoded from.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

namespace attar {

// The bytes a token stands for; none for the unknown token, which stands for whatever the vocabulary lacks.
using TokenBytes = std::optional<std::string_view>;

// The tokens of `text` in their order -> (T) where each ends, in bytes. Bytes of the text that no token stands for
// belong to the token after them, or to the last one.
std::vector<size_t> token_ends(std::string_view text, const std::vector<TokenBytes>& tokens);

// Ends in the NFC of a text -> ends in the text itself. An end inside characters that NFC changed is where those end.
std::vector<size_t> ends_before_nfc(std::string_view text, std::string_view composed, const std::vector<size_t>& ends);

}  // namespace attar
