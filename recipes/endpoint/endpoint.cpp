#include "recipes/endpoint/endpoint.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "runtime/base/random.h"
#include "runtime/base/words/json_depth.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kTries = 8, kTriesUnanswered = 3;
constexpr double kFirstPause_s = 0.5, kLongestPause_s = 30.0, kLongestAsked_s = 600.0;
constexpr size_t kAnswerLimitBytes = size_t{64} << 20, kWordsBytes = 160;
constexpr size_t kSecretBytes = 16;  // a key as long as that is no word of an answer
constexpr int kDeepest = 64;         // brackets around a value of an answer

bool is_temporary(int status) {
  return status == 408 || status == 409 || status == 429 || (status >= 500 && status < 600);
}

// Discarded: it is none, or one so deep that to copy or to write it may take more stack than there is.
Json json_of(const std::string& body) {
  return json_is_deeper_than(body, kDeepest) ? Json(Json::value_t::discarded) : Json::parse(body, nullptr, false);
}

// Where APIs put what they have to say.
std::string message_of(const Json& json) {
  if (!json.is_object()) return "";
  for (const char* key : {"error", "message", "detail"})
    if (const auto found = json.find(key); found != json.end())
      return found->is_string() ? found->get<std::string>() : found->is_object() ? message_of(*found) : found->dump();
  return "";
}

std::string in_seconds(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, seconds < 100.0 ? "%.3g s" : "%.0f s", seconds);
  return text;
}

// 0.5, 1, 2, ... s, and at random (by the request) no more than that and no less than half of it, so that those who
// failed together do not come back together.
double pause_before(int next_try, const EndpointRequest& request) {
  const CounterRandom random(std::hash<std::string>{}(request.body), static_cast<uint64_t>(request.sample));
  const double longest_s = std::min(kLongestPause_s, kFirstPause_s * std::ldexp(1.0, next_try - 2));
  return longest_s * (0.5 + 0.5 * random.uniform(static_cast<uint64_t>(next_try)));
}

}  // namespace

struct Endpoint::Reply {
  HttpHead head;
  std::string body;
};

struct Endpoint::Again {
  std::string why;
  double at_least_s = 0.0;
  int tries = kTries;
};

double retry_after_s(const std::string& value, std::time_t now) {
  if (value.empty()) return 0.0;
  char* end = nullptr;
  const double seconds = std::strtod(value.c_str(), &end);
  if (end != value.c_str() && *end == '\0') return std::isfinite(seconds) ? std::max(0.0, seconds) : 0.0;
  std::tm date{};
  if (::strptime(value.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &date) == nullptr) return 0.0;
  return std::max(0.0, std::difftime(::timegm(&date), now));
}

Endpoint::Endpoint(const EndpointSettings& settings) : settings_(settings), pace_(settings.requests_per_minute) {
  const char* key = settings.key_variable.empty() ? nullptr : std::getenv(settings.key_variable.c_str());
  if (key != nullptr) key_ = key;
}

std::string Endpoint::without_key(std::string text) const {
  for (size_t at = 0; !key_.empty() && (at = text.find(key_, at)) != std::string::npos;)
    text.replace(at, key_.size(), "***");
  return text;
}

std::string Endpoint::words_of(const std::string& body) const {
  std::string words = message_of(json_of(body));
  if (words.empty()) words = body;
  words.erase(0, std::min(words.find_first_not_of(" \t\r\n"), words.size()));
  return words.empty() ? "no words" : printable(without_key(words), kWordsBytes);
}

Endpoint::Reply Endpoint::send(const EndpointRequest& request, const EndpointWatch& watch) const {
  Reply reply;
  const auto take = [&](std::string_view bytes) {
    reply.body += bytes;
    if (reply.body.size() > kAnswerLimitBytes)
      throw Error(ErrorKind::Failure, {.where = request.url, .what = "answers without end"});
  };
  reply.head = http_request({.url = request.url,
                             .method = HttpMethod::Post,
                             .token = key_,
                             .json = request.body,
                             .timeout_s = settings_.timeout_s},
                            {.head = {}, .body = take, .refusal = take}, watch.tick);
  if (key_.size() >= kSecretBytes) reply.body = without_key(std::move(reply.body));
  return reply;
}

