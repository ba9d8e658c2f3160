// Flags whose values are read strictly: a number is refused, in one short line, when it is none, out of range or too
// large for its type. CLI11's own conversion clamps in silence and prints limits with 300 digits. The verbs of the
// runtime see this header alone: each file that includes CLI11 carries a copy of its global validators.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/fields.h"
#include "runtime/base/host/cpu_limits.h"

namespace CLI {
class App;
}

namespace attar::cli {

struct WholeRange {
  int64_t least = INT64_MIN, most = INT64_MAX;
};

inline constexpr WholeRange kThreads{0, kMostThreads};  // of a thread count; 0 for default_threads()

// `names` as CLI11 has them: "-n,--max-tokens". The default is shown; a list takes several values behind one flag
// (arguments.h), numbers also with commas, or comes several times.
void add_whole(CLI::App& command, const std::string& names, int64_t& value, const char* help, WholeRange range);
void add_whole(CLI::App& command, const std::string& names, std::optional<int64_t>& value, const char* help,
               WholeRange range);
void add_wholes(CLI::App& command, const std::string& names, std::vector<int64_t>& value, const char* help,
                WholeRange range);
void add_text(CLI::App& command, const std::string& names, std::string& value, const char* help);
// Several values behind one flag, or one each time it is given.
void add_texts(CLI::App& command, const std::string& names, std::vector<std::string>& value, const char* help);
void add_switch(CLI::App& command, const std::string& names, bool& value, const char* help);
void require(CLI::App& command, const std::string& name);
// The argument is required unless the flag is given, which takes its place.
void require_one(CLI::App& command, const std::string& argument, const std::string& instead);
bool is_given(const CLI::App& command, const std::string& name);

// --data: text_paths.h. `what` it is for: "text to judge on".
void add_data(CLI::App& command, std::vector<std::string>& value, const std::string& what);

// A required MODEL: a GGUF file, a Hugging Face directory, pip:PACKAGE or hf:ORG/NAME.
void add_model(CLI::App& command, std::string& value);

// Of verbs that read chats, and of those that read texts.
void add_chat_template(CLI::App& command, std::string& value);
void add_special(CLI::App& command, bool& value);
void add_numerics(CLI::App& command, std::string& value);  // --numerics
void add_kv(CLI::App& command, std::string& value);        // --kv

// Names that flags had before: refused with those of now, and shown nowhere.
void refuse_renamed(CLI::App& command, std::span<const RenamedField> renamed);

// Adds a flag for each listed field: visit_fields(options, FlagAdder(command)). `final_ratio` becomes --final-ratio; a
// map is given as --losses forward_kl=1.0 cross_entropy=0.5, a bool as --bench / --no-bench, of which help says which
// one holds. Defaults are shown.
class FlagAdder {
 public:
  explicit FlagAdder(CLI::App& command) : command_(command) {}

  void operator()(bool& value, const char* name, const char* help);
  void operator()(int64_t& value, const char* name, const char* help);
  void operator()(double& value, const char* name, const char* help);
  void operator()(std::string& value, const char* name, const char* help);
  void operator()(std::optional<double>& value, const char* name, const char* help);
  void operator()(std::optional<std::string>& value, const char* name, const char* help);
  void operator()(std::optional<std::vector<int64_t>>& value, const char* name, const char* help);
  void operator()(std::vector<std::string>& value, const char* name, const char* help);
  void operator()(std::map<std::string, double>& value, const char* name, const char* help);
  void operator()(std::map<std::string, std::string>& value, const char* name, const char* help);

 private:
  CLI::App& command_;
};

}  // namespace attar::cli
