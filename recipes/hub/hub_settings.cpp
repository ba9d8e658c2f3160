#include "recipes/hub/hub_settings.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "runtime/base/error.h"
#include "runtime/base/input_file.h"

namespace attar {
namespace {

constexpr size_t kTokenLimitBytes = 4096;

// The first of these variables that is set to something.
std::string variable(std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (const char* value = std::getenv(name); value != nullptr && *value != '\0') return value;
  return "";
}

std::string stripped(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\r\n"), end = text.find_last_not_of(" \t\r\n");
  return begin == std::string::npos ? "" : text.substr(begin, end - begin + 1);
}

std::string home() {
  const std::string folder = variable({"HOME"});
  return folder.empty() ? "/tmp" : folder;
}

std::string path(const std::string& given) {
  return given == "~" || given.starts_with("~/") ? home() + given.substr(1) : given;
}

bool is_true(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::toupper(c); });
  return text == "1" || text == "ON" || text == "YES" || text == "TRUE";
}

std::string token_of(const std::string& hf_home) {
  std::string token = stripped(variable({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}));
  if (token.empty()) {
    const std::string given = variable({"HF_TOKEN_PATH"}), file = given.empty() ? hf_home + "/token" : path(given);
    if (path_exists(file)) token = stripped(read_file(file, kTokenLimitBytes));
  }
  if (std::any_of(token.begin(), token.end(), [](unsigned char c) { return c <= 0x20 || c >= 0x7f; }))
    throw usage_error("HF_TOKEN", "is no token", "letters, digits and signs in one word, such as hf_...");
  return token;
}

}  // namespace

HubSettings HubSettings::from_environment() {
  HubSettings settings;
  if (const std::string endpoint = variable({"HF_ENDPOINT"}); !endpoint.empty()) settings.endpoint = endpoint;
  while (settings.endpoint.ends_with('/')) settings.endpoint.pop_back();
  if (!settings.endpoint.starts_with("https://") && !settings.endpoint.starts_with("http://"))
    throw usage_error("HF_ENDPOINT", "is no address of a hub", "https://...", printable(settings.endpoint));
  const std::string given_home = path(variable({"HF_HOME"})), cache = path(variable({"XDG_CACHE_HOME"}));
  const std::string hf_home =
      !given_home.empty() ? given_home : (cache.empty() ? home() + "/.cache" : cache) + "/huggingface";
  settings.cache = path(variable({"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}));
  if (settings.cache.empty()) settings.cache = hf_home + "/hub";
  settings.token = token_of(hf_home);
  settings.offline = is_true(variable({"HF_HUB_OFFLINE"})) || is_true(variable({"TRANSFORMERS_OFFLINE"}));
  if (const std::string timeout = variable({"HF_HUB_DOWNLOAD_TIMEOUT"}); !timeout.empty()) {
    char* stop = nullptr;
    settings.timeout_s = std::strtod(timeout.c_str(), &stop);
    if (*stop != '\0' || !(settings.timeout_s > 0.0 && settings.timeout_s <= 86400.0))
      throw usage_error("HF_HUB_DOWNLOAD_TIMEOUT", "is no time", "seconds above 0", printable(timeout));
  }
  return settings;
}

void go_offline() {
  ::setenv("HF_HUB_OFFLINE", "1", 1);
}

}  // namespace attar
