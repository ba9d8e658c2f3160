// What a text argument names: a file, a folder, a pattern or standard input; the same for flags, recipes and Python.
#pragma once

#include <string>
#include <vector>

namespace attar {

inline constexpr const char* kStandardInput = "-";
inline constexpr const char* kTextHelp = ".txt or .jsonl files, also .gz, folders of them, or patterns";

// The files: the one that is named; of a folder all .txt and .jsonl, also .gz, in it and below; of a pattern (* ? [ ],
// ** for any folders between) those that match, and all of a folder that matches. Sorted by the bytes of their paths;
// names that begin with a dot are left out. A file with that very name comes before a pattern. `-` stays as it is.
// Error{Input}: nothing is there.
std::vector<std::string> text_paths(const std::string& given);
std::vector<std::string> text_paths(const std::vector<std::string>& given);

// Its name ends as a text file's does: .txt, .jsonl, also .gz.
bool names_text(const std::string& path);

}  // namespace attar
