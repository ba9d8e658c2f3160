// The one exception type for everything that input, files, recipes or the machine can cause.
// A bug in Attar's own code is an assert, never an Error.
#pragma once

#include <exception>
#include <stdexcept>
#include <string>

namespace attar {

// The value is the exit code of the programs (README, "Exit codes").
enum class ErrorKind : int {
  Failure = 1,        // anything else that went wrong
  Usage = 2,          // command line or recipe
  Input = 3,          // a model, tokenizer or data file
  GateMissed = 4,     // a verification gate
  Resources = 5,      // memory, disk, file handles
  Interrupted = 130,  // stopped on request after a clean checkpoint
};

// `message()` reads "where: what (expected E, got G); hint". Empty parts are left out.
class Error : public std::runtime_error {
 public:
  struct Parts {
    std::string where{};     // file, file:line:col, recipe key or tensor
    std::string what{};      // the problem, in one clause
    std::string expected{};  // what would have been right
    std::string got{};       // what was found
    std::string hint{};      // what the user can do about it
  };

  Error(ErrorKind kind, Parts parts);

  ErrorKind kind() const { return kind_; }
  const Parts& parts() const { return parts_; }
  int exit_code() const { return static_cast<int>(kind_); }

 private:
  ErrorKind kind_;
  Parts parts_;
};

// Short forms for the two commonest kinds.
Error input_error(std::string where, std::string what, std::string expected = {}, std::string got = {},
                  std::string hint = {});
Error usage_error(std::string where, std::string what, std::string expected = {}, std::string got = {},
                  std::string hint = {});

// What somebody else's code threw, as an Error: memory, threads and what the file system refuses by their kinds, the
// rest is a failure in one line.
Error as_error(const std::exception& thrown);

// Text from a file or a user, safe to show: visible() of base/utf8.h, at most about `limit` bytes, then "...".
std::string printable(const std::string& text, size_t limit = 80);

}  // namespace attar
