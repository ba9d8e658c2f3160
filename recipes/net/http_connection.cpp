#include "recipes/net/http_connection.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "recipes/net/http.h"
#include "recipes/net/http_proxy.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"

namespace attar {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kTick_ms = 100;
constexpr size_t kProxyAnswerBytes = 8192;
constexpr uint64_t kLeastBytes = 1024;  // within the timeout, else an answer has stalled

// Where systems keep the certificates they trust, for an OpenSSL that was built for another one.
std::string certificates() {
  if (std::getenv("SSL_CERT_FILE") != nullptr || std::getenv("SSL_CERT_DIR") != nullptr) return "";
  for (const char* file : {X509_get_default_cert_file(), "/etc/ssl/certs/ca-certificates.crt",
                           "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"})
    if (path_exists(file)) return file;
  return "";
}

bool is_address(const std::string& host) {
  unsigned char bytes[16];
  return ::inet_pton(AF_INET, host.c_str(), bytes) == 1 || ::inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

}  // namespace

void HttpWatch::step() {
  const Clock::time_point now = Clock::now();
  if (now - ticked_ >= std::chrono::milliseconds(kTick_ms)) {
    ticked_ = now;
    tick_();
  }
  if (std::chrono::duration<double>(now - since_).count() < timeout_s_) return;
  if (bytes_ < kLeastBytes) throw HttpBroken("no answer, or too slow a one", answered_);
  bytes_ = 0, since_ = now;
}

HttpConnection::HttpConnection(const std::string& origin, HttpWatch& watch) : origin_(origin), watch_(watch) {
  const bool secure = origin.starts_with("https:");
  const auto [host, port] = host_and_port(origin.substr(origin.find("://") + 3), secure ? "443" : "80");
  const HttpProxy proxy = secure ? proxy_for(host) : HttpProxy{};
  try {
    if (proxy.authority.empty()) {
      connect(host, port);
    } else {
      const auto [proxy_host, proxy_port] = host_and_port(proxy.authority, "80");
      connect(proxy_host, proxy_port);
      ask_proxy(connect_request(proxy, host, port), proxy.authority);
    }
    if (secure) start_tls(host);
  } catch (...) {
    close();
    throw;
  }
}

HttpConnection::~HttpConnection() {
  close();
}

void HttpConnection::close() {
  SSL_free(tls_);
  SSL_CTX_free(context_);
  if (socket_ >= 0) ::close(socket_);
  tls_ = nullptr, context_ = nullptr, socket_ = -1;
}

void HttpConnection::wait(short events) {
  for (struct pollfd ready{socket_, events, 0}; ::poll(&ready, 1, kTick_ms) <= 0;) watch_.step();
  watch_.step();
}

void HttpConnection::connect(const std::string& host, const std::string& port) {
  addrinfo wanted{}, *list = nullptr;
  wanted.ai_socktype = SOCK_STREAM;
  if (const int code = ::getaddrinfo(host.c_str(), port.c_str(), &wanted, &list); code != 0)
    throw HttpBroken("no connection to " + printable(origin_) + ": " + ::gai_strerror(code), false);
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(list, ::freeaddrinfo);
  int fault = ETIMEDOUT;
  for (const addrinfo* address = list; address != nullptr; address = address->ai_next) {
    socket_ = ::socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (socket_ < 0) continue;
    if (::connect(socket_, address->ai_addr, address->ai_addrlen) == 0) return;
    fault = errno;
    // Each of several addresses has half of the time, so that a dead one does not hide the others.
    const double patience_s = watch_.timeout_s() * (address->ai_next != nullptr ? 0.5 : 1.0);
    const Clock::time_point begin = Clock::now();
    while (fault == EINPROGRESS && std::chrono::duration<double>(Clock::now() - begin).count() < patience_s) {
      struct pollfd ready {
        socket_, POLLOUT, 0
      };
      if (::poll(&ready, 1, kTick_ms) > 0) {
        socklen_t size = sizeof fault;
        ::getsockopt(socket_, SOL_SOCKET, SO_ERROR, &fault, &size);
        if (fault == 0) return;
      }
      watch_.step();
    }
    ::close(socket_);
    socket_ = -1;
  }
  throw HttpBroken(
      "no connection to " + printable(origin_) + ": " + std::strerror(fault == EINPROGRESS ? ETIMEDOUT : fault), false);
}

void HttpConnection::ask_proxy(const std::string& request, const std::string& proxy) {
  write(request);
  std::string answer;
  char byte = 0;  // one at a time: what follows is the other side's
  while (!answer.ends_with("\r\n\r\n") && answer.size() < kProxyAnswerBytes && read(&byte, 1) == 1) answer += byte;
  if (answer.starts_with("HTTP/1.") && answer.find(" 2") == 8 && answer.ends_with("\r\n\r\n")) return;
  throw Error(ErrorKind::Failure,
              {.where = "the proxy " + printable(proxy),
               .what = "does not connect to " + printable(origin_) + ": " +
                       printable(answer.empty() ? "no answer" : answer.substr(0, answer.find('\r'))),
               .hint = "HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT names it, NO_PROXY what goes without one"});
}

void HttpConnection::start_tls(const std::string& host) {
  context_ = SSL_CTX_new(TLS_client_method());
  if (context_ == nullptr) throw Error(ErrorKind::Failure, {.where = "OpenSSL", .what = "cannot be started"});
  SSL_CTX_set_min_proto_version(context_, TLS1_2_VERSION);
  SSL_CTX_set_mode(context_, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_verify(context_, SSL_VERIFY_PEER, nullptr);
  if (const std::string file = certificates(); !file.empty())
    SSL_CTX_load_verify_locations(context_, file.c_str(), nullptr);
  else
    SSL_CTX_set_default_verify_paths(context_);
  tls_ = SSL_new(context_);
  if (tls_ == nullptr || SSL_set_fd(tls_, socket_) != 1)
    throw Error(ErrorKind::Failure, {.where = "OpenSSL", .what = "cannot be started"});
  const bool named = is_address(host)
                         ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls_), host.c_str()) == 1
                         : SSL_set1_host(tls_, host.c_str()) == 1 && SSL_set_tlsext_host_name(tls_, host.c_str()) == 1;
  if (!named) throw Error(ErrorKind::Failure, {.where = printable(origin_), .what = "is no name of a host"});
  for (int result = 0; (result = SSL_connect(tls_)) != 1;) {
    if (wants_more(result)) continue;
    if (const long verdict = SSL_get_verify_result(tls_); verdict != X509_V_OK)
      throw Error(
          ErrorKind::Failure,
          {.where = printable(origin_),
           .what = std::string("shows a certificate that is not trusted: ") + X509_verify_cert_error_string(verdict),
           .hint = "install the package ca-certificates, or name the file of your own authority in SSL_CERT_FILE"});
    throw HttpBroken("no secure connection to " + printable(origin_), false);
  }
}

