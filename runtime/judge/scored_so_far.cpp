#include "runtime/judge/scored_so_far.h"

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>

#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/base/sha256.h"

namespace attar::runtime {
namespace {

using Json = nlohmann::ordered_json;

std::string bytes_of(const std::vector<double>& numbers) {
  const std::span<const std::byte> bytes = std::as_bytes(std::span(numbers));
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string hash_of(const Json& counts, const std::string& numbers) {
  return sha256(counts.dump() + "\n" + numbers);
}

Error unusable(const std::string& path, const std::string& why) {
  return input_error(path, why, "", "", "delete it: it is scored again");
}

}  // namespace

// A line of JSON, and the numbers as they lie in memory: a folder is resumed where it was begun.
void keep_scored(const std::string& path, const std::string& identity, const ScoredSoFar& scored) {
  const std::string numbers = bytes_of(scored.numbers);
  const Json header = {{"identity", identity}, {"counts", scored.counts}, {"sha256", hash_of(scored.counts, numbers)}};
  write_file_atomically(path, header.dump() + "\n" + numbers);
}

std::optional<ScoredSoFar> take_scored(const std::string& path, const std::string& identity) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  const std::string file = read_file(path);
  const size_t end = std::min(file.find('\n'), file.size());
  const std::string numbers = file.substr(std::min(end + 1, file.size()));
  ScoredSoFar scored;
  try {
    const Json header = Json::parse(file.substr(0, end));
    if (header.at("identity") != identity) throw unusable(path, "is of another verification");
    if (header.at("sha256") != hash_of(header.at("counts"), numbers) || numbers.size() % sizeof(double) != 0)
      throw unusable(path, "is damaged");
    scored.counts = header.at("counts").get<std::vector<int64_t>>();
  } catch (const Json::exception&) {
    throw unusable(path, "is damaged");
  }
  scored.numbers.resize(numbers.size() / sizeof(double));
  std::memcpy(scored.numbers.data(), numbers.data(), numbers.size());
  return scored;
}

}  // namespace attar::runtime
