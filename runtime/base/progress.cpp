#include "runtime/base/progress.h"

#include "runtime/base/error.h"

namespace attar {

void report(const Progress& progress, const Event& event) {
  if (progress && progress(event) == Flow::Stop)
    throw Error(ErrorKind::Interrupted, {.where = std::string(event.stage), .what = "interrupted"});
}

Progress inside(const Progress& progress, const Event& now) {
  return [&](const Event&) { return progress ? progress(now) : Flow::GoOn; };
}

}  // namespace attar
