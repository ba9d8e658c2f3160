// The frame and the parts of a page: self-contained HTML, no script, nothing fetched. Texts of a report go through
// `escaped`; what is called html below is HTML already.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace attar {

std::string escaped(std::string_view text);

// The whole document. The terms that `body_html` links are explained behind it.
std::string page(const std::string& title, const std::string& body_html, const std::string& footer_html);

// Nothing when there is no body.
std::string section(const std::string& heading_html, const std::string& body_html);
std::string paragraph(const std::string& html, const char* css = "");

// A link to the explanation of a term of the glossary (glossary.h).
std::string term(const std::string& key, const std::string& text);

struct TableRow {
  std::vector<std::string> cells_html{};
  const char* css = "";
};
// `css`: "numbers" aligns all but the first column to the right, "words" the last one to the left again; "cards" turns
// rows into blocks on a phone.
struct Table {
  std::string caption_html;
  std::vector<std::string> head_html;
  std::vector<TableRow> rows{};
  const char* css = "numbers";
};
std::string html(const Table& table);  // nothing without rows

// Numbers stay with their units and with what follows ±.
std::string unbroken(std::string html);

// Text whose line breaks, tabs and spaces in a row are to be seen: in a box that scrolls.
std::string visible_text(const std::string& text);

}  // namespace attar
