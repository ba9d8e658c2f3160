#include "recipes/run/folder/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "recipes/run/folder/kept_recipe.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/base/words/utf8.h"

namespace attar {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

const std::string kPathsFrom = "paths_from: ";  // the first line of resolved.yaml

int lock_folder(const std::string& path) {
  const std::string lock_path = path + "/.lock";
  const int fd = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0)
    throw Error(ErrorKind::Resources,
                {.where = lock_path, .what = std::string("cannot be created: ") + std::strerror(errno)});
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    ::close(fd);
    throw Error(ErrorKind::Resources, {.where = path,
                                       .what = "another attar is working in this folder",
                                       .hint = "wait for it, or choose another folder with --out"});
  }
  return fd;
}

// By names that JSON can hold.
std::map<std::string, std::string> as_recorded(const std::map<std::string, std::string>& inputs) {
  std::map<std::string, std::string> recorded;
  for (const auto& [name, sha256] : inputs)
    recorded[valid_utf8_prefix(name) == name.size() ? name : visible(name)] = sha256;
  return recorded;
}

// Before anything is made there, a lock included.
void refuse_foreign(const std::string& path) {
  if (!fs::is_directory(path) || fs::exists(path + "/resolved.yaml")) return;
  for (const fs::directory_entry& entry : fs::directory_iterator(path))
    if (entry.path().filename() != ".lock" && !is_aside(entry.path().filename().string()))
      throw usage_error(path, "is not empty and holds no run", "", "", "choose another folder with --out");
}

// Files of a run that has only opened its teacher: nothing is lost when another recipe takes the folder.
bool holds_work(const std::string& path) {
  static constexpr const char* kStart[] = {".lock",
                                           "resolved.yaml",
                                           "inputs.json",
                                           "env.json",
                                           "log.txt",
                                           "metrics.jsonl",
                                           "checkpoints/0-teacher/stage.json"};
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(path)) {
    const std::string name = fs::relative(entry.path(), path).string();
    if (entry.is_regular_file() && !name.starts_with("tensorboard/") &&
        std::find(std::begin(kStart), std::end(kStart), name) == std::end(kStart))
      return true;
  }
  return false;
}

}  // namespace

RunFolder::RunFolder(const std::string& path, const std::string& resolved_recipe, const std::string& paths_from,
                     const std::map<std::string, std::string>& inputs, bool resume)
    : path_(path) {
  refuse_foreign(path);
  std::error_code code;
  fs::create_directories(path, code);
  if (!fs::is_directory(path))
    throw Error(ErrorKind::Resources,
                {.where = path, .what = "cannot be created as a folder" + (code ? ": " + code.message() : "")});
  lock_.fd = lock_folder(path);
  sweep_asides(path);  // that a crash left
  if (!holds_work(path)) {
    began_here_ = true;
    bind(resolved_recipe, paths_from, inputs);
  } else if (const std::string differing = differing_from(resolved_recipe); !differing.empty()) {
    throw usage_error(
        path, "holds the run of another recipe: " + differing, "", "",
        "resume it alone with attar run --resume " + path + ", choose another folder with --out, or delete this one");
  } else if (!resume) {
    throw usage_error(path, "already holds this run", "", "",
                      "add --resume to go on with it, or choose another folder with --out");
  } else {
    check_inputs(inputs);
    if (bound_recipe() != resolved_recipe) write_recipe(resolved_recipe, paths_from);
  }
}

std::string RunFolder::differing_from(const std::string& resolved_recipe) const {
  if (bound_recipe() == resolved_recipe) return {};
  try {
    const std::string kept = kept_resolved_yaml(path_);
    return kept == resolved_recipe ? "" : differing_keys(kept, resolved_recipe);
  } catch (const Error& error) {  // keys that this version does not have
    return error.what();
  }
}

std::string RunFolder::bound_recipe() const {
  const std::string text = read_file(file("resolved.yaml"));
  return text.rfind(kPathsFrom, 0) == 0 ? text.substr(text.find('\n') + 1) : text;
}

void RunFolder::write_recipe(const std::string& resolved_recipe, const std::string& paths_from) const {
  write_file_atomically(file("resolved.yaml"), kPathsFrom + Json(paths_from).dump() + "\n" + resolved_recipe);
}

void RunFolder::bind(const std::string& resolved_recipe, const std::string& paths_from,
                     const std::map<std::string, std::string>& inputs) {
  for (const char* name : {"checkpoints", "env.json", "metrics.jsonl", "tensorboard"}) fs::remove_all(file(name));
  write_recipe(resolved_recipe, paths_from);
  write_file_atomically(file("inputs.json"), Json(as_recorded(inputs)).dump(1) + "\n");
}

void RunFolder::check_inputs(const std::map<std::string, std::string>& given) const {
  const std::map<std::string, std::string> inputs = as_recorded(given);
  const Json recorded = Json::parse(read_file(file("inputs.json")), nullptr, false);
  std::string changed;
  for (const auto& [name, sha256] : inputs)
    if (!recorded.is_object() || recorded.value(name, "") != sha256) changed += (changed.empty() ? "" : ", ") + name;
  if (recorded.is_object())
    for (const auto& [name, sha256] : recorded.items())
      if (!inputs.contains(name)) changed += (changed.empty() ? "" : ", ") + name;  // a file that a folder had
  if (!changed.empty())
    throw usage_error(changed, "not the contents that the run in " + path_ + " began with", "", "",
                      "put the old ones back, or start anew in another folder with --out");
}

RunFolder::Lock::~Lock() {
  if (fd >= 0) ::close(fd);
}

std::optional<StageRecord> RunFolder::record(const std::string& stage) const {
  const std::string path = checkpoints(stage) + "/stage.json";
  if (!fs::exists(path)) return std::nullopt;
  try {
    const Json json = Json::parse(read_file(path));
    StageRecord record{stage, json.at("results").dump(), json.at("measurements").dump(), {}};
    for (const Json& note : json.at("notes")) record.notes.push_back(note.get<std::string>());
    return record;
  } catch (const Json::exception&) {
    throw input_error(path, "is damaged", "", "", "delete its folder and resume: the stage runs again");
  }
}

void RunFolder::write_record(const StageRecord& record) {
  const Json json = {{"results", Json::parse(record.results)},
                     {"measurements", Json::parse(record.measurements)},
                     {"notes", record.notes}};
  write_file_atomically(checkpoints(record.name) + "/stage.json", json.dump(1) + "\n");
}

void RunFolder::append_metric(const std::string& json_line) {
  std::ofstream out(file("metrics.jsonl"), std::ios::app);
  if (!(out << json_line << '\n').flush())
    throw Error(ErrorKind::Resources,
                {.where = file("metrics.jsonl"), .what = "cannot be written", .hint = "is the disk full?"});
}

void RunFolder::start_metrics(const std::string& stage) {
  std::string kept;
  if (std::ifstream in(file("metrics.jsonl")); in) {
    for (std::string line; std::getline(in, line);) {
      const Json json = Json::parse(line, nullptr, false);
      if (json.is_object() && json.value("stage", "") != stage) kept += line + "\n";
    }
  }
  write_file_atomically(file("metrics.jsonl"), kept);
}

}  // namespace attar
