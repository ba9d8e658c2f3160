#include "recipes/hub/hub_connection.h"

#include <openssl/evp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <thread>

#include "recipes/hub/part_file.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/input_file.h"
#include "runtime/base/words/byte_size.h"

namespace attar {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr size_t kListingLimitBytes = size_t{64} << 20;
constexpr int kTries = 5, kTriesUnconnected = 3;
constexpr double kFirstPause_s = 0.5, kLongestPause_s = 60.0;
constexpr uint64_t kGoodPieceBytes = uint64_t{1} << 20;  // an answer that brought this much is no failure

bool is_temporary(int status) {
  return status == 408 || status == 429 || (status >= 500 && status < 600);
}

// The hub's: SHA-256 of a file in LFS, else git's SHA-1 of a blob.
std::string hash_of(const std::string& path, const HubFile& file, const std::function<void()>& tick) {
  const InputFile input(path);
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> hash(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  const auto check = [](int result) {
    if (result != 1) throw Error(ErrorKind::Failure, {.where = "OpenSSL", .what = "cannot hash"});
  };
  check(EVP_DigestInit_ex(hash.get(), file.sha256.empty() ? EVP_sha1() : EVP_sha256(), nullptr));
  if (file.sha256.empty()) {
    const std::string head = "blob " + std::to_string(input.size_bytes()) + std::string(1, '\0');
    check(EVP_DigestUpdate(hash.get(), head.data(), head.size()));
  }
  input.visit([&](std::span<const std::byte> bytes) {
    check(EVP_DigestUpdate(hash.get(), bytes.data(), bytes.size()));
    tick();
  });
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  check(EVP_DigestFinal_ex(hash.get(), digest, &size));
  std::string text;
  for (unsigned i = 0; i < size; ++i) text += {"0123456789abcdef"[digest[i] >> 4], "0123456789abcdef"[digest[i] & 15]};
  return text;
}

// "\"abc\"", "W/\"abc\"" -> abc
std::string plain_etag(std::string etag) {
  if (etag.starts_with("W/")) etag.erase(0, 2);
  etag.erase(std::remove(etag.begin(), etag.end(), '"'), etag.end());
  return etag;
}

}  // namespace

// How often and after what pauses the same thing is asked for.
class HubConnection::Patience {
 public:
  Patience(HubConnection& hub, std::string what) : hub_(hub), what_(std::move(what)) {}

  void reset() { tries_ = 0; }
  // After a failure: waits, or throws. `head`: the answer, where there was one.
  void wait(const std::string& why, const HttpHead& head, bool connected) {
    if (++tries_ >= (connected ? kTries : kTriesUnconnected))
      throw Error(
          ErrorKind::Failure,
          {.where = hub_.name_.text(),
           .what = what_ + " cannot be fetched: " + why,
           .hint = head.status == 429 && hub_.settings_.token.empty()
                       ? "wait a while, or set HF_TOKEN: the hub lets those with a token ask more"
                       : "what came so far is kept: run again to go on, or look at HF_ENDPOINT and the network"});
    double pause_s = kFirstPause_s * std::ldexp(1.0, tries_ - 1);
    if (const std::string asked = head.header("retry-after"); !asked.empty())
      pause_s = std::clamp(std::strtod(asked.c_str(), nullptr), pause_s, kLongestPause_s);
    char seconds[32];
    std::snprintf(seconds, sizeof seconds, "%.3g s", pause_s);
    hub_.say(what_ + ": " + why + "; again in " + seconds);
    for (const auto until = Clock::now() + std::chrono::duration<double>(pause_s); Clock::now() < until; hub_.tick())
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }

