// What happened when: runs/<name>/log.txt, to which every start of a run adds; any verb of `attar` with --log-file.
#pragma once

#include <exception>
#include <memory>
#include <string>

#include "runtime/base/fields.h"
#include "runtime/base/progress.h"

namespace attar {

enum class LogLevel { Debug, Info, Warning, Off };

struct LogOptions {
  std::string file;            // "": none, or the run folder's log.txt
  std::string level = "info";  // debug, info, warning, off
};
template <class Visitor>
void visit_fields(LogOptions& o, Visitor&& field) {
  field(o.file, "log_file", "write what happens to this file, a line each with its time; a run has log.txt without it");
  field(o.level, "log_level",
        "what the log takes: debug (every progress event too), info (stages, caches, checkpoints, memory), warning "
        "(fallbacks and notes alone), off");
}

class RunLog {
 public:
  // Adds to options.file, else to `file`; to neither: nothing. Error{Usage}: an unknown level, or a file that is no
  // log. Error{Resources}: the file cannot be written.
  explicit RunLog(const LogOptions& options, const std::string& file = {});
  ~RunLog();

  void write(LogLevel level, const std::string& line) const;

  // What `work` returns; when it throws, the log says why.
  template <class Work>
  auto around(Work&& work) const {
    try {
      return work();
    } catch (const std::exception& error) {
      write(LogLevel::Warning, std::string("stopped: ") + error.what());
      throw;
    }
  }

  // `progress`, with what its events say written down as well. Must not outlive the log.
  Progress watching(Progress progress) const;

 private:
  struct Sink;
  std::unique_ptr<Sink> sink_;
};

}  // namespace attar
