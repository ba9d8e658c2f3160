#include "recipes/run/run_log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>

#include <filesystem>
#include <fstream>
#include <string_view>
#include <system_error>
#include <utility>

#include "runtime/base/error.h"

namespace attar {
namespace {

constexpr std::pair<const char*, spdlog::level::level_enum> kLevels[] = {{"debug", spdlog::level::debug},
                                                                         {"info", spdlog::level::info},
                                                                         {"warning", spdlog::level::warn},
                                                                         {"off", spdlog::level::off}};

spdlog::level::level_enum level_of(const std::string& name) {
  for (const auto& [known, level] : kLevels)
    if (name == known) return level;
  throw usage_error("log_level", "is unknown", "debug, info, warning or off", printable(name));
}

// Lines go behind those of earlier times, each of which begins with its date, and behind nothing else.
void require_log(const std::string& path) {
  std::error_code code;
  if (!std::filesystem::is_regular_file(path, code)) return;  // it is not there, or opening it says why not
  constexpr std::string_view kDate = "0000-00-00 ";
  std::string begin(kDate.size(), '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(begin.data(), static_cast<std::streamsize>(begin.size()));
  begin.resize(static_cast<size_t>(file.gcount()));
  for (char& c : begin) c = c >= '0' && c <= '9' ? '0' : c;
  if (!begin.empty() && begin != kDate)
    throw usage_error(path, "holds something else than a log", "a new file, or the log of earlier times");
}

std::string counted(const Event& event) {
  std::string line = std::string(event.stage) + ": " + std::to_string(event.done);
  if (event.total > 0) line += "/" + std::to_string(event.total);
  line += " " + std::string(event.unit);
  for (const Metric& metric : event.metrics) line += ", " + metric.name + " " + std::to_string(metric.value);
  return line;
}

}  // namespace

struct RunLog::Sink {
  spdlog::logger logger;
};

RunLog::RunLog(const LogOptions& options, const std::string& file) {
  const spdlog::level::level_enum level = level_of(options.level);
  const std::string path = options.file.empty() ? file : options.file;
  if (path.empty() || level == spdlog::level::off) return;
  require_log(path);
  try {
    sink_ = std::make_unique<Sink>(spdlog::logger("attar", std::make_shared<spdlog::sinks::basic_file_sink_mt>(path)));
  } catch (const spdlog::spdlog_ex&) {
    throw Error(ErrorKind::Resources, {.where = path, .what = "cannot be written"});
  }
  sink_->logger.set_level(level);
  sink_->logger.set_pattern("%Y-%m-%d %H:%M:%S.%e %L %v");
  sink_->logger.flush_on(spdlog::level::info);  // a killed run leaves what it had done
}
RunLog::~RunLog() = default;

void RunLog::write(LogLevel level, const std::string& line) const {
  if (sink_) sink_->logger.log(kLevels[static_cast<size_t>(level)].second, line);
}

Progress RunLog::watching(Progress progress) const {
  if (!sink_) return progress;
  return [this, progress = std::move(progress)](const Event& event) {
    if (!event.message.empty()) write(LogLevel::Warning, std::string(event.stage) + ": " + std::string(event.message));
    if (!event.detail.empty()) write(LogLevel::Info, std::string(event.stage) + ": " + std::string(event.detail));
    if (sink_->logger.should_log(spdlog::level::debug)) write(LogLevel::Debug, counted(event));
    return progress ? progress(event) : Flow::GoOn;
  };
}

}  // namespace attar