void Endpoint::refuse(int status, const Reply& reply, const EndpointRequest& request) const {
  const std::string variable = settings_.key_variable, said = words_of(reply.body);
  std::string what = "answers " + std::to_string(status) + ": " + said, hint;
  if (status == 401 || status == 403)
    hint = variable.empty() ? "it wants a key: name the environment variable that holds one in `key`"
                            : "the key in " + variable + " is not one that it takes, or may not ask this model";
  else if (status == 404)
    hint = "`url` is the address up to /v1, `model` one of those that it lists at /models";
  else if (status > 300 && status < 309)
    what = "answers " + std::to_string(status) + " and leads on to " +
           printable(without_key(reply.head.header("location").substr(0, reply.head.header("location").find('?')))),
    hint = "give that address as `url`: what is asked, and a key, go to no other host";
  else if (status == 429)
    hint = "the account has no quota left";
  else
    hint = "it was asked about " + request.prompt +
           "; a prompt may be too long for it, some have no probabilities to give (top_logprobs: 0) or take no seed "
           "(send_seed: false)";
  throw input_error(request.url, what, "", "", hint + "; answers so far are kept");
}

std::string Endpoint::choice_of(const Reply& reply, const EndpointRequest& request) const {
  int status = reply.head.status;
  const Json json = json_of(reply.body);
  if (status == 200 && json.is_object() && json.contains("error") && !json.at("error").is_null()) {
    const Json code = json.at("error").is_object() ? json.at("error").value("code", Json()) : Json();
    status = code.is_number_integer() ? code.get<int>() : 400;  // as OpenRouter tells what went wrong behind it
  }
  const bool no_quota = status == 429 && reply.body.find("insufficient_quota") != std::string::npos;
  if (is_temporary(status) && !no_quota)
    throw Again{"answers " + std::to_string(status) + ": " + words_of(reply.body),
                retry_after_s(reply.head.header("retry-after"), std::time(nullptr))};
  if (status != 200) refuse(status, reply, request);
  const size_t first = reply.body.find_first_not_of(" \t\r\n");
  const bool is_page = reply.head.header("content-type").starts_with("text/html") ||
                       (first != std::string::npos && reply.body[first] == '<');
  if (json.is_discarded() && is_page)
    throw input_error(request.url, "answers 200 with a page, not with JSON: " + words_of(reply.body), "", "",
                      "`url` is the address of an API, which often ends in /v1");
  if (json_is_deeper_than(reply.body, kDeepest))
    throw input_error(request.url, "answers 200 with JSON that is nested too deeply", "", "",
                      "`url` is the address up to /v1 of an OpenAI-compatible API");
  if (json.is_discarded()) throw Again{"answers 200 with JSON that breaks off: " + words_of(reply.body)};
  const Json choices = json.is_object() ? json.value("choices", Json()) : Json();
  if (!choices.is_array() || choices.empty() || !choices[0].is_object())
    throw input_error(request.url, "answers 200 with no `choices`: " + words_of(reply.body), "", "",
                      "`url` is the address up to /v1 of an OpenAI-compatible API");
  return choices[0].dump();
}

std::string Endpoint::ask(const EndpointRequest& request, const EndpointWatch& watch) {
  if (const std::string& name = settings_.key_variable;
      !name.empty() &&
      (key_.empty() || std::any_of(key_.begin(), key_.end(), [](char c) { return c <= 0x20 || c > 0x7e; })))
    throw usage_error(request.url, "needs the key that the environment variable " + name + " should hold",
                      "letters, digits and signs in one word", key_.empty() ? "nothing" : "something else");
  for (int tries = 1;; ++tries) {
    pace_.wait(watch.waiting);
    Again again;
    try {
      return choice_of(send(request, watch), request);
    } catch (const Again& thrown) {
      again = thrown;
    } catch (const HttpBroken& broken) {
      again = {broken.what(), 0.0, broken.connected ? kTries : kTriesUnanswered};
    }
    if (tries >= again.tries || again.at_least_s > kLongestAsked_s)
      throw Error(ErrorKind::Failure,
                  {.where = request.url,
                   .what = again.why + (again.at_least_s > kLongestAsked_s
                                            ? "; it asks to wait for " + in_seconds(again.at_least_s)
                                            : ", " + std::to_string(tries) + " times, each within " +
                                                  in_seconds(settings_.timeout_s)),
                   .hint = "is it up? A slow one needs a longer timeout_s, a busy one less concurrency or "
                           "requests_per_minute; answers so far are kept: run again to go on"});
    const double pause_s = std::max(again.at_least_s, pause_before(tries + 1, request));
    if (again.at_least_s > 0.0) pace_.hold(again.at_least_s);
    watch.say(request.url + ": " + again.why + "; again in " + in_seconds(pause_s));
    pause_for(pause_s, watch.waiting);
  }
}

}  // namespace attar
