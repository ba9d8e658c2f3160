// Many requests to an endpoint: several on their way at once, their answers kept as they come and handed on in the
// order of the requests. Which are asked, and what comes out, does not depend on how many are on their way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "recipes/endpoint/answer_cache.h"
#include "recipes/endpoint/endpoint.h"
#include "runtime/base/progress.h"

namespace attar {

struct Asking {
  size_t requests = 0;
  std::function<EndpointRequest(size_t)> request{};  // from several threads at once
  // On the calling thread, in order: the choice (JSON) that answers a request -> the tokens that it cost.
  std::function<int64_t(size_t, const std::string& choice)> take{};
  int64_t concurrency = 1;
  int64_t budget_tokens = 0;  // no request begins that is not needed to reach it, if answers have at most
  int64_t answer_tokens = 0;  // so many
};

struct AskedCounts {
  int64_t asked = 0, kept = 0;  // answers from the endpoint, and from the cache
};

// Until the budget is spent or all requests are answered. Stopped within a tenth of a second; of what fails the rest on
// its way is waited for and kept, then the first error comes out.
AskedCounts ask_in_order(Endpoint& endpoint, const AnswerCache& cache, const Asking& asking,
                         const Progress& progress = {});

}  // namespace attar
