#include "runtime/cli/program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <new>

#include "runtime/base/error.h"
#include "runtime/base/host/cpu_limits.h"
#include "runtime/cli/flags.h"

namespace attar::cli {
namespace {

volatile sig_atomic_t g_signals = 0;  // set by the handler, which may touch nothing else

std::atomic<const char*> g_answer{nullptr};
static_assert(std::atomic<const char*>::is_always_lock_free, "a handler reads it");

void on_signal(int) {
  g_signals = g_signals + 1;
  if (g_signals > 1) ::_exit(static_cast<int>(ErrorKind::Interrupted));
  const char* answer = g_answer;
  if (answer == nullptr) return;
  const int before = errno;
  size_t length = 0;
  while (answer[length] != '\0') ++length;
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, answer, length);
  errno = before;
}

// A closed standard stream gives its number to the next file that is opened: what is printed would go there, over a
// model. Opened for reading, a write to it still fails.
void hold_standard_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(stream, F_GETFD) < 0 && ::open("/dev/null", O_RDONLY) < 0) return;
}

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

// The options that stand before or behind any verb, as the help of each shows them.
std::string help_of_options(const CLI::App& app) {
  const auto own = [&](const CLI::Option* option) {
    return option != app.get_help_ptr() && option != app.get_version_ptr();
  };
  return CLI::Formatter().make_group("Options of every verb", false, app.get_options(own));
}

// The reader of our output has left, as `| head` does: no reason to complain.
bool output_is_unwanted() {
  struct pollfd output {
    STDOUT_FILENO, POLLOUT, 0
  };
  return std::ferror(stdout) != 0 && ::poll(&output, 1, 0) == 1 && (output.revents & POLLERR) != 0;
}

int fail(const Error& error) {
  if (output_is_unwanted()) return static_cast<int>(ErrorKind::Failure);
  std::fprintf(stderr, "error: %s\n", error.what());
  return error.exit_code();
}

int run_action(const Action& action) {
  try {
    const int code = action();
    check_output();
    return code;
  } catch (const Error& error) {
    return fail(error);
  } catch (const std::bad_alloc&) {
    return fail(Error(ErrorKind::Resources,
                      {.what = "out of memory", .hint = "close other programs, or use a smaller model or batch"}));
  } catch (const std::exception& error) {
    const std::string text(error.what());
    return fail(Error(ErrorKind::Failure, {.what = text.substr(0, text.find('\n'))}));
  }
}

}  // namespace

int GlobalOptions::thread_count() const {
  return threads > 0 ? static_cast<int>(threads) : default_threads();
}

void check_output() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return;
  const int flags = ::fcntl(STDOUT_FILENO, F_GETFL);
  if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY)
    throw Error(ErrorKind::Resources, {.where = "standard output", .what = "is closed"});
  throw Error(ErrorKind::Resources,
              {.where = "standard output", .what = "could not be written", .hint = "is the disk full?"});
}

bool interrupted() {
  return g_signals > 0;
}

void answer_interrupts_with(const char* line) {
  g_answer = line;
}

Parser::Parser(const ProgramText& text, std::span<const Verb> verbs)
    : app(std::make_unique<CLI::App>(text.summary, text.name)) {
  app->set_version_flag("--version", std::string(text.name) + " " + ATTAR_VERSION);
  app->require_subcommand(0, 1);
  app->fallthrough();
  add_whole(*app, "--threads", global->threads, "threads to use; 0 for a thread a core, within the processor quota",
            kThreads);
  add_whole(*app, "--seed", global->seed, "seed of everything drawn at random", {.least = 0});
  add_switch(*app, "--json", global->json, "one JSON document on stdout");
  add_switch(*app, "--quiet", global->quiet, "no progress and no notes on stderr");
  const std::string of_every_verb = help_of_options(*app);
  app->footer(std::string("Examples:\n") + text.examples);

  for (const Verb& verb : verbs) {
    CLI::App* command = app->add_subcommand(verb.name, verb.summary);
    Action action = verb.add(*command, *global);
    // One value each time a flag is given: the next word may be the MODEL.
    for (CLI::Option* option : command->get_options())
      if (option->nonpositional()) option->allow_extra_args(false);
    command->footer(of_every_verb + "\nExamples:\n" + verb.examples);
    actions.emplace_back(command, std::move(action));
  }
}
Parser::~Parser() = default;

int run_program(int argc, char** argv, const ProgramText& text, std::span<const Verb> verbs) {
  hold_standard_streams();
  install_signal_handlers();
  const Parser parser(text, verbs);
  try {
    parser.app->parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return parser.app->exit(error);  // --help, --version
    std::fprintf(stderr, "error: %s\nRun '%s --help' for what there is.\n", error.what(), text.name);
    return static_cast<int>(ErrorKind::Usage);
  }
  for (const auto& [command, action] : parser.actions)
    if (command->parsed()) return run_action(action);
  if (argc > 1) {
    std::fprintf(stderr, "error: a verb is missing\nRun '%s --help' for what there is.\n", text.name);
    return static_cast<int>(ErrorKind::Usage);
  }
  std::fputs(parser.app->help().c_str(), stdout);
  return 0;
}

}  // namespace attar::cli
