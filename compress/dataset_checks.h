// What the numbers of a stored data set may be, before anything is indexed with them.
#pragma once

#include <cstdint>
#include <string>

#include "compress/token_dataset.h"
#include "runtime/base/error.h"

namespace attar {

Error damaged_dataset(const std::string& path, const std::string& part);

// The first 512 bytes of a data set's file, whose other bytes have this SHA-256.
std::string dataset_user_block(const std::string& sha256_hex);

// Error{Input} naming `path` and the array: a token outside [0, vocab_size), a mark that is neither 0 nor 1, a signal
// that names a token twice or none of the vocabulary, log-probabilities of NaN or of more than 1 in all, numerics that
// are unknown.
void check_dataset(const TokenDataset& dataset, int64_t vocab_size, const std::string& path);

// Error{Input} where the data set `kept` at `path` was made of something else than `wanted`: its teacher, text,
// options, or the kind and the numerics of its signal, each of which it names. `hint`: the way out.
void require_made_alike(const TokenDataset& kept, const TokenDataset& wanted, const std::string& path,
                        const std::string& hint);

}  // namespace attar
