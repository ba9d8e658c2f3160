#include "runtime/formats/jinja/values/marked_text.h"

#include <algorithm>

#include "runtime/base/error.h"

namespace attar::jinja {
namespace {

void check_room(const Text& text, size_t more) {
  if (more > kMostText_bytes - std::min(text.size(), kMostText_bytes))
    throw input_error("chat template", "a text grows too long", "at most 16 MiB");
}

}  // namespace

char TextView::all_marks() const {
  char bits = 0;
  for (const char mark : marks) bits = static_cast<char>(bits | mark);
  return bits;
}

Text& Text::append(TextView more) {
  check_room(*this, more.size());
  if (!more.marks.empty()) {
    marks.resize(bytes.size());  // of the bytes that had none yet
    marks += more.marks;
  } else if (!marks.empty()) {
    marks.resize(bytes.size() + more.size());
  }
  bytes += more.bytes;
  return *this;
}

Text& Text::append(std::string_view more, char mark) {
  check_room(*this, more.size());
  if (mark != 0 && marks.empty()) marks.resize(bytes.size());
  bytes += more;
  if (mark != 0 || !marks.empty()) marks.resize(bytes.size(), mark);
  return *this;
}

void Text::mark_all(char bits) {
  marks.resize(bytes.size());
  for (char& mark : marks) mark = static_cast<char>(mark | bits);
}

}  // namespace attar::jinja
