// The words of a command line before the parser takes them: verbs and flags that are not there are said with the
// nearest that is, and several values behind one flag become one each.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace attar::cli {

struct Arguments {
  std::vector<std::string> words;  // for the parser
  std::string verb;                // "": none
};

// `help` and `help VERB` become --help. A list flag (expected max above 1) takes the words behind it up to the next
// flag: numbers or NAME=VALUE where it holds those, else any text but the last ones that the verb's own arguments
// (MODEL, ...) still need, and of these those that do not end as a text file does. Error{Usage}: a verb or flag that is
// unknown.
Arguments arguments_of(const CLI::App& app, const std::vector<std::string>& given);

}  // namespace attar::cli
