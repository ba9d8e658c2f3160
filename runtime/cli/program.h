// What the two programs share: verbs, global options, exit codes, Ctrl-C.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/progress.h"
#include "runtime/formats/model_file.h"
#include "runtime/judge/verify.h"

namespace CLI {
class App;
}

namespace attar::cli {

struct GlobalOptions {
  int64_t threads = 0;                                     // 0: default_threads()
  std::optional<int64_t> seed;                             // not given: 0, or the recipe's
  bool json = false;                                       // one JSON document on stdout
  bool quiet = false;                                      // no progress
  bool offline = false;                                    // no network
  ModelSource hub{};                                       // brings hf:ORG/NAME; none in attar-run
  decltype(&runtime::verify_on_tasks) on_tasks = nullptr;  // what verify --tasks asks; none in attar-run

  int thread_count() const;
};

// A verb adds its flags to its own subcommand and returns what to do once they are parsed: the exit code, or an Error.
using Action = std::function<int()>;
struct Verb {
  const char* name;
  const char* summary;   // one line, for the list of verbs
  const char* examples;  // shown below the flags; lines that work as printed, PROGRAM for the program that prints them
  Action (*add)(CLI::App& command, const GlobalOptions& global);
};

struct ProgramText {
  const char* name;
  const char* summary;
  const char* examples;  // what the bare program shows
  // Programs with a network: where models of the hub come from, and what --offline does.
  ModelSource (*hub)(const Progress& progress) = nullptr;
  void (*go_offline)() = nullptr;
  decltype(&runtime::verify_on_tasks) on_tasks = nullptr;
};

// The parser of a program, with the flags of every verb: what runs it and what describes it (pages.h) both read.
struct Parser {
  Parser(const ProgramText& text, std::span<const Verb> verbs);
  ~Parser();

  std::unique_ptr<GlobalOptions> global = std::make_unique<GlobalOptions>();  // the actions keep a reference
  std::unique_ptr<CLI::App> app;
  std::vector<std::pair<CLI::App*, Action>> actions;
};

// Parses and runs. Errors become one line on stderr and their exit code; the parser's own codes become 2.
int run_program(int argc, char** argv, const ProgramText& text, std::span<const Verb> verbs);

// Error{Resources} when what was printed could not be written or standard output is closed. Verbs that print for long
// call it between lines; every verb's end does.
void check_output();

// True after the first Ctrl-C or SIGTERM; the second one ends the program at once.
bool interrupted();

// What the first one answers on stderr, at once: a line of this lifetime, which ends the program's progress. nullptr,
// as at the start: nothing.
void answer_interrupts_with(const char* line);

}  // namespace attar::cli
