#include "recipes/net/http.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "recipes/net/http_connection.h"
#include "runtime/base/error.h"

namespace attar {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 16, kHeaderLimitBytes = size_t{1} << 18;
constexpr int kRedirects = 8;

struct Url {
  std::string origin;  // https://host:port
  std::string target;  // /path?query
};

Url parse_url(const std::string& url) {
  const size_t scheme = url.find("://");
  if (scheme == std::string::npos || (url.compare(0, scheme, "https") != 0 && url.compare(0, scheme, "http") != 0))
    throw Error(ErrorKind::Failure, {.where = printable(url), .what = "is no address", .expected = "https://..."});
  const size_t slash = std::min(url.find_first_of("/?", scheme + 3), url.size());
  Url out{url.substr(0, slash), url.substr(slash)};
  if (out.target.empty() || out.target.front() != '/') out.target.insert(0, "/");
  if (std::any_of(url.begin(), url.end(), [](unsigned char c) { return c <= 0x20 || c == 0x7f; }))
    throw Error(ErrorKind::Failure, {.where = printable(url), .what = "is no address", .expected = "https://..."});
  return out;
}

// Without the query, which may hold a signature.
std::string shown(const Url& url) {
  return printable(url.origin + url.target.substr(0, url.target.find('?')), 200);
}

Url redirected(const Url& from, const std::string& location) {
  const std::string scheme = from.origin.substr(0, from.origin.find(':')),
                    path = from.target.substr(0, from.target.find('?'));
  const size_t end = location.find("://");  // of a scheme, unless a path or a query begins before
  Url to;
  if (end != std::string::npos && location.find_first_of("/?#") == end + 1)
    to = parse_url(location);
  else if (location.starts_with("//"))
    to = parse_url(scheme + ":" + location);
  else if (location.starts_with("/"))
    to = {from.origin, location};
  else
    to = {from.origin, path.substr(0, path.rfind('/') + 1) + location};
  if (scheme == "https" && !to.origin.starts_with("https:"))
    throw Error(ErrorKind::Failure, {.where = shown(from), .what = "leads away from HTTPS", .got = shown(to)});
  return to;
}

bool is_success(int status) {
  return status == 200 || status == 206;
}

// Whether `head` sends a request for `from` on to where it is asked again.
bool leads_on(const HttpHead& head, HttpMethod method, const Url& from) {
  const std::string location = head.header("location");
  if (head.status <= 300 || head.status >= 309 || head.status == 304 || location.empty()) return false;
  if (method == HttpMethod::Get) return true;
  if (method == HttpMethod::Post && head.status != 307 && head.status != 308) return false;
  return redirected(from, location).origin == from.origin;
}

const char* name_of(HttpMethod method) {
  return method == HttpMethod::Get ? "GET " : method == HttpMethod::Head ? "HEAD " : "POST ";
}

// An answer as it comes: lines, then a body of a told length, in chunks, or up to the end of the connection (RFC 9112).
class Answer {
 public:
  Answer(HttpConnection& connection, HttpWatch& watch) : connection_(connection), watch_(watch) {}

  HttpHead head() {
    HttpHead head;
    do head = one_head();
    while (head.status >= 100 && head.status < 200);
    watch_.answered();
    return head;
  }

  // `take`: called with each piece of the body.
  void body(const HttpHead& head, const std::function<void(std::string_view)>& take) {
    const std::string coding = head.header("transfer-encoding"), length = head.header("content-length");
    if (coding.find("chunked") != std::string::npos) {
      while (const uint64_t size = number(line(), 16)) {
        pieces(size, take);
        line();
      }
    } else if (!length.empty()) {
      pieces(number(length, 10), take);
    } else {
      pieces(UINT64_MAX, take);
    }
  }

 private:
  static HttpBroken wrong() { return HttpBroken("no answer in HTTP", true); }

  static uint64_t number(const std::string& text, int base) {
    uint64_t value = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (code != std::errc() || (*end != '\0' && *end != ';' && *end != ' ')) throw wrong();
    return value;
  }

  HttpHead one_head() {
    HttpHead head;
    const std::string first = line();
    if (!first.starts_with("HTTP/1.") || first.size() < 12) throw wrong();
    head.status = static_cast<int>(number(first.substr(9, 3), 10));
    size_t size_bytes = 0;
    for (std::string text; !(text = line()).empty();) {
      if ((size_bytes += text.size()) > kHeaderLimitBytes) throw wrong();
      const size_t colon = text.find(':');
      if (colon == std::string::npos) throw wrong();
      std::string name = text.substr(0, colon);
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
      const size_t begin = std::min(text.find_first_not_of(" \t", colon + 1), text.size());
      head.headers.emplace(name, text.substr(begin, text.find_last_not_of(" \t") + 1 - begin));
    }
    return head;
  }

