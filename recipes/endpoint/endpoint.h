// A model behind an OpenAI-compatible endpoint: one request, tried again where another try may bring an answer, and
// what is wrong said with the address, the status, the first words of the answer and what to do.
#pragma once

#include <cstdint>
#include <ctime>
#include <functional>
#include <string>

#include "recipes/endpoint/answer_cache.h"
#include "recipes/endpoint/pace.h"
#include "recipes/net/http.h"
#include "runtime/base/error.h"

namespace attar {

struct EndpointSettings {
  std::string key_variable{};  // of the environment, which alone holds the key; "": none is sent
  double timeout_s = 300.0;    // without a word
  int64_t requests_per_minute = 0;
};

// Called while a request is on its way; what they throw ends it and comes out.
struct EndpointWatch {
  std::function<void()> tick{};     // every tenth of a second
  std::function<void()> waiting{};  // in its place between two tries
  std::function<void(const std::string&)> say{};
};

class Endpoint {
 public:
  explicit Endpoint(const EndpointSettings& settings);

  // The first choice of the answer, as JSON. From several threads at once: where one is asked to wait, all do.
  // Error{Usage}: the variable holds no key. Error{Input}: the endpoint refuses. Error{Failure}: there is no answer.
  std::string ask(const EndpointRequest& request, const EndpointWatch& watch);

 private:
  struct Reply;
  struct Again;  // thrown: another try may help

  Reply send(const EndpointRequest& request, const EndpointWatch& watch) const;
  std::string choice_of(const Reply& reply, const EndpointRequest& request) const;
  [[noreturn]] void refuse(int status, const Reply& reply, const EndpointRequest& request) const;
  std::string words_of(const std::string& body) const;
  std::string without_key(std::string text) const;

  EndpointSettings settings_;
  std::string key_{};
  Pace pace_;
};

// The pause that Retry-After asks for, a number of seconds or a date (RFC 9110, section 10.2.3); 0: none.
double retry_after_s(const std::string& value, std::time_t now);

}  // namespace attar
