// What the words of a report mean.
#pragma once

#include <string>

namespace attar {

bool is_term(const std::string& key);

// The explanations of the terms that `body_html` links.
std::string glossary_html(const std::string& body_html);

}  // namespace attar
