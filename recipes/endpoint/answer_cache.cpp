#include "recipes/endpoint/answer_cache.h"

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/base/sha256.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kFileLimitBytes = size_t{64} << 20;

std::string usual_folder() {
  const char *cache = std::getenv("XDG_CACHE_HOME"), *home = std::getenv("HOME");
  if (cache != nullptr && *cache == '/') return std::string(cache) + "/attar/answers";
  return std::string(home != nullptr && *home != '\0' ? home : "/tmp") + "/.cache/attar/answers";
}

Json identity(const EndpointRequest& request) {
  return {{"url", request.url}, {"body", Json::parse(request.body)}, {"sample", request.sample}};
}

}  // namespace

AnswerCache::AnswerCache(const std::string& folder) : folder_(folder.empty() ? usual_folder() : folder) {}

std::string AnswerCache::path_of(const EndpointRequest& request) const {
  const std::string hash = sha256(identity(request).dump());
  return folder_ + "/" + hash.substr(0, 2) + "/" + hash.substr(2, 38) + ".json";
}

std::optional<std::string> AnswerCache::find(const EndpointRequest& request) const {
  const std::string path = path_of(request);
  if (!path_exists(path)) return std::nullopt;
  const Json kept = Json::parse(read_file(path, kFileLimitBytes), nullptr, false);
  if (!kept.is_object() || kept.value("request", Json()) != identity(request) || !kept.contains("choice"))
    throw input_error(path, "is damaged", "", "", "delete it: the endpoint is asked again");
  return kept.at("choice").dump();
}

void AnswerCache::keep(const EndpointRequest& request, const std::string& choice) const {
  const Json kept = {{"request", identity(request)}, {"choice", Json::parse(choice)}};
  write_file_atomically(path_of(request), kept.dump() + "\n");
}

}  // namespace attar