  // False at the end of the connection.
  bool fill() {
    buffer_.resize(kBufferBytes);
    buffer_.resize(connection_.read(buffer_.data(), buffer_.size()));
    at_ = 0;
    return !buffer_.empty();
  }

  std::string line() {
    std::string text;
    for (;;) {
      if (at_ == buffer_.size() && !fill()) throw HttpBroken("the connection broke off", true);
      const size_t end = std::min(buffer_.find('\n', at_), buffer_.size());
      text.append(buffer_, at_, end - at_);
      at_ = std::min(end + 1, buffer_.size());
      if (text.size() > kHeaderLimitBytes) throw wrong();
      if (end == buffer_.size()) continue;
      if (text.ends_with('\r')) text.pop_back();
      return text;
    }
  }

  void pieces(uint64_t size, const std::function<void(std::string_view)>& take) {
    while (size > 0) {
      if (at_ == buffer_.size() && !fill()) {
        if (size > (UINT64_MAX >> 1)) return;  // as long as the connection
        throw HttpBroken("the connection broke off", true);
      }
      const std::string_view piece =
          std::string_view(buffer_).substr(at_, std::min<uint64_t>(size, buffer_.size() - at_));
      at_ += piece.size(), size -= piece.size();
      take(piece);
    }
  }

  HttpConnection& connection_;
  HttpWatch& watch_;
  std::string buffer_;
  size_t at_ = 0;
};

// One request to one host.
HttpHead exchange(const Url& url, const std::string& headers, const HttpRequest& request, const HttpSink& sink,
                  const std::function<void()>& tick) {
  HttpWatch watch(tick, request.timeout_s);
  HttpConnection connection(url.origin, watch);
  connection.write(name_of(request.method) + url.target +
                   " HTTP/1.1\r\nHost: " + url.origin.substr(url.origin.find("://") + 3) + "\r\n" + headers +
                   "Connection: close\r\n\r\n" + request.json);
  Answer answer(connection, watch);
  HttpHead head = answer.head();
  if (request.method == HttpMethod::Head || head.status == 204 || head.status == 304) return head;
  if (is_success(head.status)) {
    if (sink.head) sink.head(head);
    answer.body(head, [&](std::string_view bytes) {
      if (sink.body) sink.body(bytes);
    });
  } else if (sink.refusal && !leads_on(head, request.method, url)) {
    answer.body(head, sink.refusal);
  }
  return head;
}

}  // namespace

std::string HttpHead::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

HttpHead http_request(const HttpRequest& request, const HttpSink& sink, const std::function<void()>& tick) {
  Url url = parse_url(request.url);
  const std::string first_origin = url.origin;
  bool with_token = !request.token.empty();
  std::map<std::string, std::string> hub_headers;
  for (int hop = 0; hop <= kRedirects; ++hop) {
    // What an origin was told once, a way back to it by way of another one does not tell again.
    with_token = with_token && url.origin == first_origin;
    std::string headers = "User-Agent: attar/" ATTAR_VERSION "\r\nAccept: */*\r\nAccept-Encoding: identity\r\n";
    if (with_token) headers += "Authorization: Bearer " + request.token + "\r\n";
    if (request.from_byte > 0) headers += "Range: bytes=" + std::to_string(request.from_byte) + "-\r\n";
    if (request.method == HttpMethod::Post)
      headers += "Content-Type: application/json\r\nContent-Length: " + std::to_string(request.json.size()) + "\r\n";
    HttpHead head = exchange(url, headers, request, sink, tick);
    for (const auto& [name, value] : head.headers)
      if (name.starts_with("x-")) hub_headers.emplace(name, value);
    for (const auto& [name, value] : hub_headers) head.headers[name] = value;
    if (!leads_on(head, request.method, url)) return head;
    url = redirected(url, head.header("location"));
  }
  throw Error(ErrorKind::Failure, {.where = printable(request.url, 200), .what = "is redirected again and again"});
}

std::string url_path(std::string_view text) {
  static constexpr const char* kDigits = "0123456789ABCDEF";
  std::string out;
  for (const unsigned char c : text) {
    const bool plain = std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-' || c == '~' || c == '/';
    if (plain)
      out += static_cast<char>(c);
    else
      out += {'%', kDigits[c >> 4], kDigits[c & 15]};
  }
  return out;
}

}  // namespace attar
