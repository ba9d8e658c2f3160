// HTTP/1.1 and HTTPS, GET, HEAD and POST: one request, its redirects followed, its body handed on as it comes, stopped
// within a tenth of a second when the caller wants to. Of our own, on OpenSSL: cpp-httplib (0.11 of Debian 12) decodes
// the Location of a redirect, which breaks the signed addresses that a hub sends to, and cannot be stopped while it
// connects.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>

namespace attar {

enum class HttpMethod { Get, Head, Post };

struct HttpRequest {
  std::string url;
  // Of Head no redirect to another host is followed; of Post only one that keeps host and method (307, 308).
  HttpMethod method = HttpMethod::Get;
  std::string token{};      // goes to the host and port of `url`, never to another one
  std::string json{};       // of Post: what is sent
  uint64_t from_byte = 0;   // above 0: only the rest is asked for
  double timeout_s = 10.0;  // without a connection, an answer, or 1 KiB more of it
};

struct HttpHead {
  int status = 0;
  std::map<std::string, std::string> headers{};  // by lower-case name; x-* of the first answer that has them

  std::string header(const std::string& name) const;  // "" when absent
};

// What an answer goes into; what they throw comes out of http_request.
struct HttpSink {
  std::function<void(const HttpHead&)> head{};  // of 200 and 206 alone, and `body`
  std::function<void(std::string_view)> body{};
  std::function<void(std::string_view)> refusal{};  // the body of any other answer but a redirect that is followed
};

// There was no whole answer; another try may bring it.
struct HttpBroken : std::runtime_error {
  HttpBroken(const std::string& what, bool connected_) : std::runtime_error(what), connected(connected_) {}
  bool connected;
};

// `tick` is called every tenth of a second; what it throws stops the request and comes out.
// Error{Failure}: a certificate that is not trusted, a redirect that leads nowhere or away from HTTPS.
HttpHead http_request(const HttpRequest& request, const HttpSink& sink, const std::function<void()>& tick);

// What may stand in a URL's path as it is; `/` stays.
std::string url_path(std::string_view text);

}  // namespace attar
