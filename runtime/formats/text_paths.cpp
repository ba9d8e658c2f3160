#include "runtime/formats/text_paths.h"

#include <fnmatch.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <system_error>

#include "runtime/base/error.h"
#include "runtime/base/words/suggestion.h"

namespace attar {
namespace {

constexpr size_t kLongestPath = 4096;  // that is shown

namespace fs = std::filesystem;

bool has_wildcard(const std::string& text) {
  return text.find_first_of("*?[") != std::string::npos;
}

// The names in a folder but hidden ones, sorted. Error{Input}: it cannot be read.
std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code code;
  for (fs::directory_iterator entry(folder.empty() ? "." : folder, code), end; !code && entry != end;
       entry.increment(code))
    if (const std::string name = entry->path().filename().string(); name[0] != '.') names.push_back(name);
  if (code) throw input_error(folder.string(), "cannot be read: " + code.message());
  std::sort(names.begin(), names.end());
  return names;
}

// Nothing is left out because somebody may not look at it.
void require_permission(const fs::path& path, const std::error_code& code) {
  if (code == std::errc::permission_denied)
    throw input_error(printable(path.string(), kLongestPath), "cannot be read: " + code.message());
}

bool is_there(const fs::path& path) {
  std::error_code code;
  const bool there = fs::exists(path, code);
  require_permission(path, code);
  return there;
}

// A link that leads to itself is none: its reading says why.
bool is_folder(const fs::path& path) {
  std::error_code code;
  const bool folder = fs::is_directory(path, code);
  require_permission(path, code);
  return folder;
}

// Without links; as std::filesystem::canonical, which takes 7 KB for it.
std::string real_path(const fs::path& path) {
  const std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr), &std::free);
  if (real == nullptr) throw fs::filesystem_error("cannot be resolved", path, {errno, std::generic_category()});
  return real.get();
}

// A folder that is reached through a link inside itself is not entered again: `above` are those on the way.
void add_folder(const fs::path& folder, std::vector<std::string> above, std::vector<std::string>& files) {
  const std::string own = real_path(folder);
  if (std::find(above.begin(), above.end(), own) != above.end()) return;
  above.push_back(own);
  for (const std::string& name : names_in(folder)) {
    const fs::path path = folder / name;
    if (is_folder(path))
      add_folder(path, above, files);
    else if (names_text(name))
      files.push_back(path.string());
  }
}

// What the parts of a pattern from `part` on name, seen from `folder`.
void add_matches(const fs::path& folder, const std::vector<std::string>& parts, size_t part,
                 std::vector<std::string>& found) {
  if (part == parts.size()) return found.push_back(folder.string());
  const std::string& pattern = parts[part];
  if (!has_wildcard(pattern)) {
    if (is_there(folder / pattern)) add_matches(folder / pattern, parts, part + 1, found);
    return;
  }
  const bool any_depth = pattern == "**";
  if (any_depth) add_matches(folder, parts, part + 1, found);
  if (!is_folder(folder.empty() ? "." : folder)) return;
  for (const std::string& name : names_in(folder)) {
    const fs::path path = folder / name;
    if (!any_depth) {
      if (::fnmatch(pattern.c_str(), name.c_str(), 0) == 0) add_matches(path, parts, part + 1, found);
    } else if (is_folder(path) && !fs::is_symlink(path)) {
      add_matches(path, parts, part, found);
    }
  }
}

void add_pattern(const std::string& pattern, std::vector<std::string>& files) {
  std::vector<std::string> parts, found;
  fs::path start;
  for (const fs::path& part : fs::path(pattern))
    if (part == "/")
      start = part;
    else if (!part.empty())
      parts.push_back(part.string());
  add_matches(start, parts, 0, found);
  for (const std::string& path : found)
    if (is_folder(path))
      add_folder(path, {}, files);
    else if (names_text(path))
      files.push_back(path);
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());  // ** and a folder that matched may meet
}

}  // namespace

bool names_text(const std::string& path) {
  const std::string inner = path.ends_with(".gz") ? path.substr(0, path.size() - 3) : path;
  return inner.ends_with(".txt") || inner.ends_with(".jsonl");
}

std::vector<std::string> text_paths(const std::string& given) {
  std::vector<std::string> files;
  if (is_folder(given)) {
    add_folder(given, {}, files);
    if (files.empty())
      throw input_error(printable(given, kLongestPath), "is a folder without texts",
                        ".txt or .jsonl files, also .gz, in it or below");
  } else if (given == kStandardInput || is_there(given)) {
    files.push_back(given);
  } else if (has_wildcard(given)) {
    add_pattern(given, files);
    if (files.empty())
      throw input_error(printable(given, kLongestPath), "matches no text",
                        "a pattern of .txt or .jsonl files, also .gz");
  } else {
    throw input_error(printable(given, kLongestPath), "does not exist",
                      "a file (.txt or .jsonl, also .gz), a folder or a pattern", "", nearest_path(given));
  }
  return files;
}

std::vector<std::string> text_paths(const std::vector<std::string>& given) {
  std::vector<std::string> files;
  for (const std::string& one : given)
    for (std::string& file : text_paths(one)) files.push_back(std::move(file));
  return files;
}

}  // namespace attar
