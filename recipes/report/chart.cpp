#include "recipes/report/chart.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "recipes/report/page.h"
#include "runtime/judge/digits.h"

namespace attar {
namespace {

using runtime::with_digits;

constexpr struct {
  const char *colour, *dash;
} kLines[] = {{"var(--accent)", ""}, {"var(--second)", "7 4"}, {"var(--third)", "2 3"}};
constexpr size_t kLineKinds = std::size(kLines);

std::string format(const char* pattern, double value) {
  char text[64];
  std::snprintf(text, sizeof text, pattern, value);
  return text;
}

// What is drawn, in per mille of the area; y grows upwards.
struct Axes {
  double x_low = 0, x_high = 1, y_low = 0, y_high = 1;
  double y_ticks_from = 0;

  double x(double value) const { return 1000.0 * (value - x_low) / (x_high - x_low); }
  double y(double value) const { return 1000.0 - 1000.0 * (value - y_low) / (y_high - y_low); }
};

std::string caption(const ChartText& text) {
  return "<figcaption>" + text.title + (text.about.empty() ? "" : "<span>" + text.about + "</span>") + "</figcaption>";
}

// `x_ticks_html` and `over_html` are placed in the area; `drawing` is SVG in its thousandths.
std::string plot(const ChartText& text, const Axes& axes, const std::string& drawing, const std::string& over_html) {
  std::string grid, ticks;
  for (const double value : ticks_between(axes.y_ticks_from, axes.y_high, 5)) {
    const std::string y = format("%.1f", axes.y(value));
    grid += "<line x1=\"0\" x2=\"1000\" y1=\"" + y + "\" y2=\"" + y +
            "\" stroke=\"var(--line)\" vector-effect=\"non-scaling-stroke\"/>";
    ticks += "<span class=\"tick y\" style=\"top:" + format("%.2f%%", axes.y(value) / 10.0) + "\">" + tick_text(value) +
             "</span>";
  }
  return "<div class=\"ytitle\">" + text.y_label + "</div><div class=\"area\" role=\"img\" aria-label=\"" +
         escaped(text.title) + "\"><svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" aria-hidden=\"true\">" +
         grid + drawing + "</svg>" + ticks + over_html + "</div><div class=\"xtitle\">" + text.x_label + "</div>";
}

std::string x_tick(double per_mille, const std::string& shown) {
  return "<span class=\"tick x\" style=\"left:" + format("%.2f%%", per_mille / 10.0) + "\">" + shown + "</span>";
}

std::string x_ticks(const Axes& axes) {
  std::string out;
  for (const double value : ticks_between(axes.x_low, axes.x_high, 5)) out += x_tick(axes.x(value), tick_text(value));
  return out;
}

std::string stroke(size_t kind, double width, const char* opacity) {
  const std::string dash = kLines[kind % kLineKinds].dash;
  return "fill=\"none\" stroke=\"" + std::string(kLines[kind % kLineKinds].colour) + "\" stroke-width=\"" +
         format("%.2g", width) + "\" stroke-opacity=\"" + opacity + "\" vector-effect=\"non-scaling-stroke\"" +
         (dash.empty() || width < 1.5 ? "" : " stroke-dasharray=\"" + dash + "\"");
}

// Means over a sixteenth of the points at each place, so that the way down is seen through the noise of steps.
std::vector<std::pair<double, double>> smoothed(const std::vector<std::pair<double, double>>& points) {
  const size_t n = points.size(), half = n / 32;
  std::vector<std::pair<double, double>> out;
  for (size_t i = 0; i < n; ++i) {
    const size_t begin = i - std::min(i, half), end = std::min(n, i + half + 1);
    double sum = 0.0;
    for (size_t j = begin; j < end; ++j) sum += points[j].second;
    out.emplace_back(points[i].first, sum / static_cast<double>(end - begin));
  }
  return out;
}

std::string polyline(const std::vector<std::pair<double, double>>& points, const Axes& axes, const std::string& how) {
  std::string out = "<polyline " + how + " points=\"";
  for (const auto& [x, y] : points) out += format("%.1f", axes.x(x)) + "," + format("%.1f ", axes.y(y));
  return out + "\"/>";
}

// Equal but for the last digits of the sums.
bool same_points(const Series& a, const Series& b) {
  return a.points.size() == b.points.size() &&
         std::equal(a.points.begin(), a.points.end(), b.points.begin(), [](const auto& p, const auto& q) {
           return p.first == q.first && std::abs(p.second - q.second) <= 1e-6 * std::abs(p.second);
         });
}

std::vector<Series> told_apart(const std::vector<Series>& series) {
  std::vector<Series> out;
  for (const Series& one : series) {
    if (one.points.empty()) continue;
    const auto twin = std::find_if(out.begin(), out.end(), [&](const Series& s) { return same_points(s, one); });
    if (twin == out.end())
      out.push_back(one);
    else
      twin->name += " = " + one.name;
  }
  return out;
}

Axes axes_of(const std::vector<Series>& series) {
  Axes axes{.x_low = 0, .x_high = 0, .y_low = 1e300, .y_high = -1e300};
  for (const Series& one : series)
    for (const auto& [x, y] : one.points) {
      axes.x_high = std::max(axes.x_high, x);
      axes.y_low = std::min(axes.y_low, y), axes.y_high = std::max(axes.y_high, y);
    }
  if (!(axes.x_high > 0)) axes.x_high = 1;
  const double room = 0.06 * (axes.y_high - axes.y_low);
  axes.y_low = axes.y_low >= 0 ? std::max(0.0, axes.y_low - room) : axes.y_low - room, axes.y_high += room;
  if (!(axes.y_high > axes.y_low)) axes.y_high = axes.y_low + 1;
  axes.y_ticks_from = axes.y_low;
  return axes;
}

// Where a dot's number stands; "": in the dot. Dots that touch have theirs outside: of the highest above it, of the
// lowest below, of those between beside them.
std::vector<std::string> number_places(const std::vector<Dot>& dots, const Axes& axes) {
  constexpr double kTouch_permille = 120;  // two dots of the largest size on a phone
  const auto touch = [&](const Dot& a, const Dot& b) {
    return std::abs(axes.x(a.x) - axes.x(b.x)) < kTouch_permille &&
           std::abs(axes.y(a.y) - axes.y(b.y)) < kTouch_permille;
  };
  std::vector<std::string> places(dots.size());
  std::vector<bool> seen(dots.size(), false);
  for (size_t first = 0; first < dots.size(); ++first) {
    std::vector<size_t> group;
    const auto add = [&](size_t i) { seen[i] = true, group.push_back(i); };
    if (!seen[first]) add(first);
    for (size_t next = 0; next < group.size(); ++next)
      for (size_t i = 0; i < dots.size(); ++i)
        if (!seen[i] && touch(dots[group[next]], dots[i])) add(i);
    if (group.size() < 2) continue;
    std::stable_sort(group.begin(), group.end(), [&](size_t a, size_t b) { return dots[a].y > dots[b].y; });
    for (size_t rank = 0; rank < group.size(); ++rank)
      places[group[rank]] = rank == 0                  ? "over\" style=\"--place:0"
                            : rank + 1 == group.size() ? "under\" style=\"--place:0"
                                                       : "beside\" style=\"--place:" + std::to_string(rank - 1);
  }
  return places;
}

struct HeatScale {
  std::string unit;
  size_t columns = 0;
  double low = 1e300, high = -1e300;

