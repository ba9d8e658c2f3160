#include "recipes/report/page.h"

#include <algorithm>

#include "recipes/report/glossary.h"
#include "recipes/report/page_style.h"

namespace attar {

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t' ? '?' : c;
    }
  }
  return out;
}

std::string page(const std::string& title, const std::string& body_html, const std::string& footer_html) {
  // The policy lets nothing be fetched; the icon is empty, so that a browser asks for none.
  return "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">"
         "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
         "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
         "img-src "
         "data:\"><link rel=\"icon\" href=\"data:,\"><title>" +
         escaped(title) + "</title><style>" + kPageStyle + "</style></head>\n<body>\n" + body_html +
         section("Terms", glossary_html(body_html)) + "<footer>" + footer_html + "</footer>\n</body>\n</html>\n";
}

std::string section(const std::string& heading_html, const std::string& body_html) {
  return body_html.empty() ? "" : "<section><h2>" + heading_html + "</h2>\n" + body_html + "</section>\n";
}

std::string paragraph(const std::string& html, const char* css) {
  return html.empty()
             ? ""
             : "<p" + (*css == 0 ? "" : " class=\"" + std::string(css) + "\"") + ">" + unbroken(html) + "</p>\n";
}

std::string term(const std::string& key, const std::string& text) {
  if (!is_term(key)) return escaped(text);
  return "<a class=\"term\" href=\"#" + key + "\">" + escaped(text) + "</a>";
}

std::string html(const Table& table) {
  if (table.rows.empty()) return "";
  std::string out = "<table class=\"" + std::string(table.css) + "\"><caption>" + table.caption_html + "</caption>";
  const bool headed = std::any_of(table.head_html.begin(), table.head_html.end(),
                                  [](const std::string& cell) { return !cell.empty(); });
  if (headed) {
    out += "<thead><tr>";
    for (const std::string& cell : table.head_html) out += "<th>" + cell + "</th>";
    out += "</tr></thead>";
  }
  const bool cards = std::string(table.css).find("cards") != std::string::npos;
  out += "<tbody>";
  for (const TableRow& row : table.rows) {
    out += *row.css == 0 ? "<tr>" : "<tr class=\"" + std::string(row.css) + "\">";
    for (size_t i = 0; i < row.cells_html.size(); ++i) {
      const bool labelled = cards && i < table.head_html.size();
      out += "<td" + (labelled ? " data-label=\"" + table.head_html[i] + "\"" : "") + ">" +
             unbroken(row.cells_html[i]) + "</td>";
    }
    out += "</tr>\n";
  }
  return out + "</tbody></table>\n";
}

std::string unbroken(std::string html) {
  constexpr const char* kTogether[][2] = {
      {" kB", "&nbsp;kB"}, {" MB", "&nbsp;MB"}, {" M ", "&nbsp;M "}, {" M,", "&nbsp;M,"}, {"KL ", "KL&nbsp;"},
      {" GB", "&nbsp;GB"}, {" %", "&nbsp;%"},   {"± ", "±&nbsp;"},   {" ×", "&nbsp;×"},   {" min", "&nbsp;min"}};
  for (const auto& [apart, together] : kTogether)
    for (size_t at = 0; (at = html.find(apart, at)) != std::string::npos; at += std::string_view(together).size())
      html.replace(at, std::string_view(apart).size(), together);
  return html;
}

std::string visible_text(const std::string& text) {
  std::string out;
  const auto mark = [&](const std::string& shown) { out += "<i>" + shown + "</i>"; };
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find_first_not_of(text[at], at), text.size()), n = end - at;
    if (text[at] == '\n') {
      for (size_t i = 0; i < std::min<size_t>(n, 3); ++i) mark("↵"), out += "\n";
      if (n > 3) mark("… " + std::to_string(n) + " line breaks"), out += "\n";
    } else if (text[at] == '\t') {
      for (size_t i = 0; i < n; ++i) mark("→"), out += "\t";
    } else if (text[at] == ' ' && (n > 1 || end == text.size() || at == 0 || text[end] == '\n')) {
      for (size_t i = 0; i < n; ++i) mark("·");
    } else {
      out += escaped(std::string_view(text).substr(at, n));
    }
    at = end;
  }
  return "<pre tabindex=\"0\">" + (out.empty() ? "<i>nothing: it ended at once</i>" : out) + "</pre>";
}

}  // namespace attar
