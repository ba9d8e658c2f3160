// What the numbers of a stored data set may be, before anything is indexed with them.
#pragma once

#include <cstdint>
#include <string>

#include "compress/kept/kept_file.h"
#include "compress/token_dataset.h"
#include "runtime/base/error.h"

namespace attar {

Error damaged_dataset(const std::string& path, const std::string& part);

// The first 512 bytes of a data set's file, whose other bytes have this SHA-256.
std::string dataset_user_block(const std::string& sha256_hex);

// Error{Input} naming `path` and the array: a token outside [0, vocab_size), a mark that is neither 0 nor 1, a weight
// that is none.
void check_text(const TokenDocument& document, int64_t vocab_size, const std::string& path);
// The same of the signal of a document of so many tokens: one that names a token twice or none of the vocabulary,
// log-probabilities of NaN or of more than 1 in all, states that are no numbers.
void check_signal(const TokenDocument& document, size_t tokens, const TokenDataset& head, int64_t vocab_size,
                  const std::string& path);

// What a data set follows from and what its signal is, by the names that people know.
Identity identity_of(const TokenDataset& data);
// Error{Input} where the data set `kept` at `path` was made of something else than `wanted`: its teacher, text,
// options, or the kind and the numerics of its signal, each of which it names. `hint`: the way out.
void require_made_alike(const TokenDataset& kept, const TokenDataset& wanted, const std::string& path,
                        const std::string& hint);

}  // namespace attar
