// GGUF in several files: their names, and reading them as one. Source: llama.cpp's gguf-split.
#include <cstdio>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/formats/container/gguf.h"

namespace attar {
namespace {

constexpr std::string_view kEnding = ".gguf";
constexpr size_t kTailBytes = sizeof("-00001-of-00003") - 1;

std::string tail(size_t part, size_t count) {
  char text[64];
  std::snprintf(text, sizeof text, "-%05zu-of-%05zu", part, count);
  return text;
}

// NAME-0000x-of-0000N.gguf -> NAME.gguf; "" when the name is no part of `count`.
std::string whole_path(const std::string& path, size_t count) {
  if (path.size() < kTailBytes + kEnding.size() || !path.ends_with(kEnding)) return "";
  const std::string name = path.substr(0, path.size() - kEnding.size());
  const std::string end = name.substr(name.size() - kTailBytes);
  for (const size_t i : {1, 2, 3, 4, 5})
    if (end[i] < '0' || end[i] > '9') return "";
  if (end != tail(std::stoul(end.substr(1, 5)), count)) return "";
  return name.substr(0, name.size() - kTailBytes) + std::string(kEnding);
}

// Each part says which of how many it is.
void check_part(const GgufFile& part, size_t index, size_t count) {
  const int64_t no = part.integer("split.no"), of = part.integer("split.count");
  if (no != static_cast<int64_t>(index) || of != static_cast<int64_t>(count))
    throw input_error(part.path(), "is another part than its name says",
                      "split.no " + std::to_string(index) + " of " + std::to_string(count),
                      "split.no " + std::to_string(no) + " of " + std::to_string(of));
}

}  // namespace

std::string gguf_part_path(const std::string& path, size_t part, size_t count) {
  const bool ends = path.ends_with(kEnding);
  return path.substr(0, path.size() - (ends ? kEnding.size() : 0)) + tail(part, count) + std::string(kEnding);
}

GgufFile GgufFile::open(InputFile file) {
  GgufFile whole = open_one(std::move(file));
  if (const int64_t count = whole.integer("split.count", 0); count > 1)
    throw input_error(whole.path(), "is one of " + std::to_string(count) + " files", "a file that is whole", "",
                      "open it by its path, which says where the others are");
  return whole;
}

GgufFile GgufFile::open(const std::string& path) {
  GgufFile given = open_one(InputFile(path));
  const int64_t declared = given.integer("split.count", 0);
  if (declared <= 1) return given;
  if (declared > static_cast<int64_t>(kMaxGgufParts))
    throw input_error(path, "key split.count is impossible", "at most " + std::to_string(kMaxGgufParts),
                      std::to_string(declared));
  const auto count = static_cast<size_t>(declared);
  const std::string whole = whole_path(path, count);
  if (whole.empty())
    throw input_error(path,
                      "is one of " + std::to_string(count) + " files, and its name does not say where the others are",
                      "NAME" + tail(1, count) + std::string(kEnding));
  GgufFile all;
  for (size_t i = 0; i < count; ++i) {
    const std::string part_path = gguf_part_path(whole, i + 1, count);
    if (!path_exists(part_path))
      throw input_error(path, "is one of " + std::to_string(count) + " files, of which one is missing", part_path);
    GgufFile part = open_one(InputFile(part_path));
    check_part(part, i, count);
    i == 0 ? void(all = std::move(part)) : all.add_part(std::move(part));
  }
  const int64_t tensors = all.integer("split.tensors.count", static_cast<int64_t>(all.tensors_.size()));
  if (tensors != static_cast<int64_t>(all.tensors_.size()))
    throw input_error(path, "the files together hold another number of tensors than the first says",
                      std::to_string(tensors), std::to_string(all.tensors_.size()));
  all.path_ = path;
  return all;
}

}  // namespace attar
