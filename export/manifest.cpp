// DIR/manifest.json: SHA-256 and size of every file below DIR.
#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "export/export.h"
#include "export/watched_bytes.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/sha256.h"

namespace attar {

void write_manifest(const std::string& directory, const Progress& progress) {
  namespace fs = std::filesystem;
  if (!fs::is_directory(directory)) throw input_error(directory, "is no folder", "a folder of artefacts");
  const fs::path manifest = fs::path(directory) / "manifest.json";
  std::map<std::string, uint64_t> sizes;
  uint64_t bytes = 0;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(directory)) {
    const std::string name = entry.path().lexically_relative(directory).generic_string();
    if (!entry.is_regular_file() || entry.path() == manifest || is_aside(name)) continue;
    bytes += sizes[name] = entry.file_size();
  }
  const auto hashed = watched_bytes(progress, bytes);
  nlohmann::json files = nlohmann::json::object();
  for (const auto& [name, size] : sizes)
    files[name] = {{"bytes", size}, {"sha256", sha256_of_file(directory + "/" + name, hashed)}};
  const nlohmann::json json = {{"schema_version", 1}, {"files", files}};
  write_file_atomically(manifest.string(), json.dump(2) + "\n");
}

}  // namespace attar
