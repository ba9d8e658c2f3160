#include "runtime/c_api/errors.h"

#include <string>

namespace attar::c_api {
namespace {

// The codes of the header are the exit codes.
static_assert(ATTAR_FAILED == static_cast<int>(ErrorKind::Failure) &&
              ATTAR_BAD_ARGUMENT == static_cast<int>(ErrorKind::Usage) &&
              ATTAR_BAD_FILE == static_cast<int>(ErrorKind::Input) &&
              ATTAR_OUT_OF_RESOURCES == static_cast<int>(ErrorKind::Resources) &&
              ATTAR_CANCELLED == static_cast<int>(ErrorKind::Interrupted));

thread_local std::string last_error;
thread_local int last_code = ATTAR_OK;

// Of somebody else's code. What to say of it takes memory too.
int remember_other(const std::exception& thrown) noexcept {
  try {
    const Error error = as_error(thrown);
    return remember(error.exit_code(), error.what());
  } catch (const std::bad_alloc&) {
    return remember(ATTAR_OUT_OF_RESOURCES, "out of memory");
  }
}

}  // namespace

int remember(int code, const char* message) noexcept {
  last_code = code;
  try {
    last_error = message;
  } catch (const std::bad_alloc&) {
    last_error = "out of memory";  // short enough to need none
  }
  return code;
}

int remember_exception() noexcept {
  try {
    throw;
  } catch (const Error& error) {
    return remember(error.exit_code(), error.what());
  } catch (const Busy& error) {
    return remember(ATTAR_BUSY, error.what());
  } catch (const std::bad_alloc&) {
    return remember(ATTAR_OUT_OF_RESOURCES, "out of memory");
  } catch (const std::exception& error) {
    return remember_other(error);
  } catch (...) {  // of a callback
    return remember(ATTAR_FAILED, "an exception that is no std::exception");
  }
}

Error cancelled() {
  return {ErrorKind::Interrupted, {.where = "the call", .what = "was cancelled"}};
}

void check_size(const char* name, size_t size_bytes, size_t least, size_t most) {
  if (size_bytes >= least && size_bytes <= most) return;
  throw usage_error(name, "has a size that this library (" ATTAR_VERSION ") does not know",
                    least == most ? std::to_string(most) : std::to_string(least) + " to " + std::to_string(most),
                    std::to_string(size_bytes), "set size_bytes to sizeof the struct");
}

}  // namespace attar::c_api

extern "C" {

const char* attar_version(void) {
  return ATTAR_VERSION;
}

const char* attar_last_error(void) {
  return attar::c_api::last_error.c_str();
}

int attar_last_code(void) {
  return attar::c_api::last_code;
}

}  // extern "C"
