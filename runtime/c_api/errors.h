// What every function of the C library is made of: codes for exceptions, checks of what the caller gave.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

#include "runtime/attar_runtime.h"
#include "runtime/base/error.h"

namespace attar::c_api {

// A handle that is in a call already.
class Busy : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// For attar_last_code() and attar_last_error(). -> the code
int remember(int code, const char* message) noexcept;

// The same of the exception that is being handled.
int remember_exception() noexcept;

// Runs a call; -> its code, remembered after whatever a callback called meanwhile.
template <class Call>
int code_of(Call&& call) noexcept {
  try {
    call();
    return remember(ATTAR_OK, "");
  } catch (...) {
    return remember_exception();
  }
}

// Of a callback that stopped the call, or attar_cancel.
Error cancelled();

template <class T>
T* given(T* pointer, const char* name) {
  if (pointer == nullptr) throw usage_error(name, "is NULL");
  return pointer;
}

// A struct's size as the caller's header has it: from the first version's to this one's.
void check_size(const char* name, size_t size_bytes, size_t least, size_t most);

// What the caller gave (nullptr: nothing), over the defaults, which stay where its header is older.
template <class T>
T complete(const char* name, const T* from, T defaults, size_t least) {
  if (from == nullptr) return defaults;
  check_size(name, from->size_bytes, least, sizeof defaults);
  std::memcpy(&defaults, from, from->size_bytes);
  return defaults;
}

// Fills in the caller's struct, as far as its header knows it.
template <class T>
void write_defaults(T* into, size_t size_bytes, T defaults, size_t least) {
  check_size("options", size_bytes, least, sizeof defaults);
  defaults.size_bytes = size_bytes;
  std::memcpy(given(into, "options"), &defaults, size_bytes);
}

// Copies what there is room for. -> how many there are
template <class T, class Values>
int64_t copy_out(const Values& values, T* into, int64_t capacity) {
  const auto n = static_cast<int64_t>(values.size());
  const int64_t copied = capacity < n ? capacity : n;
  for (int64_t i = 0; into != nullptr && i < copied; ++i) into[i] = values[static_cast<size_t>(i)];
  return n;
}

// The same of text, with a null behind it where there is room.
inline int64_t write_text(const std::string& text, char* into, int64_t capacity) {
  const int64_t n = copy_out(text, into, capacity);
  if (into != nullptr && n < capacity) into[n] = '\0';
  return n;
}

}  // namespace attar::c_api