  bool numbers() const { return columns <= 10; }  // there is room for them on a phone
};

std::string heat_cells(const HeatRow& row, const HeatScale& scale) {
  std::string out = "<b>" + escaped(row.name) + "</b>";
  const bool whole = row.cells.size() == 1;
  for (size_t i = 0; i < row.cells.size(); ++i) {
    const double value = row.cells[i];
    const double share = scale.high > scale.low ? (value - scale.low) / (scale.high - scale.low) : 0.5;
    const std::string shown = with_digits(value, 2);
    out += "<i style=\"--v:" + format("%.0f%%", 8.0 + 92.0 * share) + (whole ? ";grid-column:2/-1" : "") +
           "\" title=\"" + escaped(row.name) + (whole ? "" : " " + std::to_string(i)) + ": " + shown + scale.unit +
           "\">" + (scale.numbers() || whole ? shown : "") + "</i>";
  }
  if (!whole)
    for (size_t i = row.cells.size(); i < scale.columns; ++i) out += "<u></u>";
  return out;
}

}  // namespace

std::vector<double> ticks_between(double low, double high, int count) {
  const double rough = (high - low) / count, unit = std::pow(10.0, std::floor(std::log10(rough)));
  double step = unit;
  for (const double factor : {2.0, 5.0, 10.0})
    if (step < rough) step = factor * unit;
  std::vector<double> ticks;
  for (double k = std::ceil(low / step - 1e-9); k * step <= high * (1 + 1e-9); k += 1.0) ticks.push_back(k * step);
  return ticks;
}

std::string tick_text(double value) {
  const double size = std::abs(value);
  if (size >= 1e6) return format("%g", value * 1e-6) + "&nbsp;M";
  if (size >= 1e4) return format("%g", value * 1e-3) + "&nbsp;k";
  return format("%.4g", size < 1e-12 ? 0.0 : value);
}

std::string line_chart(const ChartText& text, const std::vector<Series>& all) {
  const std::vector<Series> series = told_apart(all);
  if (series.empty()) return "";
  const Axes axes = axes_of(series);
  std::string pale, bold, legend;
  for (size_t i = 0; i < series.size(); ++i) {
    if (series[i].points.size() > 64) pale += polyline(series[i].points, axes, stroke(i, 1, "0.3"));
    bold += polyline(smoothed(series[i].points), axes, stroke(i, 2, "1"));
    legend += "<li><svg viewBox=\"0 0 32 8\" aria-hidden=\"true\"><path d=\"M0 4H32\" " + stroke(i, 2, "1") +
              "/></svg>" + escaped(series[i].name) + "</li>";
  }
  return "<figure>" + caption(text) + "<ul class=\"legend\">" + legend + "</ul>" +
         plot(text, axes, pale + bold, x_ticks(axes)) + "</figure>\n";
}

std::string bar_chart(const ChartText& text, const std::vector<std::pair<std::string, double>>& bars) {
  if (bars.empty()) return "";
  Axes axes;
  axes.y_high = 0;
  for (const auto& bar : bars) axes.y_high = std::max(axes.y_high, 1.05 * bar.second);
  if (!(axes.y_high > 0)) axes.y_high = 1;
  const double step = 1000.0 / static_cast<double>(bars.size());
  const size_t every = (bars.size() + 11) / 12;
  std::string drawing, names;
  for (size_t i = 0; i < bars.size(); ++i) {
    const double left = step * static_cast<double>(i), top = axes.y(bars[i].second);
    drawing += "<rect fill=\"var(--accent)\" x=\"" + format("%.1f", left + 0.14 * step) + "\" y=\"" +
               format("%.1f", top) + "\" width=\"" + format("%.1f", 0.72 * step) + "\" height=\"" +
               format("%.1f", 1000.0 - top) + "\"><title>" + escaped(bars[i].first) + ": " +
               with_digits(bars[i].second, 3) + "</title></rect>";
    if (i % every == 0) names += x_tick(left + 0.5 * step, escaped(bars[i].first));
  }
  return "<figure>" + caption(text) + plot(text, axes, drawing, names) + "</figure>\n";
}

std::string dot_chart(const ChartText& text, const std::vector<Dot>& all) {
  Axes axes{.x_low = 0, .x_high = 0, .y_low = 0, .y_high = 0};
  double heaviest = 0;
  for (const Dot& dot : all) {
    axes.x_high = std::max(axes.x_high, 1.12 * dot.x), axes.y_high = std::max(axes.y_high, 1.15 * dot.y);
    heaviest = std::max(heaviest, dot.weight);
  }
  if (!(axes.x_high > 0)) axes.x_high = 1;
  if (!(axes.y_high > 0)) axes.y_high = 1;
  axes.y_low = -0.1 * axes.y_high;  // room for a dot at zero above the numbers
  const std::vector<std::string> places = number_places(all, axes);
  std::string over, numbers, legend;
  for (size_t i = 0; i < all.size(); ++i) {
    const double size = heaviest > 0 && all[i].weight > 0 ? 1.3 + 1.2 * std::sqrt(all[i].weight / heaviest) : 1.5;
    const std::string number = std::to_string(all[i].number);
    const std::string where = "left:" + format("%.2f%%", axes.x(all[i].x) / 10.0) +
                              ";top:" + format("%.2f%%", axes.y(all[i].y) / 10.0) +
                              ";--size:" + format("%.2frem", size);
    over += "<span class=\"dot\" style=\"" + where + "\" title=\"" + escaped(all[i].name) + "\">" +
            (places[i].empty() ? number : "") + "</span>";
    if (!places[i].empty()) numbers += "<span class=\"number " + places[i] + ";" + where + "\">" + number + "</span>";
    legend += "<li><b>" + number + "</b> " + escaped(all[i].name) + "</li>";
  }
  return "<figure>" + caption(text) + "<ul class=\"legend\">" + legend + "</ul>" +
         plot(text, axes, "", x_ticks(axes) + over + numbers) + "</figure>\n";
}

std::string heat_map(const ChartText& text, const std::vector<HeatRow>& rows, const std::string& unit) {
  HeatScale scale{.unit = escaped(unit)};
  for (const HeatRow& row : rows) {
    scale.columns = std::max(scale.columns, row.cells.size());
    for (const double value : row.cells)
      scale.low = std::min(scale.low, value), scale.high = std::max(scale.high, value);
  }
  if (scale.columns == 0) return "";
  std::string cells;
  if (scale.columns > 1) {
    const size_t every = scale.numbers() ? 1 : (scale.columns + 9) / 10;
    cells = "<b></b>";
    for (size_t i = 0; i < scale.columns; ++i) cells += "<u>" + (i % every == 0 ? std::to_string(i) : "") + "</u>";
  }
  for (const HeatRow& row : rows) cells += heat_cells(row, scale);
  return "<figure>" + caption(text) + "<div class=\"heat\" style=\"grid-template-columns:minmax(5rem,auto) repeat(" +
         std::to_string(scale.columns) + ",minmax(0,1fr))\">" + cells + "</div><div class=\"scale\">" +
         with_digits(scale.low, 2) + scale.unit + "<i></i>" + with_digits(scale.high, 2) + scale.unit +
         "</div></figure>\n";
}

}  // namespace attar
