// report.html: one page, no script, no network. Charts are SVG made here.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "recipes/report/report.h"
#include "runtime/judge/headline.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;

std::string escaped(const std::string& text) {
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

std::string format(double value, const char* pattern) {
  char text[64];
  std::snprintf(text, sizeof text, pattern, value);
  return text;
}

std::string plain(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_float()) return format(value.get<double>(), "%.6g");
  return value.dump();
}

constexpr const char* kStyle = R"(
:root{--ink:#1d2430;--soft:#5b6573;--line:#d9dee6;--paper:#fff;--wash:#f5f7fa;--teacher:#8793a5;--student:#b4552d;--good:#2c7a4b;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e8ebf0;--soft:#9aa5b5;--line:#36404e;--paper:#161b22;--wash:#1e252f;--teacher:#7d8ba0;--student:#e08a5b;--good:#5fc48a;--bad:#ff8a80}}
body{font:15px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:60rem;margin:2.5rem auto;padding:0 1.25rem}
h1{font-size:1.7rem;margin:0}h2{font-size:1.15rem;margin:2.4rem 0 .6rem;border-bottom:1px solid var(--line);padding-bottom:.3rem}
p.lead{color:var(--soft);margin:.3rem 0 1.5rem}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.32rem .6rem;text-align:right;border-bottom:1px solid var(--line)}th:first-child,td:first-child{text-align:left}
th{color:var(--soft);font-weight:600}code,pre{font:13px/1.5 ui-monospace,monospace}pre{background:var(--wash);padding:.8rem 1rem;overflow-x:auto;white-space:pre-wrap;border-radius:6px}
.pass{color:var(--good)}.miss{color:var(--bad);font-weight:600}svg{width:100%;height:auto;background:var(--wash);border-radius:6px}
svg text{font:11px system-ui,sans-serif;fill:var(--soft)}.pair{display:grid;grid-template-columns:1fr 1fr;gap:1rem}details{margin:.5rem 0}summary{cursor:pointer;color:var(--soft)}
)";

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;
};

// A line chart, 720 x 240, axes from the data.
std::string line_chart(const std::vector<Series>& series, const std::string& x_label) {
  double x_max = 1.0, y_min = 1e300, y_max = -1e300;
  for (const Series& one : series)
    for (const auto& [x, y] : one.points) {
      x_max = std::max(x_max, x);
      y_min = std::min(y_min, y);
      y_max = std::max(y_max, y);
    }
  if (!(y_max > y_min)) y_max = y_min + 1.0;
  const auto px = [&](double x) { return 50.0 + 650.0 * x / x_max; };
  const auto py = [&](double y) { return 205.0 - 185.0 * (y - y_min) / (y_max - y_min); };
  static constexpr const char* kColours[] = {"var(--student)", "var(--teacher)", "var(--good)"};
  std::string svg = "<svg viewBox=\"0 0 720 240\" role=\"img\">";
  for (int tick = 0; tick <= 4; ++tick) {
    const double y = y_min + (y_max - y_min) * tick / 4.0;
    svg += "<line x1=\"50\" x2=\"700\" y1=\"" + format(py(y), "%.1f") + "\" y2=\"" + format(py(y), "%.1f") +
           "\" stroke=\"var(--line)\"/>";
    svg +=
        "<text x=\"44\" y=\"" + format(py(y) + 4, "%.1f") + "\" text-anchor=\"end\">" + format(y, "%.3g") + "</text>";
  }
  for (size_t i = 0; i < series.size(); ++i) {
    svg += "<polyline fill=\"none\" stroke-width=\"1.8\" stroke=\"" + std::string(kColours[i % 3]) + "\" points=\"";
    for (const auto& [x, y] : series[i].points) svg += format(px(x), "%.1f") + "," + format(py(y), "%.1f") + " ";
    svg += "\"/><text x=\"" + std::to_string(60 + 160 * i) + "\" y=\"14\" style=\"fill:" + kColours[i % 3] + "\">" +
           escaped(series[i].name) + "</text>";
  }
  return svg + "<text x=\"700\" y=\"232\" text-anchor=\"end\">" + escaped(x_label) + " (to " + format(x_max, "%.6g") +
         ")</text></svg>";
}

