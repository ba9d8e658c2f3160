#include "runtime/base/error.h"

#include <filesystem>
#include <new>
#include <system_error>
#include <utility>

#include "runtime/base/words/utf8.h"

namespace attar {
namespace {

std::string compose(const Error::Parts& parts) {
  std::string text = parts.where;
  if (!text.empty()) text += ": ";
  text += parts.what;
  if (!parts.expected.empty() || !parts.got.empty()) {
    text += " (";
    if (!parts.expected.empty()) text += "expected " + parts.expected;
    if (!parts.expected.empty() && !parts.got.empty()) text += ", ";
    if (!parts.got.empty()) text += "got " + parts.got;
    text += ")";
  }
  if (!parts.hint.empty()) text += "; " + parts.hint;
  return text;
}

constexpr size_t kLongestPath = 4096;  // that is shown

// Whoever names a path that cannot be, or may not go there, gave the wrong one.
bool is_of_input(const std::error_code& code) {
  for (const std::errc given :
       {std::errc::no_such_file_or_directory, std::errc::permission_denied, std::errc::operation_not_permitted,
        std::errc::not_a_directory, std::errc::filename_too_long, std::errc::too_many_symbolic_link_levels})
    if (code == given) return true;
  return false;
}

}  // namespace

Error::Error(ErrorKind kind, Parts parts) : std::runtime_error(compose(parts)), kind_(kind), parts_(std::move(parts)) {}

Error input_error(std::string where, std::string what, std::string expected, std::string got, std::string hint) {
  return Error(ErrorKind::Input,
               {std::move(where), std::move(what), std::move(expected), std::move(got), std::move(hint)});
}

Error usage_error(std::string where, std::string what, std::string expected, std::string got, std::string hint) {
  return Error(ErrorKind::Usage,
               {std::move(where), std::move(what), std::move(expected), std::move(got), std::move(hint)});
}

Error as_error(const std::exception& thrown) {
  if (const auto* own = dynamic_cast<const Error*>(&thrown)) return *own;
  if (dynamic_cast<const std::bad_alloc*>(&thrown) != nullptr)
    return Error(ErrorKind::Resources,
                 {.what = "out of memory", .hint = "close other programs, or use a smaller model or batch"});
  if (const auto* refused = dynamic_cast<const std::filesystem::filesystem_error*>(&thrown)) {
    const std::string path = refused->path1().string();
    return Error(is_of_input(refused->code()) ? ErrorKind::Input : ErrorKind::Resources,
                 {.where = path.empty() ? "the working folder" : printable(path, kLongestPath),
                  .what = "cannot be used: " + refused->code().message()});
  }
  const bool of_system = dynamic_cast<const std::system_error*>(&thrown) != nullptr;  // no thread to be had
  const std::string text(thrown.what());
  return Error(of_system ? ErrorKind::Resources : ErrorKind::Failure, {.what = text.substr(0, text.find('\n'))});
}

std::string printable(const std::string& text, size_t limit) {
  return visible(text, limit);
}

}  // namespace attar
