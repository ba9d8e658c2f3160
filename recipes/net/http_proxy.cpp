#include "recipes/net/http_proxy.h"

#include <openssl/evp.h>

#include <cstdlib>
#include <initializer_list>

#include "runtime/base/error.h"

namespace attar {
namespace {

std::string variable(std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (const char* value = std::getenv(name); value != nullptr && *value != '\0') return value;
  return "";
}

// "127.0.0.1, .example.org": hosts, and domains with all below them.
bool is_named(const std::string& host, const std::string& list) {
  for (size_t begin = 0; begin < list.size();) {
    const size_t end = std::min(list.find_first_of(", ", begin), list.size());
    std::string name = list.substr(begin, end - begin);
    begin = end + 1;
    if (name.starts_with(".")) name.erase(0, 1);
    if (!name.empty() && (name == "*" || host == name || host.ends_with("." + name))) return true;
  }
  return false;
}

std::string base64(const std::string& text) {
  std::string out(4 * ((text.size() + 2) / 3) + 1, '\0');  // and a zero behind
  out.resize(static_cast<size_t>(EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                                 reinterpret_cast<const unsigned char*>(text.data()),
                                                 static_cast<int>(text.size()))));
  return out;
}

}  // namespace

std::pair<std::string, std::string> host_and_port(const std::string& authority, const std::string& default_port) {
  std::string host = authority, port = default_port;
  const size_t colon = host.rfind(':');
  if (colon != std::string::npos && host.find(']', colon) == std::string::npos)
    port = host.substr(colon + 1), host = host.substr(0, colon);
  if (host.starts_with("[") && host.ends_with("]")) host = host.substr(1, host.size() - 2);
  return {host, port};
}

HttpProxy proxy_for(const std::string& host) {
  std::string address = variable({"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"});
  if (address.empty() || is_named(host, variable({"no_proxy", "NO_PROXY"}))) return {};
  if (const size_t scheme = address.find("://"); scheme != std::string::npos) {
    if (!address.starts_with("http://"))
      throw usage_error("HTTPS_PROXY", "is a proxy that Attar cannot ask", "http://HOST:PORT",
                        printable(address.substr(0, scheme + 3)) + "...");
    address = address.substr(scheme + 3);
  }
  address = address.substr(0, address.find('/'));
  const size_t at = address.rfind('@');
  return at == std::string::npos ? HttpProxy{address} : HttpProxy{address.substr(at + 1), address.substr(0, at)};
}

std::string connect_request(const HttpProxy& proxy, const std::string& host, const std::string& port) {
  const std::string to = (host.find(':') != std::string::npos ? "[" + host + "]" : host) + ":" + port;
  return "CONNECT " + to + " HTTP/1.1\r\nHost: " + to + "\r\n" +
         (proxy.credentials.empty() ? "" : "Proxy-Authorization: Basic " + base64(proxy.credentials) + "\r\n") + "\r\n";
}

}  // namespace attar