// One bar an entry, 720 wide.
std::string bar_chart(const std::vector<std::pair<std::string, double>>& bars) {
  double most = 1e-30;
  for (const auto& bar : bars) most = std::max(most, bar.second);
  const double step = 650.0 / static_cast<double>(std::max<size_t>(1, bars.size()));
  std::string svg = "<svg viewBox=\"0 0 720 200\" role=\"img\"><text x=\"44\" y=\"24\" text-anchor=\"end\">" +
                    format(most, "%.2g") + "</text>";
  for (size_t i = 0; i < bars.size(); ++i) {
    const double height = 160.0 * bars[i].second / most;
    svg += "<rect fill=\"var(--student)\" x=\"" + format(50.0 + step * static_cast<double>(i), "%.1f") + "\" y=\"" +
           format(180.0 - height, "%.1f") + "\" width=\"" + format(std::max(0.6, step * 0.8), "%.1f") + "\" height=\"" +
           format(height, "%.1f") + "\"><title>" + escaped(bars[i].first) + ": " + format(bars[i].second, "%.4g") +
           "</title></rect>";
  }
  return svg + "</svg>";
}

std::string headline(const Json& results, const Json& measured) {
  std::string html;
  const auto table = [&](const std::string& title, const std::vector<runtime::HeadlineRow>& rows) {
    if (rows.empty()) return;
    html += "<table><tr><th>" + title + "</th><th>teacher</th><th>student</th><th>student / teacher</th></tr>";
    for (const runtime::HeadlineRow& row : rows)
      html += "<tr><td>" + escaped(row.label) + "</td><td>" + row.teacher + "</td><td>" + row.student + "</td><td>" +
              row.ratio + "</td></tr>";
    html += "</table>";
  };
  table("", runtime::efficiency_rows(measured.dump()));
  for (const char* mode : {"fp32", "deployed"})
    if (results.contains(mode) && !results.at(mode).is_null())
      table(std::string(mode) + " numbers", runtime::fidelity_rows(results.at(mode).dump()));
  if (const Json gates = measured.value("gates", Json::array()); !gates.empty()) {
    html += "<table><tr><th>Gate</th><th>limit</th><th>value</th><th></th></tr>";
    for (const Json& gate : gates)
      html += "<tr><td>" + escaped(gate["name"]) + "</td><td>" + format(gate["limit"], "%g") + "</td><td>" +
              format(gate["value"], "%g") + "</td><td class=\"" +
              (gate["pass"].get<bool>() ? "pass\">passed" : "miss\">missed") + "</td></tr>";
    html += "</table>";
  }
  return html;
}

std::string samples(const Json& measured) {
  std::string html;
  for (const Json& sample : measured.value("samples", Json::array()))
    html += "<p><b>" + escaped(sample["prompt"]) + "</b></p><div class=\"pair\"><div><small>teacher</small><pre>" +
            escaped(sample["teacher"]) + "</pre></div><div><small>student</small><pre>" + escaped(sample["student"]) +
            "</pre></div></div>";
  return html.empty() ? "" : "<h2>Side by side</h2>" + html;
}

std::string training(const std::string& name, const Json& results) {
  std::vector<Series> series;
  for (const Json& point : results.value("curve", Json::array()))
    for (const auto& [key, value] : point.items()) {
      if (key == "step" || key == "tokens") continue;
      auto found = std::find_if(series.begin(), series.end(), [&](const Series& s) { return s.name == key; });
      if (found == series.end()) found = series.insert(series.end(), Series{key, {}});
      found->points.emplace_back(point["tokens"].get<double>(), value.get<double>());
    }
  return "<h2>" + escaped(name) + ": loss by tokens</h2>" + line_chart(series, "tokens");
}

std::string errors(const Json& stage, const char* list, const char* label, const char* title) {
  std::vector<std::pair<std::string, double>> bars;
  for (const Json& entry : stage["results"].value(list, Json::array()))
    bars.emplace_back(plain(entry[label]), entry["relative_error"].get<double>());
  return bars.empty() ? "" : "<h2>" + escaped(stage["name"]) + ": " + title + "</h2>" + bar_chart(bars);
}

