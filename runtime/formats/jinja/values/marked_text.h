// Text that knows where each of its bytes came from: the template's own words, or a message that somebody else wrote.
// What is made of texts keeps their marks; where two sources mix in one byte it counts as input.
#pragma once

#include <string>
#include <string_view>

namespace attar::jinja {

inline constexpr size_t kMostText_bytes = size_t{16} << 20;

// Bits of a byte's mark; none of them: the template's own words.
inline constexpr char kInput = 1;      // of messages, tools and flags
inline constexpr char kGenerated = 2;  // written inside {% generation %}

struct Text;

// A stretch of a text.
struct TextView {
  std::string_view bytes;
  std::string_view marks{};  // one a byte; empty: no byte has any

  TextView() = default;
  TextView(const Text& text);
  TextView(std::string_view plain, std::string_view its_marks = {}) : bytes(plain), marks(its_marks) {}
  TextView(const char* plain) : bytes(plain) {}
  TextView(const std::string& plain) : bytes(plain) {}
  size_t size() const { return bytes.size(); }
  bool empty() const { return bytes.empty(); }
  char mark(size_t at) const { return marks.empty() ? char{0} : marks[at]; }
  char all_marks() const;  // or-ed
  TextView substr(size_t at, size_t n = std::string_view::npos) const {
    return {bytes.substr(at, n), marks.empty() ? marks : marks.substr(at, n)};
  }
};

struct Text {
  std::string bytes;
  std::string marks{};  // as of TextView
  bool safe = false;    // jinja2's Markup: what `+` and its methods join to it is HTML-escaped

  Text() = default;
  explicit Text(std::string plain, char mark = 0) : bytes(std::move(plain)) {
    if (mark != 0) marks.assign(bytes.size(), mark);
  }
  explicit Text(TextView view) : bytes(view.bytes), marks(view.marks) {}
  size_t size() const { return bytes.size(); }
  bool empty() const { return bytes.empty(); }
  Text& append(TextView more);  // Error{Input} past kMostText_bytes, as below
  Text& append(std::string_view more, char mark);
  void mark_all(char bits);
};

inline TextView::TextView(const Text& text) : bytes(text.bytes), marks(text.marks) {}

}  // namespace attar::jinja
