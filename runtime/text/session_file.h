// A conversation as a file, to be gone on with by another process: its tokens, their keys and values, and what the
// caller adds. What comes back gives the bits that the unbroken one gives.
//
//   "attar session 1\n"                         16 bytes
//   identity_of(model)                          64, hexadecimal
//   tokens, bytes of what the caller adds       two u64
//   tokens                                      i32 each
//   what the caller adds
//   keys and values (model/kv_bytes.h)
//   SHA-256 of all that                         64, hexadecimal
// Numbers are little-endian.
#pragma once

#include <string>
#include <string_view>

#include "runtime/model/model.h"
#include "runtime/text/conversation.h"

namespace attar::runtime {

// Appears whole or not at all. Error{Resources}: it cannot be written.
void save_session(const std::string& path, const Model& model, Conversation& said, std::string_view added,
                  ThreadPool& threads);

// -> what the caller had added. Error{Input}: it is no such file, it is damaged or cut, or it is of another model,
// other numerics or another format of keys and values; `said` is then what it was.
std::string restore_session(const std::string& path, const Model& model, Conversation& said, ThreadPool& threads);

}  // namespace attar::runtime