// Bits a weight: a row a role, a column a layer, the darker the more.
std::string bits_picture(const Json& stage) {
  const Json bits = stage["results"].value("bits", Json::object());
  if (bits.empty()) return "";  // a stage that an earlier version finished
  constexpr double kCell = 20, kLeft = 120;
  double most = 1, columns = 1;
  for (const auto& [role, layers] : bits.items()) {
    columns = std::max(columns, static_cast<double>(layers.size()));
    for (const Json& value : layers) most = std::max(most, value.get<double>());
  }
  std::string cells;
  double y = 0;
  for (const auto& [role, layers] : bits.items()) {
    cells += "<text x=\"0\" y=\"" + format(y + 14, "%.0f") + "\">" + escaped(role) + "</text>";
    double x = kLeft;
    for (const Json& value : layers) {
      const double own = value.get<double>();
      const std::string shown = format(own, "%.4g");
      cells += "<rect x=\"" + format(x, "%.0f") + "\" y=\"" + format(y, "%.0f") +
               "\" width=\"19\" height=\"19\" fill=\"var(--student)\" fill-opacity=\"" + format(own / most, "%.2f") +
               "\"><title>" + shown + " bits</title></rect><text x=\"" + format(x + 9.5, "%.1f") + "\" y=\"" +
               format(y + 13, "%.0f") + "\" text-anchor=\"middle\" style=\"font-size:8px\">" + format(own, "%.3g") +
               "</text>";
      x += kCell;
    }
    y += kCell;
  }
  return "<h2>" + escaped(stage["name"]) + ": bits a weight, by role and layer</h2><svg viewBox=\"0 0 " +
         format(kLeft + kCell * columns, "%.0f") + " " + format(y, "%.0f") + "\">" + cells + "</svg>";
}

std::string stage_table(const Json& results, const Json& measurements) {
  std::string html =
      "<h2>Stages</h2><table><tr><th>stage</th><th>seconds</th><th>peak MB</th><th>what came of it</th></tr>";
  for (size_t i = 0; i < results["stages"].size(); ++i) {
    const Json& stage = results["stages"][i];
    std::string facts;
    for (const auto& [key, value] : stage["results"].items())
      if (value.is_number() || (value.is_string() && value.get<std::string>().size() < 40))
        facts += (facts.empty() ? "" : ", ") + key + " " + plain(value);
    html += "<tr><td>" + escaped(stage["name"]) + "</td><td>" +
            format(measurements["stages"][i]["measurements"].value("seconds", 0.0), "%.1f") + "</td><td>" +
            format(measurements["stages"][i]["measurements"].value("peak_rss_bytes", 0.0) * 1e-6, "%.0f") +
            "</td><td>" + escaped(facts) + "</td></tr>";
  }
  html += "</table>";
  for (const Json& stage : results["stages"]) {
    if (stage["notes"].empty()) continue;
    html += "<details><summary>" + escaped(stage["name"]) + ": " + std::to_string(stage["notes"].size()) +
            " notes and fallbacks</summary><pre>";
    for (const Json& note : stage["notes"]) html += escaped(note) + "\n";
    html += "</pre></details>";
  }
  return html;
}

}  // namespace

std::string report_html(const std::string& report_json) {
  const Json report = Json::parse(report_json);
  const Json& results = report["results"];
  std::string html =
      "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width\"><title>" +
      escaped(report["name"]) + " – Attar</title><style>" + kStyle + "</style><h1>" + escaped(report["name"]) +
      "</h1><p class=\"lead\">A student made and judged by Attar " + escaped(results["provenance"]["attar_version"]) +
      ".</p>";
  Json measured = Json::object();
  for (size_t i = 0; i < results["stages"].size(); ++i) {
    if (results["stages"][i]["kind"] != "verify") continue;
    measured = report["measurements"]["stages"][i]["measurements"];
    html += headline(results["stages"][i]["results"], measured);
  }
  html += samples(measured);
  for (const Json& stage : results["stages"]) {
    if (stage["kind"] == "distill") html += training(stage["name"], stage["results"]);
    if (stage["results"].contains("qad")) html += training(stage["name"], stage["results"]["qad"]);
    if (stage["results"].contains("pretrain")) html += training("teacher", stage["results"]["pretrain"]);
    if (stage["kind"] == "prune") html += errors(stage, "layers", "layer", "error left in each layer after the refit");
    if (stage["kind"] == "quantize")
      html += bits_picture(stage) + errors(stage, "tensors", "name", "weighted error of each matrix");
  }
  html += stage_table(results, report["measurements"]);
  html += "<h2>How it was made</h2><pre>";
  for (const Json& command : report["measurements"].value("commands", Json::array())) html += escaped(command) + "\n";
  html += "</pre><details><summary>the recipe, every default written out</summary><pre>" + escaped(results["recipe"]) +
          "</pre></details><table>";
  for (const auto& [key, value] : results["provenance"].items())
    html += "<tr><td>" + escaped(key) + "</td><td><code>" + escaped(plain(value)) + "</code></td></tr>";
  for (const auto& [key, value] : report["measurements"]["machine"].items())
    html += "<tr><td>" + escaped(key) + "</td><td>" + escaped(plain(value)) + "</td></tr>";
  return html + "</table></html>\n";
}

}  // namespace attar
