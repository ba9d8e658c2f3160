#include "compress/kept/kept_parts.h"

#include <algorithm>
#include <filesystem>

#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"

namespace attar {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> files_of(const std::string& folder, const std::string& kind) {
  std::vector<fs::path> files;
  if (!fs::is_directory(folder)) return files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder))
    if (entry.path().filename().string().starts_with(kind + "-")) files.push_back(entry.path());
  return files;
}

}  // namespace

KeptParts::KeptParts(std::string folder, std::string kind, Identity identity)
    : folder_(std::move(folder)), kind_(std::move(kind)), identity_(std::move(identity)) {
  for (const fs::path& file : files_of(folder_, kind_))
    if (is_aside(file.filename().string()))
      fs::remove(file);
    else
      checked(file);
}

bool KeptParts::has(const std::string& part) const {
  return !folder_.empty() && fs::exists(path(part));
}

std::string KeptParts::path(const std::string& part) const {
  return folder_ + "/" + kind_ + "-" + part + ".safetensors";
}

KeptFile KeptParts::read(const std::string& part) const {
  return checked(path(part));
}

KeptFile KeptParts::checked(const std::string& path) const {
  KeptFile file = read_kept(path, kind_);
  if (const std::string differ = differences(file.identity, identity_); !differ.empty())
    throw usage_error(folder_, "holds " + kind_ + " of another run: " + differ, "", "",
                      "go on with what it began with, or delete this folder");
  return file;
}

void KeptParts::write(const std::string& part, const std::string& json, std::vector<SafeTensor> tensors) const {
  if (!folder_.empty()) write_kept(path(part), {kind_, identity_, json, std::move(tensors)});
}
void KeptParts::write(const std::string& part, const std::string& json,
                      const std::map<std::string, at::Tensor>& tensors) const {
  if (!folder_.empty()) write_kept(path(part), kind_, identity_, json, tensors);
}

bool has_kept_parts(const std::string& folder, const std::string& kind) {
  const std::vector<fs::path> files = files_of(folder, kind);
  return std::any_of(files.begin(), files.end(),
                     [](const fs::path& file) { return !is_aside(file.filename().string()); });
}

void remove_kept_parts(const std::string& folder, const std::string& kind) {
  for (const fs::path& file : files_of(folder, kind)) fs::remove(file);
}

}  // namespace attar
