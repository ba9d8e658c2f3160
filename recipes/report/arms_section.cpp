// Does distilling pay: a training beside its controls, for the page and the terminal.
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "recipes/report/page.h"
#include "recipes/report/report.h"
#include "recipes/report/sections.h"
#include "runtime/judge/digits.h"

namespace attar {
namespace {

struct Measure {
  const char *key, *name;
  double scale;  // as shown
};
constexpr Measure kMeasures[] = {
    {"kl", "KL", 1.0}, {"cross_entropy", "cross-entropy", 1.0}, {"top1_agreement", "same top token, %", 100.0}};

// A number, and what it is more than that of the arm that was asked for.
struct Cell {
  std::string value, more;
};

// Rounded to where the interval's half begins. An interval without an end is none.
Cell cell(const Json& row, const Measure& measure) {
  const double value = measure.scale * number_at(row, measure.key);
  const Json more = row.value("difference", Json::object()).value(measure.key, Json::object());
  if (more.empty()) return {runtime::with_digits(value, 3), ""};
  const double mean = measure.scale * number_at(more, "mean"), low = measure.scale * number_at(more, "low95"),
               high = measure.scale * number_at(more, "high95"), half = (high - low) / 2.0;
  const auto rounded = [&](double x) { return runtime::to_spread(x, half); };
  const std::string sign = mean > 0.0 ? "+" : "";
  return {rounded(value),
          sign + rounded(mean) + (std::isnan(half) ? "" : " (" + rounded(low) + " to " + rounded(high) + ")")};
}

std::string seeds_of(const Json& arms) {
  std::string seeds;
  for (const Json& seed : arms.value("seeds", Json::array())) seeds += (seeds.empty() ? "" : ", ") + seed.dump();
  return (arms.value("seeds", Json::array()).size() == 1 ? "seed " : "means over seeds ") + seeds;
}

std::string by_seed(const Json& arms) {
  Table table{.caption_html = "Each seed<span>KL to the teacher, nats a token.</span>", .head_html = {"arm"}};
  for (const Json& seed : arms.value("seeds", Json::array())) table.head_html.push_back("seed " + escaped(seed.dump()));
  for (const Json& row : arms.value("rows", Json::array())) {
    if (!row.contains("by_seed")) continue;
    table.rows.push_back({{escaped(text_at(row, "arm"))}});
    for (const Json& one : row.at("by_seed"))
      table.rows.back().cells_html.push_back(runtime::with_digits(number_at(one, "kl"), 3));
  }
  return html(table);
}

std::string arms_table(const std::string& stage, const Json& arms) {
  const std::string asked = text_at(arms, "asked");
  Table table{.caption_html = escaped(stage) + ": " + term("arms", "arms") +
                              "<span>The same tokens in the same order, " + escaped(seeds_of(arms)) +
                              "; in brackets the 95 % interval of what an arm has more than " + escaped(asked) +
                              ", on the same " + term("window", "windows") + ".</span>",
              .head_html = {"arm", "tokens"},
              .css = "numbers cards"};
  for (const Measure& measure : kMeasures)
    table.head_html.insert(table.head_html.end(), {measure.name, "more than " + escaped(asked)});
  for (const Json& row : arms.value("rows", Json::array())) {
    const bool own = text_at(row, "arm") == asked;
    table.rows.push_back({{escaped(text_at(row, "arm")), whole(number_at(row, "tokens"))}, own ? "own" : ""});
    for (const Measure& measure : kMeasures) {
      const Cell shown = cell(row, measure);
      table.rows.back().cells_html.insert(table.rows.back().cells_html.end(), {shown.value, shown.more});
    }
  }
  const std::string scored =
      "Judged in fp32 on " + whole(number_at(arms, "scored_tokens")) + " positions in " +
      whole(number_at(arms, "windows")) + " windows of at most " + whole(number_at(arms, "context")) +
      " tokens; the teacher's own cross-entropy is " +
      runtime::with_digits(number_at(arms.value("teacher", Json::object()), "cross_entropy"), 3) + ".";
  return paragraph(escaped(text_at(arms, "verdict"))) + html(table) + by_seed(arms) + paragraph(scored, "soft");
}

// In columns that count characters, of which a sign beyond ASCII takes several bytes.
std::string right_in(size_t columns, const std::string& text) {
  size_t characters = 0;
  for (const char c : text) characters += (c & 0xC0) != 0x80 ? 1 : 0;
  return std::string(columns > characters ? columns - characters : 0, ' ') + text;
}

}  // namespace

std::string arms_html(const Json& report) {
  std::string out;
  for (const Json& stage : report.at("results").at("stages"))
    if (const Json& results = stage.at("results"); results.contains("arms"))
      out += arms_table(text_at(stage, "name"), results.at("arms"));
  return section("Does distilling pay?", out);
}

std::string arms_lines(const std::string& arms_json) {
  const Json arms = Json::parse(arms_json);
  constexpr size_t kName = 16, kValue = 9, kMore = 26;
  std::string text = "  arm" + std::string(kName - 3, ' ');
  for (const Measure& measure : kMeasures) text += right_in(kValue + kMore, measure.name);
  text += "\n";
  for (const Json& row : arms.value("rows", Json::array())) {
    const std::string name = text_at(row, "arm");
    text += "  " + name + std::string(name.size() < kName ? kName - name.size() : 1, ' ');
    for (const Measure& measure : kMeasures) {
      const Cell shown = cell(row, measure);
      text += right_in(kValue, shown.value) + right_in(kMore, shown.more);
    }
    text += "\n";
  }
  return text + "  " + seeds_of(arms) + "; behind a number what the arm has more than " + text_at(arms, "asked") +
         " (95 %)\n  " + text_at(arms, "verdict") + "\n";
}

}  // namespace attar
