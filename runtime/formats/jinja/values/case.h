// Upper, lower and title case as Python's str has them, in full: one letter may become several.
#pragma once

#include "runtime/formats/jinja/values/text.h"

namespace attar::jinja {

Text upper_cased(TextView text);
Text lower_cased(TextView text);
Text case_folded(TextView text);
Text case_swapped(TextView text);
Text capitalized(TextView text);
// Words begin after blanks, hyphens and opening brackets (the filter of jinja2), or after whatever has no case
// (Python's method).
enum class Words { Blanks, Letters };
Text title_cased(TextView text, Words words);

// str.islower() and its kin, by the method's name.
bool is_of_kind(std::string_view text, std::string_view method);

}  // namespace attar::jinja
