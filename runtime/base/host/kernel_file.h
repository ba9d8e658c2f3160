// Files that the kernel writes as they are read, under /proc and /sys: short, and of no length that is known before.
#pragma once

#include <string>
#include <string_view>

namespace attar {

// "" when it is not there. Not a stream: that would take lack of memory for the end, and bring the C++ library's
// locales into libattar_runtime.
std::string kernel_file(const std::string& path);
std::string kernel_line(const std::string& path);  // its first line

// Of the first line that begins with `key`, what stands behind the key and its colon; "" when there is none.
std::string kernel_value(const std::string& text, std::string_view key);

}  // namespace attar
