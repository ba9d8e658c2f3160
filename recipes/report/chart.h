// Charts whose text keeps its size on any screen: the drawing is SVG that stretches, all words and numbers are HTML.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace attar {

// About `count` round numbers that cover what lies between; for axes.
std::vector<double> ticks_between(double low, double high, int count);
std::string tick_text(double value);  // 30000 -> "30 k"

struct ChartText {
  std::string title, about, x_label, y_label;
};

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points{};
};
// A line a series, told apart by colour and dash, behind each its points as they are, pale. Series that say the same
// are drawn once, under both names.
std::string line_chart(const ChartText& text, const std::vector<Series>& series);

// From zero; `names` are shown where there is room, and when pointed at.
std::string bar_chart(const ChartText& text, const std::vector<std::pair<std::string, double>>& bars);

struct Dot {
  double x = 0, y = 0;
  double weight = 0;  // a larger dot; 0: unknown
  std::string name;
  int number = 0;
};
// Numbered dots, axes from zero, with a legend.
std::string dot_chart(const ChartText& text, const std::vector<Dot>& dots);

// A row a name, a column a layer; a row of one cell is of the whole model. `unit` stands behind the scale's ends.
struct HeatRow {
  std::string name;
  std::vector<double> cells{};
};
std::string heat_map(const ChartText& text, const std::vector<HeatRow>& rows, const std::string& unit);

}  // namespace attar
