#include "runtime/cli/program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <string_view>

#include "runtime/base/error.h"
#include "runtime/base/host/cpu_limits.h"
#include "runtime/cli/arguments.h"
#include "runtime/cli/flags.h"
#include "runtime/cli/terminal/terminal.h"

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

// Lines of at most so many letters, broken between words.
std::string wrapped(const std::string& text, size_t columns) {
  std::string out;
  size_t in_line = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size()), length = end - begin;
    const bool fits = in_line + 1 + length <= columns;
    if (begin > 0) out += fits ? ' ' : '\n';
    in_line = begin == 0 || !fits ? length : in_line + 1 + length;
    out.append(text, begin, length);
    begin = end + 1;
  }
  return out;
}

// As CLI11's, but a flag that has an opposite says which of the two holds without it, and long texts take several
// lines.
class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_option_desc(const CLI::Option* option) const override {
    constexpr size_t kColumns = 82;  // beside the names
    return wrapped(option->get_description(), kColumns);
  }
  std::string make_option_name(const CLI::Option* option, bool positional) const override {
    const std::string name = CLI::Formatter::make_option_name(option, positional);
    return name.substr(0, name.find('{'));
  }
  std::string make_option_opts(const CLI::Option* option) const override {
    if (option->get_type_name() == "NAME=VALUE" && !option->get_default_str().empty())
      return " NAME=VALUE ... (" + option->get_default_str() + ")";
    if (CLI::Formatter::make_option_name(option, false).find('{') == std::string::npos)
      return CLI::Formatter::make_option_opts(option);
    return option->get_default_str() == "true" ? " (on)" : " (off)";
  }
};

// The options that stand before or behind any verb, as the help of each shows them.
std::string help_of_options(const CLI::App& app) {
  const auto own = [&](const CLI::Option* option) {
    return option != app.get_help_ptr() && option != app.get_version_ptr();
  };
  return HelpFormatter().make_group("Options of every verb", false, app.get_options(own));
}

// "PROGRAM chat" as the program itself is called: an example is one of the program that prints it.
std::string of_program(std::string examples, const std::string& name) {
  const std::string word = "PROGRAM ";
  for (size_t at = examples.find(word); at != std::string::npos; at = examples.find(word, at))
    examples.replace(at, word.size(), name + " ");
  return examples;
}

// What the parser says, with an argument by the name that help shows first: PROMPT, not --prompt.
std::string parse_problem(const CLI::ParseError& error, const CLI::App& app, const std::string& verb) {
  const CLI::App* of = &app;
  for (size_t at = 0; at < verb.size();) {  // "recipes new": a verb and its form
    const size_t end = std::min(verb.find(' ', at), verb.size());
    of = of->get_subcommand(verb.substr(at, end - at));
    at = end + 1;
  }
  if (error.get_name() == "RequiredError")
    for (const CLI::Option* option : of->get_options())
      if (option->get_required() && option->count() == 0)
        return (option->get_positional() ? option->get_name(true) : option->get_name()) + " is required";
  return error.what();
}

// The reader of our output has left, as `| head` does: no reason to complain.
bool output_is_unwanted() {
  struct pollfd output {
    STDOUT_FILENO, POLLOUT, 0
  };
  return std::ferror(stdout) != 0 && ::poll(&output, 1, 0) == 1 && (output.revents & POLLERR) != 0;
}

// The verb that the first word names, alone: then nobody asks for the flags of the others. All where it names none:
// help and errors list them.
std::span<const Verb> named_verb(std::span<const Verb> verbs, std::string_view word) {
  for (size_t i = 0; i < verbs.size(); ++i)
    if (word == verbs[i].name) return verbs.subspan(i, 1);
  return verbs;
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
  } catch (const std::exception& error) {
    return fail(as_error(error));
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
  app->formatter(std::make_shared<HelpFormatter>());
  app->require_subcommand(0, 1);
  app->fallthrough();
  add_whole(*app, "--threads", global->threads, "threads to use; 0 for a thread a core, within the processor quota",
            kThreads);
  add_whole(*app, "--seed", global->seed, "seed of everything drawn at random", {.least = 0});
  add_switch(*app, "--json", global->json, "one JSON document on stdout");
  add_switch(*app, "--quiet", global->quiet, "no progress and no notes on stderr");
  if (text.hub != nullptr)
    add_switch(*app, "--offline", global->offline, "hf: models from the cache alone, as HF_HUB_OFFLINE=1 has it");
  global->on_tasks = text.on_tasks;
  const std::string of_every_verb = help_of_options(*app);
  app->footer("Help of a verb: " + std::string(text.name) + " help VERB\n\nExamples:\n" + text.examples);

  for (const Verb& verb : verbs) {
    CLI::App* command = app->add_subcommand(verb.name, verb.summary);
    Action action = verb.add(*command, *global);
    // One value each time a flag is given, for the parser: arguments_of has told values from arguments.
    std::vector<CLI::App*> forms = command->get_subcommands([](const CLI::App*) { return true; });
    forms.push_back(command);
    for (CLI::App* form : forms)
      for (CLI::Option* option : form->get_options())
        if (option->nonpositional()) option->allow_extra_args(false);
    command->footer(of_every_verb + "\nExamples:\n" + of_program(verb.examples, text.name));
    actions.emplace_back(command, std::move(action));
  }
}
Parser::~Parser() = default;

int run_program(int argc, char** argv, const ProgramText& text, std::span<const Verb> verbs) {
  hold_standard_streams();
  install_signal_handlers();
  const Parser parser(text, argc > 1 ? named_verb(verbs, argv[1]) : verbs);
  std::string verb;
  const auto refuse = [&](const std::string& what) {
    std::fprintf(stderr, "error: %s\nRun '%s%s --help' for what there is.\n", what.c_str(), text.name,
                 (verb.empty() ? "" : " " + verb).c_str());
    return static_cast<int>(ErrorKind::Usage);
  };
  try {
    Arguments arguments = arguments_of(*parser.app, {argv + 1, argv + argc});
    verb = arguments.verb;
    std::reverse(arguments.words.begin(), arguments.words.end());  // as CLI11 takes them
    parser.app->parse(std::move(arguments.words));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0)  // --help, --version
      return run_action([&] { return parser.app->exit(error); });
    return refuse(parse_problem(error, *parser.app, verb));
  } catch (const Error& error) {
    const std::string program = parser.app->get_name() + " ";
    if (error.parts().where.starts_with(program)) verb = error.parts().where.substr(program.size());
    return refuse(error.what());
  }
  const Progress progress = terminal_progress(*parser.global);
  if (text.hub != nullptr) parser.global->hub = text.hub(progress);
  if (parser.global->offline) text.go_offline();
  for (const auto& [command, action] : parser.actions)
    if (command->parsed()) return run_action(action);
  if (argc > 1) return refuse("a verb is missing");
  return run_action([&] { return std::fputs(parser.app->help().c_str(), stdout) < 0 ? 1 : 0; });
}

}  // namespace attar::cli