bool HttpConnection::wants_more(int result) {
  const int error = SSL_get_error(tls_, result);
  ERR_clear_error();
  if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) return false;
  wait(error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT);
  return true;
}

void HttpConnection::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto most = static_cast<int>(bytes.size());
    const ssize_t count = tls_ != nullptr ? SSL_write(tls_, bytes.data(), most)
                                          : ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count > 0) {
      bytes.remove_prefix(static_cast<size_t>(count));
    } else if (tls_ != nullptr) {
      if (!wants_more(static_cast<int>(count))) throw HttpBroken("the connection broke off", watch_.is_answered());
    } else if (errno == EAGAIN) {
      wait(POLLOUT);
    } else if (errno != EINTR) {
      throw HttpBroken("the connection broke off", watch_.is_answered());
    }
  }
}

size_t HttpConnection::read(char* into, size_t most) {
  for (;;) {
    watch_.step();
    const ssize_t count =
        tls_ != nullptr ? SSL_read(tls_, into, static_cast<int>(most)) : ::recv(socket_, into, most, 0);
    if (count > 0) {
      watch_.received(static_cast<size_t>(count));
      return static_cast<size_t>(count);
    }
    if (tls_ != nullptr) {
      if (!wants_more(static_cast<int>(count))) return 0;
    } else if (count == 0) {
      return 0;
    } else if (errno == EAGAIN) {
      wait(POLLIN);
    } else if (errno != EINTR) {
      throw HttpBroken("the connection broke off", watch_.is_answered());
    }
  }
}

}  // namespace attar
