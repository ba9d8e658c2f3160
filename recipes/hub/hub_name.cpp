#include "recipes/hub/hub_name.h"

#include <algorithm>
#include <cctype>

#include "runtime/base/error.h"

namespace attar {
namespace {

constexpr const char* kForm = "hf:ORG/NAME, hf:ORG/NAME:FILE.gguf or hf:ORG/NAME@REVISION:FILE.gguf";
constexpr size_t kLongest = 512;

bool is_word(std::string_view text) {
  return !text.empty() && text.size() < kLongest && text.front() != '.' && text.front() != '-' &&
         std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-'; });
}

}  // namespace

bool is_hexadecimal(std::string_view text, size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool is_commit(std::string_view revision) {
  return is_hexadecimal(revision, 40);
}

bool is_inner_path(std::string_view path) {
  if (path.empty() || path.size() > kLongest) return false;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return std::all_of(path.begin(), path.end(), [](unsigned char c) { return c >= 0x20 && c != 0x7f && c != '\\'; });
}

std::string HubName::text() const {
  return "hf:" + repository + (revision == "main" ? "" : "@" + revision) + (file.empty() ? "" : ":" + file);
}

HubName parse_hub_name(const std::string& model) {
  const std::string body = model.substr(std::min<size_t>(3, model.size()));
  const size_t colon = body.find(':'), at = body.substr(0, colon).find('@');
  HubName name{.repository = body.substr(0, std::min(colon, at))};
  if (at != std::string::npos) name.revision = body.substr(at + 1, colon == std::string::npos ? colon : colon - at - 1);
  if (colon != std::string::npos) name.file = body.substr(colon + 1);
  const size_t slash = name.repository.find('/');
  if (slash == std::string::npos || !is_word(name.repository.substr(0, slash)) ||
      !is_word(name.repository.substr(slash + 1)) || name.repository.find("--") != std::string::npos)
    throw usage_error(printable(model), "is no name of a model on the hub", kForm);
  if (name.file.find('@') != std::string::npos)
    throw usage_error(printable(model), "has its revision in another place", "hf:ORG/NAME@REVISION:FILE.gguf");
  if (!is_inner_path(name.revision)) throw usage_error(printable(model), "names no revision", kForm);
  if (colon != std::string::npos && !is_inner_path(name.file))
    throw usage_error(printable(model), "names no file", kForm);
  return name;
}

}  // namespace attar