 private:
  HubConnection& hub_;
  std::string what_;
  int tries_ = 0;
};

HubConnection::HubConnection(const HubSettings& settings, const HubName& name, const Progress& progress)
    : settings_(settings), name_(name), progress_(progress) {}

void HubConnection::tick() {
  report(progress_, now_);
}

void HubConnection::say(const std::string& message) {
  Event event = now_;
  event.message = message;
  report(progress_, event);
}

std::string HubConnection::url_of(const std::string& commit, const HubFile& file) const {
  return settings_.endpoint + "/" + name_.repository + "/resolve/" + commit + "/" + url_path(file.name);
}

HttpHead HubConnection::ask(const HttpRequest& request, const HttpSink& sink, const std::string& what) {
  for (Patience patience(*this, what);;) {
    try {
      HttpHead head = http_request(request, sink, [this] { tick(); });
      if (!is_temporary(head.status)) return head;
      patience.wait("the hub answers " + std::to_string(head.status), head, true);
    } catch (const HttpBroken& broken) {
      patience.wait(broken.what(), {}, broken.connected);
    }
  }
}

void HubConnection::refuse(const HttpHead& head, const std::string& what, const std::string& revision) const {
  const std::string page = settings_.endpoint + "/" + name_.repository, code = head.header("x-error-code");
  const std::string said = printable(head.header("x-error-message"), 200);
  const bool forbidden = head.status == 401 || head.status == 403;
  const bool has_token = !settings_.token.empty();
  const std::string own = has_token ? "the token in HF_TOKEN (or of `hf auth login`) may not read it"
                                    : "set HF_TOKEN to a token of https://huggingface.co/settings/tokens";
  if (code == "GatedRepo")
    throw input_error(name_.text(), "is gated: who wants it has to accept its licence", {}, {},
                      "accept it at " + page + "; " + (has_token ? "the account of HF_TOKEN has not" : "then " + own));
  if (code == "RevisionNotFound" || (head.status == 404 && code.empty() && revision != "main"))
    throw input_error(name_.text(), "has no revision " + printable(revision), {}, {},
                      "its branches and tags are at " + page + "/tree/main");
  if (forbidden || code == "RepoNotFound" || (head.status == 404 && what == "the list of files"))
    throw input_error(name_.text(), "is not on the hub, or not for everybody", {}, said,
                      "look for it at " + page + "; if it is private or gated, " + own);
  throw input_error(name_.text(), what + ": the hub answers " + std::to_string(head.status), "200", said,
                    "look at " + page);
}

HubListing HubConnection::listing(const std::string& revision) {
  std::string quoted = url_path(revision);
  for (size_t at = 0; (at = quoted.find('/', at)) != std::string::npos;) quoted.replace(at, 1, "%2F");
  const HttpRequest request{
      .url = settings_.endpoint + "/api/models/" + name_.repository + "/revision/" + quoted + "?blobs=true",
      .token = settings_.token,
      .timeout_s = settings_.timeout_s};
  std::string json;
  const HttpSink sink{.head = [&](const HttpHead&) { json.clear(); },
                      .body =
                          [&](std::string_view bytes) {
                            json += bytes;
                            if (json.size() > kListingLimitBytes)
                              throw Error(ErrorKind::Failure, {.where = request.url, .what = "answers without end"});
                          }};
  const HttpHead head = ask(request, sink, "the list of files");
  if (head.status != 200) refuse(head, "the list of files", revision);
  return parse_hub_listing(json, settings_.endpoint + "/api/models/" + name_.repository);
}

// Where the list does not say it: the answer to HEAD does.
void HubConnection::learn_hash(const std::string& commit, HubFile& file) {
  const HttpHead head = ask({.url = url_of(commit, file),
                             .method = HttpMethod::Head,
                             .token = settings_.token,
                             .timeout_s = settings_.timeout_s},
                            {}, printable(file.name));
  if (head.status >= 400) refuse(head, printable(file.name), commit);
  const std::string linked = plain_etag(head.header("x-linked-etag")), own = plain_etag(head.header("etag"));
  const std::string etag = linked.empty() ? own : linked;
  (is_hexadecimal(etag, 64) ? file.sha256 : file.git_sha1) = etag;
  const std::string linked_size = head.header("x-linked-size");
  file.size_bytes =
      std::strtoull((linked_size.empty() ? head.header("content-length") : linked_size).c_str(), nullptr, 10);
  if (!is_hexadecimal(etag, 64) && !is_hexadecimal(etag, 40))
    throw Error(ErrorKind::Failure, {.where = name_.text(),
                                     .what = printable(file.name) + " has no hash to check it by",
                                     .expected = "X-Linked-ETag or ETag: a SHA-256 or a git SHA-1",
                                     .got = printable(etag)});
}

void HubConnection::require_space(const HubCache& cache, const std::vector<HubFile>& files) const {
  uint64_t needed = 0;
  std::error_code code;
  for (const HubFile& file : files) {
    const std::string blob = cache.blob(file.hash());
    if (fs::exists(blob, code)) continue;
    const uint64_t part = fs::file_size(blob + ".incomplete", code);
    needed += file.size_bytes - std::min(file.size_bytes, code ? 0 : part);
  }
  fs::create_directories(cache.folder(), code);
  const fs::space_info space = fs::space(cache.folder(), code);
  if (!code && space.available < needed)
    throw Error(ErrorKind::Resources, {.where = cache.folder(),
                                       .what = "has no room for " + name_.text(),
                                       .expected = size_text(needed),
                                       .got = size_text(space.available) + " free",
                                       .hint = "free some, or name another folder in HF_HUB_CACHE or HF_HOME"});
}

void HubConnection::fetch(const HubCache& cache, const std::string& commit, std::vector<HubFile> files) {
  std::erase_if(files, [&](const HubFile& file) { return cache.has(commit, file); });
  if (files.empty()) return;
  for (HubFile& file : files)
    if (file.hash().empty()) learn_hash(commit, file);
  require_space(cache, files);
  now_.done = now_.total = 0;
  for (const HubFile& file : files) now_.total += static_cast<int64_t>(file.size_bytes);
  say(name_.text() + ": " + std::to_string(files.size()) + (files.size() == 1 ? " file, " : " files, ") +
      size_text(static_cast<uint64_t>(now_.total)) + " from " + settings_.endpoint);
  for (const HubFile& file : files) {
    const int64_t before = now_.done;
    fetch_blob(cache, commit, file);
    now_.done = before + static_cast<int64_t>(file.size_bytes);
    tick();
  }
}

void HubConnection::fetch_blob(const HubCache& cache, const std::string& commit, const HubFile& file) {
  const std::string blob = cache.blob(file.hash()), incomplete = blob + ".incomplete";
  const HubLock lock(fs::path(cache.folder()).parent_path().string(), name_, file.hash(), [this] { tick(); });
  const int64_t before = now_.done;
  for (int wrong = 0; !path_exists(blob);) {
    now_.done = before;
    receive(commit, file, incomplete);
    const std::string hash = hash_of(incomplete, file, [this] { tick(); });
    if (hash == file.hash()) {
      publish(incomplete, blob);
      break;
    }
    fs::remove(incomplete);
    if (++wrong == 2)
      throw Error(ErrorKind::Failure,
                  {.where = name_.text(),
                   .what = printable(file.name) + " came twice with other bytes than the hub says; nothing was kept",
                   .expected = (file.sha256.empty() ? "git SHA-1 " : "SHA-256 ") + file.hash(),
                   .got = hash});
    say(printable(file.name) + ": other bytes than the hub says; once more from the start");
  }
  cache.link(commit, file);
}

void HubConnection::receive(const std::string& commit, const HubFile& file, const std::string& path) {
  PartFile part(path);
  if (part.size_bytes() > file.size_bytes) part.clear();
  const int64_t done = now_.done;
  Patience patience(*this, printable(file.name));
  while (part.size_bytes() < file.size_bytes) {
    const uint64_t before = part.size_bytes();
    HttpHead head;
    std::string why = "the connection broke off";
    bool connected = true;
    const HttpSink sink{
        .head = [&](const HttpHead& answer) { part.begin(answer.status, answer.header("content-range")); },
        .body =
            [&](std::string_view bytes) {
              if (part.size_bytes() + bytes.size() > file.size_bytes) {
                part.clear();
                throw HttpBroken("more bytes than the hub says", true);
              }
              part.append(bytes);
            }};
    try {
      head = http_request({.url = url_of(commit, file),
                           .token = settings_.token,
                           .from_byte = before,
                           .timeout_s = settings_.timeout_s},
                          sink, [&] {
                            now_.done = done + static_cast<int64_t>(part.size_bytes());
                            tick();
                          });
      if (head.status == 416) part.clear();
      if (head.status != 200 && head.status != 206) why = "the hub answers " + std::to_string(head.status);
      if (head.status >= 400 && head.status != 416 && !is_temporary(head.status))
        refuse(head, printable(file.name), commit);
    } catch (const HttpBroken& broken) {
      why = broken.what();
      connected = broken.connected;
    }
    now_.done = done + static_cast<int64_t>(part.size_bytes());
    if (part.size_bytes() >= before + kGoodPieceBytes) patience.reset();
    if (part.size_bytes() < file.size_bytes)
      patience.wait(why + " at " + size_text(part.size_bytes()), head, connected);
  }
  part.close();
}

}  // namespace attar
