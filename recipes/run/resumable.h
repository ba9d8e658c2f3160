// Work that a stop leaves half done: the error says how to go on.
#pragma once

#include <string>

#include "runtime/base/error.h"

namespace attar {

// What `work` returns; an Error{Interrupted} takes `how` as its hint.
template <class Work>
auto resumable(const std::string& how, Work&& work) {
  try {
    return work();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::Interrupted) throw;
    Error::Parts parts = error.parts();
    parts.hint = how;
    throw Error(error.kind(), parts);
  }
}

}  // namespace attar
