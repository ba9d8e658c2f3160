#include "runtime/base/host/kernel_file.h"

#include <cstdio>
#include <memory>

namespace attar {

std::string kernel_file(const std::string& path) {
  const auto close = [](FILE* file) { std::fclose(file); };
  const std::unique_ptr<FILE, decltype(close)> file(std::fopen(path.c_str(), "re"), close);
  std::string text;
  char part[4096];
  for (size_t n = 1; file != nullptr && n > 0; text.append(part, n)) n = std::fread(part, 1, sizeof part, file.get());
  return text;
}

std::string kernel_line(const std::string& path) {
  const std::string text = kernel_file(path);
  return text.substr(0, text.find('\n'));
}

std::string kernel_value(const std::string& text, std::string_view key) {
  for (size_t begin = 0; begin < text.size();) {
    const std::string_view line = std::string_view(text).substr(begin, text.find('\n', begin) - begin);
    if (line.substr(0, key.size()) == key) {
      const size_t value = line.find_first_not_of(" \t:", key.size());
      return value == std::string_view::npos ? std::string() : std::string(line.substr(value));
    }
    begin += line.size() + 1;
  }
  return {};
}

}  // namespace attar
