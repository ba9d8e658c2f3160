// A connection to one host, plain or by TLS (OpenSSL), that never waits for longer than a tenth of a second without
// asking whether to go on.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

using SSL = struct ssl_st;
using SSL_CTX = struct ssl_ctx_st;

namespace attar {

// Asks its caller every tenth of a second, and gives up what has stalled.
class HttpWatch {
 public:
  HttpWatch(const std::function<void()>& tick, double timeout_s) : tick_(tick), timeout_s_(timeout_s) {}

  void step();  // often. HttpBroken: too few bytes came within the timeout
  void received(size_t bytes) { bytes_ += bytes; }
  void answered() { answered_ = true; }
  double timeout_s() const { return timeout_s_; }
  bool is_answered() const { return answered_; }

 private:
  using Clock = std::chrono::steady_clock;
  const std::function<void()>& tick_;
  double timeout_s_;
  Clock::time_point ticked_ = Clock::now(), since_ = ticked_;
  uint64_t bytes_ = 0;  // since then
  bool answered_ = false;
};

class HttpConnection {
 public:
  // `origin`: https://HOST[:PORT], through the proxy that the environment names for it. HttpBroken: no connection.
  // Error{Failure}: a certificate that is not trusted, a proxy that refuses.
  HttpConnection(const std::string& origin, HttpWatch& watch);
  ~HttpConnection();
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  void write(std::string_view bytes);
  size_t read(char* into, size_t most);  // 0: the other side has closed

 private:
  void connect(const std::string& host, const std::string& port);
  void ask_proxy(const std::string& request, const std::string& proxy);
  void start_tls(const std::string& host);
  void wait(short events);
  bool wants_more(int result);  // of a TLS call: after waiting for what it wants; false: it has ended
  void close();

  const std::string origin_;
  HttpWatch& watch_;
  int socket_ = -1;
  SSL_CTX* context_ = nullptr;
  SSL* tls_ = nullptr;
};

}  // namespace attar
