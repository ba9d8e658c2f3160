// What the template language does to texts, as Python does it: by characters, whatever their bytes.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/formats/jinja/values/value.h"

namespace attar::jinja {

// Bytes of the character at `at`; a byte that is not UTF-8 is one of its own.
size_t character_length(std::string_view text, size_t at);
int64_t count_characters(std::string_view text);
// The byte where character `n` starts, from the end where below 0; clamped to the text.
size_t byte_of(std::string_view text, int64_t n);
bool is_blank(std::string_view character);  // str.isspace() of one character
std::vector<TextView> characters(TextView text, const Site& site);

// Each character changed by `change(character, to)`, which appends to `to`; marks stay with what comes of a character.
// `plain` says what a byte becomes that needs no asking, and -1 of one that does: texts are long.
using CharacterChange = std::function<void(std::string_view, std::string&)>;
using ByteChange = int (*)(unsigned char byte);
Text with_each_character(TextView text, const CharacterChange& change, ByteChange plain = nullptr);
Text html_escaped(TextView text);

enum class Ends { Left, Right, Both };
std::string_view without_blanks(std::string_view text, Ends ends);
// `set`: the characters to take off; nullptr: blanks.
TextView stripped(TextView text, const Text* set, Ends ends, const Site& site);

// In time linear in the text, whatever is sought: std::string::find is quadratic on texts that nearly match.
size_t find_text(std::string_view text, std::string_view part, size_t from = 0);
size_t find_last(std::string_view text, std::string_view part);
int64_t count_text(std::string_view text, std::string_view part);
// The first `most`; below 0: all.
Text replaced(TextView text, std::string_view from, TextView to, int64_t most = -1);

// Parts of `text`. From the left or the right: which separators count when there are more than `most` (below 0: all).
enum class From { Left, Right };
std::vector<TextView> split_at_blanks(TextView text, int64_t most, From from);
std::vector<TextView> split(TextView text, std::string_view by, int64_t most, From from, int line);
enum class LineEnds { Dropped, Kept };
std::vector<TextView> split_lines(TextView text, LineEnds ends);  // at all that Python takes for line breaks

Text repeated(TextView text, Whole times);

}  // namespace attar::jinja
