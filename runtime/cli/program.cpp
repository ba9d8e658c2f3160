#include "runtime/cli/program.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <new>

#include "runtime/base/cpu.h"
#include "runtime/base/error.h"
#include "runtime/base/mapped_file.h"

namespace attar::cli {
namespace {

volatile sig_atomic_t g_signals = 0;  // set by the handler, which may touch nothing else

void on_signal(int) {
  g_signals = g_signals + 1;
  if (g_signals > 1) ::_exit(static_cast<int>(ErrorKind::Interrupted));
}

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  install_sigbus_message();
}

std::string flag_name(const char* name) {
  std::string flag = std::string("--") + name;
  std::replace(flag.begin() + 2, flag.end(), '_', '-');
  return flag;
}

template <class T>
void add_map(CLI::App& command, std::map<std::string, T>& value, const char* name, const char* help) {
  const auto given = std::make_shared<bool>(false);
  const std::string flag = flag_name(name);
  const auto read = [&value, given, flag](const std::vector<std::string>& items) {
    if (!*given) value.clear();
    *given = true;
    for (const std::string& item : items) {
      const size_t equals = item.find('=');
      T parsed{};
      if (equals == std::string::npos || !CLI::detail::lexical_cast(item.substr(equals + 1), parsed))
        throw CLI::ValidationError(flag, "expected name=value, got " + printable(item));
      value[item.substr(0, equals)] = parsed;
    }
  };
  command.add_option_function<std::vector<std::string>>(flag, read, help)->type_name("NAME=VALUE");
}

void finish_help(CLI::App& command, const char* examples) {
  command.footer(std::string("Examples:\n") + examples);
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
  return threads > 0 ? static_cast<int>(threads) : cpu_features().cores;
}

void check_output() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return;
  throw Error(ErrorKind::Resources,
              {.where = "standard output", .what = "could not be written", .hint = "is the disk full?"});
}

bool interrupted() {
  return g_signals > 0;
}

void FlagAdder::operator()(bool& value, const char* name, const char* help) {
  const std::string flag = flag_name(name);
  command_.add_flag(flag + ",!--no-" + flag.substr(2), value, help)->capture_default_str();
}
void FlagAdder::operator()(int64_t& value, const char* name, const char* help) {
  command_.add_option(flag_name(name), value, help)->capture_default_str();
}
void FlagAdder::operator()(double& value, const char* name, const char* help) {
  command_.add_option(flag_name(name), value, help)->capture_default_str();
}
void FlagAdder::operator()(std::string& value, const char* name, const char* help) {
  command_.add_option(flag_name(name), value, help)->capture_default_str();
}
void FlagAdder::operator()(std::optional<std::string>& value, const char* name, const char* help) {
  command_.add_option_function<std::string>(
      flag_name(name), [&value](const std::string& text) { value = text; }, help);
}
void FlagAdder::operator()(std::vector<std::string>& value, const char* name, const char* help) {
  command_.add_option(flag_name(name), value, help)->capture_default_str();
}
void FlagAdder::operator()(std::map<std::string, double>& value, const char* name, const char* help) {
  add_map(command_, value, name, help);
}
void FlagAdder::operator()(std::map<std::string, std::string>& value, const char* name, const char* help) {
  add_map(command_, value, name, help);
}

int run_program(int argc, char** argv, const ProgramText& text, std::span<const Verb> verbs) {
  install_signal_handlers();
  GlobalOptions global;
  CLI::App app(text.summary, text.name);
  app.set_version_flag("--version", std::string(text.name) + " " + ATTAR_VERSION);
  app.require_subcommand(0, 1);
  app.fallthrough();
  app.add_option("--threads", global.threads, "threads to use; 0 for all cores")->check(CLI::Range(0, 1024));
  app.add_option("--seed", global.seed, "seed of everything drawn at random")->check(CLI::NonNegativeNumber);
  app.add_flag("--json", global.json, "one JSON document on stdout");
  app.add_flag("--quiet", global.quiet, "no progress on stderr");
  finish_help(app, text.examples);

  std::vector<std::pair<CLI::App*, Action>> actions;
  for (const Verb& verb : verbs) {
    CLI::App* command = app.add_subcommand(verb.name, verb.summary);
    Action action = verb.add(*command, global);
    finish_help(*command, verb.examples);
    actions.emplace_back(command, std::move(action));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    std::fprintf(stderr, "error: %s\nRun '%s --help' for what there is.\n", error.what(), text.name);
    return static_cast<int>(ErrorKind::Usage);
  }
  for (const auto& [command, action] : actions)
    if (command->parsed()) return run_action(action);
  std::fputs(app.help().c_str(), stdout);
  return 0;
}

}  // namespace attar::cli
