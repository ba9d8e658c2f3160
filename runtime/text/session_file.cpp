#include "runtime/text/session_file.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>
#include <vector>

#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/base/sha256.h"
#include "runtime/model/identity.h"
#include "runtime/model/kv_bytes.h"

namespace attar::runtime {
namespace {

constexpr std::string_view kMagic = "attar session 1\n";
constexpr size_t kDigest = 64;
constexpr uint64_t kHeaderBytes = kMagic.size() + kDigest + 16;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span<const char>(text));
}

// The file but for its checksum at the end, which holds the rest to it.
class Checked {
 public:
  explicit Checked(const std::string& path)
      : file_(path), end_(file_.size_bytes() - std::min<uint64_t>(kDigest, file_.size_bytes())) {
    if (end_ < kHeaderBytes || text(kMagic.size()) != kMagic)
      throw input_error(path, "is no session that this version of Attar wrote", "a file of attar-run chat --session");
    uint64_t hashed = 0;
    Sha256 sum;
    file_.visit([&](std::span<const std::byte> part) {
      const uint64_t n = std::min<uint64_t>(part.size(), end_ - std::min(hashed, end_));
      sum.add(part.first(static_cast<size_t>(n)));
      hashed += part.size();
    });
    std::array<char, kDigest> stored{};
    file_.read(end_, std::as_writable_bytes(std::span(stored)));
    if (sum.hex() != std::string_view(stored.data(), stored.size()))
      throw input_error(path, "the session is damaged: its checksum is of other bytes", "", "",
                        "delete the file to begin anew");
  }

  std::string text(uint64_t n) {
    std::string out(static_cast<size_t>(n), '\0');
    read(std::as_writable_bytes(std::span(out)));
    return out;
  }
  uint64_t number() {
    std::array<unsigned char, 8> bytes{};
    read(std::as_writable_bytes(std::span(bytes)));
    uint64_t value = 0;
    for (size_t i = 0; i < 8; ++i) value |= static_cast<uint64_t>(bytes[i]) << 8 * i;
    return value;
  }
  void read(std::span<std::byte> into) {
    file_.read(at_, into);
    at_ += into.size();
  }
  uint64_t left() const { return end_ - at_; }

 private:
  InputFile file_;
  uint64_t end_, at_ = 0;
};

std::string little_endian(uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(value >> 8 * i & 255);
  return bytes;
}

}  // namespace

static_assert(std::endian::native == std::endian::little);

void save_session(const std::string& path, const Model& model, Conversation& said, std::string_view added,
                  ThreadPool& threads) {
  const std::string& identity = identity_of(model, threads);
  AtomicFile file(path);
  Sha256 sum;
  const auto write = [&](std::span<const std::byte> bytes) {
    file.write(bytes);
    sum.add(bytes);
  };
  write(bytes_of(kMagic));
  write(bytes_of(identity));
  write(bytes_of(little_endian(said.tokens().size())));
  write(bytes_of(little_endian(added.size())));
  write(std::as_bytes(said.tokens()));
  write(bytes_of(added));
  write_kv(model, said.cache(), write);
  file.write(sum.hex());
  file.commit();
}

std::string restore_session(const std::string& path, const Model& model, Conversation& said, ThreadPool& threads) {
  Checked file(path);
  if (file.text(kDigest) != identity_of(model, threads))
    throw input_error(path, "the session is of another model, or of other numerics or keys and values (--kv)", "", "",
                      "go on with what wrote it, or delete the file to begin anew");
  const uint64_t n_tokens = file.number(), n_added = file.number();
  const auto context = static_cast<uint64_t>(model.config().context_length);
  const bool fits = n_tokens <= context && n_added <= file.left() &&
                    file.left() - n_added == 4 * n_tokens + kv_file_bytes(model, static_cast<int64_t>(n_tokens));
  if (!fits) throw input_error(path, "the session's sizes do not fit together");
  std::vector<int32_t> tokens(static_cast<size_t>(n_tokens));
  file.read(std::as_writable_bytes(std::span(tokens)));
  check_tokens(model, tokens);
  std::string added = file.text(n_added);
  KvCache cache = read_kv(model, static_cast<int64_t>(n_tokens), [&](std::span<std::byte> into) { file.read(into); });
  said.replace(std::move(tokens), std::move(cache));
  return added;
}

}  // namespace attar::runtime
