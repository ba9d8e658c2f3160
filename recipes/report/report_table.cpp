#include <cstdio>
#include <nlohmann/json.hpp>

#include "recipes/report/report.h"
#include "runtime/judge/headline.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;

std::string number(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

// The last verify stage of a report, or nullptr.
const Json* last_verify(const Json& report) {
  const Json* found = nullptr;
  for (const Json& stage : report.at("stages"))
    if (stage.at("kind") == "verify") found = &stage;
  return found;
}

}  // namespace

std::string report_table(const std::string& report_json) {
  const Json report = Json::parse(report_json);
  std::string text;
  char line[256];
  for (const Json& stage : report.at("measurements").at("stages")) {
    const Json& spent = stage.at("measurements");
    std::snprintf(line, sizeof line, "  %-14s %8.1f s %8.0f MB\n", stage.at("name").get<std::string>().c_str(),
                  spent.value("seconds", 0.0), spent.value("peak_rss_bytes", 0.0) * 1e-6);
    text += line;
  }
  const Json* verify = last_verify(report.at("results"));
  if (verify == nullptr) return text;
  Json measured;
  for (const Json& stage : report.at("measurements").at("stages"))
    if (stage.at("name") == verify->at("name")) measured = stage.at("measurements");
  const Json& results = verify->at("results");
  const char* mode = results.contains("deployed") && !results.at("deployed").is_null() ? "deployed" : "fp32";
  text += "\n" + runtime::headline_title() + runtime::headline_lines(runtime::efficiency_rows(measured.dump())) +
          runtime::headline_lines(runtime::fidelity_rows(results.at(mode).dump()));
  if (results.contains("baseline")) {
    const Json& alone = results.at("baseline");
    std::snprintf(line, sizeof line, "  quantizing alone, %.4g MB: KL %.5f +- %.5f, same likeliest token %.2f %%\n",
                  alone.at("bytes").get<double>() * 1e-6, alone.at("kl").at("mean").get<double>(),
                  alone.at("kl").at("stderr").get<double>(), 100.0 * alone.at("top1").get<double>());
    text += line;
  }
  for (const Json& gate : measured.value("gates", Json::array())) {
    std::snprintf(line, sizeof line, "  gate %-25s%14s %17s\n", gate.at("name").get<std::string>().c_str(),
                  ("limit " + number(gate.at("limit"))).c_str(), gate.at("pass").get<bool>() ? "passed" : "MISSED");
    text += line;
  }
  return text;
}

}  // namespace attar
