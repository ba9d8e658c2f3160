#include "runtime/cli/bench_profile.h"

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace attar::cli {
namespace {

using Json = nlohmann::ordered_json;
using runtime::MachineSpeed;
using runtime::Operation;
using runtime::Profile;

// One operation, of a pass on average; what does not apply is empty.
struct Line {
  Operation operation;
  double seconds = 0, share = 0, calls = 0;
  std::optional<double> bytes{}, bytes_per_s{}, read_share{}, dot_share{};
};

std::vector<Line> lines_of(const Profile& profile, const MachineSpeed& machine) {
  const auto passes = static_cast<double>(profile.passes);
  std::vector<Line> lines;
  for (size_t i = 0; i < runtime::kOperations; ++i) {
    const auto operation = static_cast<Operation>(i);
    const double spent_s = profile.seconds(operation);
    if (spent_s <= 0.0) continue;
    Line& line = lines.emplace_back(Line{.operation = operation});
    line.seconds = spent_s / passes;
    line.share = spent_s / profile.total_s();
    line.calls = static_cast<double>(profile.threads[0].calls[i]) / passes;
    if (profile.bytes[i] > 0) {
      line.bytes = static_cast<double>(profile.bytes[i]) / passes;
      line.bytes_per_s = profile.bytes_per_s(operation);
      line.read_share = *line.bytes_per_s / machine.read_bytes_per_s;
    }
    if (profile.multiply_adds[i] > 0 && machine.multiply_adds_per_s > 0.0)
      line.dot_share = profile.multiply_adds_per_s(operation) / machine.multiply_adds_per_s;
  }
  return lines;
}

std::string cell(const std::optional<double>& value, double unit, const char* format) {
  char text[32] = "-";
  if (value) std::snprintf(text, sizeof text, format, *value * unit);
  return text;
}

Json number(const std::optional<double>& value) {
  return value ? Json(*value) : Json(nullptr);
}

}  // namespace

void print_profile(const runtime::BenchRow& row, const MachineSpeed& machine) {
  const Profile& profile = *row.profile;
  const auto passes = static_cast<double>(profile.passes);
  std::printf("\n%s%lld, %d threads: %.3f ms a pass of %.4g rows, %.3f without the clock\n",
              row.n_prompt > 0 ? "pp" : "tg", static_cast<long long>(row.n_prompt + row.n_gen), row.n_threads,
              1e3 * profile.total_s() / passes, static_cast<double>(profile.rows) / passes,
              1e-6 * row.avg_ns * static_cast<double>(profile.rows) / passes / static_cast<double>(row.tokens()));
  std::printf("%-17s %10s %7s %6s %8s %8s %8s\n", "operation", "ms a pass", "share", "calls", "GB/s", "of read",
              "of dots");
  for (const Line& line : lines_of(profile, machine))
    std::printf("%-17s %10.4f %6.1f%% %6.4g %8s %8s %8s\n", runtime::name_of(line.operation), 1e3 * line.seconds,
                1e2 * line.share, line.calls, cell(line.bytes_per_s, 1e-9, "%.1f").c_str(),
                cell(line.read_share, 1e2, "%.0f%%").c_str(), cell(line.dot_share, 1e2, "%.0f%%").c_str());
  for (size_t t = 0; t < profile.threads.size(); ++t)
    std::printf("thread %zu waits %.4f ms a pass, in %.4g times, %.3f ms the longest\n", t,
                1e3 * profile.waiting_s(t) / passes,
                static_cast<double>(profile.threads[t].calls[static_cast<size_t>(Operation::Waiting)]) / passes,
                std::chrono::duration<double, std::milli>(profile.threads[t].longest_wait).count());
  std::printf("read: %.1f GB/s, of %.0f MB by %d threads", 1e-9 * machine.read_bytes_per_s,
              1e-6 * static_cast<double>(machine.read_bytes), row.n_threads);
  if (machine.multiply_adds_per_s > 0.0)
    std::printf("; dots: %.0f G int8 multiply-adds/s, by %s", 1e-9 * machine.multiply_adds_per_s, machine.instruction);
  std::printf("\n");
}

Json profile_json(const runtime::BenchRow& row, const MachineSpeed& machine) {
  const Profile& profile = *row.profile;
  const auto passes = static_cast<double>(profile.passes);
  Json json;
  json["passes"] = profile.passes;
  json["rows"] = static_cast<double>(profile.rows) / passes;
  json["seconds"] = profile.total_s() / passes;
  json["read_bytes_per_s"] = machine.read_bytes_per_s;
  json["read_bytes"] = machine.read_bytes;
  json["multiply_adds_per_s"] = machine.multiply_adds_per_s > 0.0 ? Json(machine.multiply_adds_per_s) : Json(nullptr);
  json["instruction"] = machine.multiply_adds_per_s > 0.0 ? Json(machine.instruction) : Json(nullptr);
  Json& operations = json["operations"] = Json::array();
  for (const Line& line : lines_of(profile, machine))
    operations.push_back({{"name", runtime::name_of(line.operation)},
                          {"seconds", line.seconds},
                          {"share", line.share},
                          {"calls", line.calls},
                          {"bytes", number(line.bytes)},
                          {"bytes_per_s", number(line.bytes_per_s)},
                          {"read_share", number(line.read_share)},
                          {"multiply_add_share", number(line.dot_share)}});
  Json& threads = json["threads"] = Json::array();
  for (size_t t = 0; t < profile.threads.size(); ++t)
    threads.push_back(
        {{"waiting_s", profile.waiting_s(t) / passes},
         {"waits", static_cast<double>(profile.threads[t].calls[static_cast<size_t>(Operation::Waiting)]) / passes},
         {"longest_wait_s", std::chrono::duration<double>(profile.threads[t].longest_wait).count()}});
  return json;
}

}  // namespace attar::cli
