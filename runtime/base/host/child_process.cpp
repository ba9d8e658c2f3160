#include "runtime/base/host/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "runtime/base/error.h"

extern char** environ;

namespace attar {
namespace {

struct Child {
  pid_t pid = -1;
  int output = -1;  // the end of a pipe that its stdout goes into
};

Child start(const std::vector<std::string>& command) {
  int pipe_ends[2];
  if (::pipe2(pipe_ends, O_CLOEXEC) != 0)
    throw Error(ErrorKind::Resources, {.where = command[0], .what = "no pipe could be made"});
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDOUT_FILENO);
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  Child child;
  const int failed = ::posix_spawn(&child.pid, command[0].c_str(), &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(pipe_ends[1]);
  if (failed != 0) {
    ::close(pipe_ends[0]);
    throw Error(ErrorKind::Resources, {.where = command[0], .what = "could not be started"});
  }
  child.output = pipe_ends[0];
  return child;
}

// What the child writes until it ends. A signal may come just before a read begins, so it waits in short turns and asks
// `progress` between them.
std::string read_all(const Child& child, const Progress& progress, const Event& now) {
  constexpr int kTurn_ms = 100;
  std::string text;
  char buffer[4096];
  for (;;) {
    report(progress, now);
    struct pollfd ready {
      child.output, POLLIN, 0
    };
    if (::poll(&ready, 1, kTurn_ms) <= 0) continue;
    const ssize_t got = ::read(child.output, buffer, sizeof buffer);
    if (got > 0) text.append(buffer, static_cast<size_t>(got));
    if (got == 0 || (got < 0 && errno != EINTR)) return text;
  }
}

int exit_status(const Child& child) {
  ::close(child.output);
  int status = 0;
  while (::waitpid(child.pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

}  // namespace

std::string output_of(const std::vector<std::string>& command, const Progress& progress, const Event& now) {
  const Child child = start(command);
  std::string text;
  try {
    text = read_all(child, progress, now);
  } catch (...) {
    ::kill(child.pid, SIGKILL);
    exit_status(child);
    throw;
  }
  const int status = exit_status(child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return text;
  const bool stopped = WIFSIGNALED(status) ? WTERMSIG(status) == SIGINT || WTERMSIG(status) == SIGTERM
                                           : WEXITSTATUS(status) == static_cast<int>(ErrorKind::Interrupted);
  if (stopped) throw Error(ErrorKind::Interrupted, {.where = std::string(now.stage), .what = "interrupted"});
  std::string line;
  for (const std::string& word : command) line += (line.empty() ? "" : " ") + word;
  throw Error(ErrorKind::Failure,
              {.where = command[0], .what = "failed", .hint = "run it by hand to see why: " + line});
}

}  // namespace attar
