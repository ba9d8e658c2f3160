// The proxy that a network asks for: what the environment names, and how a connection goes through it (HTTP CONNECT:
// RFC 9110, section 9.3.6).
#pragma once

#include <string>
#include <utility>

namespace attar {

// "HOST[:PORT]", "[IPv6]:PORT" -> host without brackets, and port.
std::pair<std::string, std::string> host_and_port(const std::string& authority, const std::string& default_port);

struct HttpProxy {
  std::string authority;      // HOST[:PORT]; "": none
  std::string credentials{};  // NAME:PASSWORD; "": none
};
// For an https:// address: https_proxy or HTTPS_PROXY, else all_proxy or ALL_PROXY, unless no_proxy or NO_PROXY names
// the host, a domain of it, or *. Error{Usage}: another kind of proxy than http://.
HttpProxy proxy_for(const std::string& host);

// What asks the proxy for a connection to `host` and `port`.
std::string connect_request(const HttpProxy& proxy, const std::string& host, const std::string& port);

}  // namespace attar
