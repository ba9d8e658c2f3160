#include "runtime/cli/terminal/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "runtime/cli/terminal/progress_line.h"

namespace attar::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kLiveInterval_s = 0.1;
constexpr double kPlainInterval_s = 5.0;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

int terminal_columns() {
  struct winsize size {};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 100;
}

// At most one line of the terminal; a bar's characters take three bytes each but one column.
std::string clipped(const std::string& text, int columns) {
  size_t i = 0;
  while (i < text.size() && columns > 0) {
    if (text[i] == '\033') {
      while (i < text.size() && text[i] != 'm') ++i;
      ++i;
      continue;
    }
    ++i;
    while (i < text.size() && (static_cast<unsigned char>(text[i]) & 0xc0) == 0x80) ++i;
    --columns;
  }
  return text.substr(0, i);
}

// One line about one stage; it ends with a line break when another stage begins.
class Line {
 public:
  explicit Line(bool live) : live_(live), colour_(live && std::getenv("NO_COLOR") == nullptr) {}
  ~Line() { end(); }

  void show(const Event& event) {
    const Clock::time_point now = Clock::now();
    if (event.stage != stage_ || event.total != total_ || event.done < done_) begin(event, now);
    done_ = event.done;
    if (!event.message.empty()) note(event.message);
    if (event.unit.empty()) return;  // no more than a message
    const bool finished = event.total > 0 && event.done >= event.total;
    if (finished ? ended_ : seconds_between(shown_, now) < (live_ ? kLiveInterval_s : kPlainInterval_s)) return;
    shown_ = now;
    ended_ = finished;
    const double elapsed_s = seconds_between(start_, now);
    // Since the first event, which may come after a first step, or from the middle of a resumed stage.
    const double rate_per_s = elapsed_s > 1.0 ? static_cast<double>(event.done - first_) / elapsed_s : 0.0;
    if (live_) {
      const int columns = terminal_columns() - 1;
      const std::string text = live_line(event, rate_per_s, columns, colour_ ? StageName::Bold : StageName::Plain);
      std::fprintf(stderr, "\r\033[K%s", clipped(text, columns).c_str());
      open_ = true;
      if (finished) end();
    } else {
      std::fprintf(stderr, "%s\n", plain_line(event, rate_per_s).c_str());
    }
  }

  void end() {
    if (open_) std::fputc('\n', stderr);
    open_ = false;
  }

 private:
  void begin(const Event& event, Clock::time_point now) {
    end();
    stage_ = std::string(event.stage);
    total_ = event.total;
    first_ = event.done;
    start_ = now;
    shown_ = {};
    ended_ = false;
  }

  void note(std::string_view message) {
    if (open_) std::fputs("\r\033[K", stderr);
    std::fprintf(stderr, "%s: %s\n", stage_.c_str(), std::string(message).c_str());
    open_ = false;
  }

  bool live_, colour_;
  bool open_ = false, ended_ = false;
  std::string stage_;
  int64_t total_ = -1, first_ = 0, done_ = 0;
  Clock::time_point start_{}, shown_{};
};

}  // namespace

Progress terminal_progress(const GlobalOptions& global) {
  if (global.quiet) return [](const Event&) { return interrupted() ? Flow::Stop : Flow::GoOn; };
  const bool live = ::isatty(STDERR_FILENO) == 1;
  answer_interrupts_with(live ? "\r\033[Kstopping after this step; again to quit now\n"
                              : "stopping after this step; again to quit now\n");
  const auto line = std::make_shared<Line>(live);
  return [line](const Event& event) {
    line->show(event);
    if (!interrupted()) return Flow::GoOn;
    line->end();
    return Flow::Stop;
  };
}

void show_notes(const std::vector<std::string>& notes, const GlobalOptions& global) {
  for (const std::string& note : notes)
    if (!global.quiet) std::fprintf(stderr, "note: %s\n", note.c_str());
}

}  // namespace attar::cli
