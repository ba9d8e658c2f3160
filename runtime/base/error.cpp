#include "runtime/base/error.h"

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

std::string printable(const std::string& text, size_t limit) {
  return visible(text, limit);
}

}  // namespace attar
