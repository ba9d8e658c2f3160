// Where two readings of one text both end a token: between those places lie the same bytes in other tokens.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace attar {

struct SharedEnd {
  size_t first = 0, second = 0;  // tokens of either reading up to here
  bool operator==(const SharedEnd&) const = default;
};

// Of tokens that end at these bytes, each ascending (EncodedText::ends): tokens of nothing belong to what ends there,
// those before byte 0 (BOS) stand apart. What follows the last shared place is one stretch, that of both ends; between
// two places neither reading has another, so the stretches are as short as can be and hold every token once.
std::vector<SharedEnd> shared_ends(std::span<const size_t> first, std::span<const size_t> second);

}  // namespace attar
