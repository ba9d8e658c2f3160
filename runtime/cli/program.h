// What the two programs share: verbs, global options, flags made from option listings, exit codes, Ctrl-C.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace attar::cli {

struct GlobalOptions {
  int64_t threads = 0;          // 0: all cores
  std::optional<int64_t> seed;  // not given: 0, or the recipe's
  bool json = false;            // one JSON document on stdout
  bool quiet = false;           // no progress

  int thread_count() const;
};

// A verb adds its flags to its own subcommand and returns what to do once they are parsed: the exit code, or an Error.
using Action = std::function<int()>;
struct Verb {
  const char* name;
  const char* summary;   // one line, for the list of verbs
  const char* examples;  // shown below the flags; lines that work as printed
  Action (*add)(CLI::App& command, const GlobalOptions& global);
};

struct ProgramText {
  const char* name;
  const char* summary;
  const char* examples;  // what the bare program shows
};

// Parses and runs. Errors become one line on stderr and their exit code; the parser's own codes become 2.
int run_program(int argc, char** argv, const ProgramText& text, std::span<const Verb> verbs);

// Adds a flag for each listed field: visit_fields(options, FlagAdder(command)). `final_ratio` becomes --final-ratio; a
// map is given as --losses forward_kl=1.0 --losses ..., a bool as --bench / --no-bench. Defaults are shown.
class FlagAdder {
 public:
  explicit FlagAdder(CLI::App& command) : command_(command) {}

  void operator()(bool& value, const char* name, const char* help);
  void operator()(int64_t& value, const char* name, const char* help);
  void operator()(double& value, const char* name, const char* help);
  void operator()(std::string& value, const char* name, const char* help);
  void operator()(std::optional<std::string>& value, const char* name, const char* help);
  void operator()(std::vector<std::string>& value, const char* name, const char* help);
  void operator()(std::map<std::string, double>& value, const char* name, const char* help);
  void operator()(std::map<std::string, std::string>& value, const char* name, const char* help);

 private:
  CLI::App& command_;
};

// Error{Resources} when what was printed could not be written. Verbs that print for long call it between lines; every
// verb's end does.
void check_output();

// True after the first Ctrl-C or SIGTERM; the second one ends the program at once.
bool interrupted();

}  // namespace attar::cli
