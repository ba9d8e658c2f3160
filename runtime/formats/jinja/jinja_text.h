// What the template language does to texts, as Python does it: by characters, whatever their bytes.
#pragma once

#include <string>
#include <string_view>

#include "runtime/formats/jinja/jinja_eval.h"

namespace attar::jinja {

// Bytes of the character at `at`; a byte that is not UTF-8 is one of its own.
size_t character_length(std::string_view text, size_t at);

enum class Ends { Left, Right, Both };
// `set`: the characters to take off; nullptr: blanks.
std::string stripped(std::string_view text, const std::string* set, Ends ends, const Site& site);

using CaseMap = int32_t (*)(int32_t);  // utf8proc_toupper or utf8proc_tolower
std::string mapped(std::string_view text, CaseMap change);
std::string capitalized(const std::string& text);
// Words begin after blanks and opening brackets (the filter of jinja2), or after whatever is no letter (Python's
// method).
enum class Words { Blanks, Letters };
std::string titled(const std::string& text, Words words);

// In time linear in the text, whatever is sought: std::string::find is quadratic on texts that nearly match.
size_t find_text(std::string_view text, std::string_view part, size_t from = 0);
// The first `most`; below 0: all.
std::string replaced(const std::string& text, const std::string& from, const std::string& to, int64_t most = -1);
List split(std::string_view text, int64_t most, int line);  // at runs of blanks
List split(std::string_view text, std::string_view by, int64_t most, int line);

}  // namespace attar::jinja
