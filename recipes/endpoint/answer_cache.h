// Answers on disk as they come, a file each, so that nothing that was answered is asked again: by a run that goes on,
// or by another one with the same requests.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace attar {

// What decides an answer; no key is part of it.
struct EndpointRequest {
  std::string url{};     // of the call: .../chat/completions
  std::string body{};    // JSON
  int64_t sample = 0;    // the same may be asked several times
  std::string prompt{};  // file:line, for messages
};

class AnswerCache {
 public:
  // `folder`: "" is $XDG_CACHE_HOME/attar/answers, or ~/.cache/attar/answers.
  explicit AnswerCache(const std::string& folder);

  // The choice that was kept, as JSON. Error{Input}: the file is damaged, or holds another request.
  std::optional<std::string> find(const EndpointRequest& request) const;
  // Written aside and renamed. From several threads at once, each with another request.
  void keep(const EndpointRequest& request, const std::string& choice) const;

 private:
  std::string path_of(const EndpointRequest& request) const;  // by the hash of url, body and sample

  std::string folder_;
};

}  // namespace attar
