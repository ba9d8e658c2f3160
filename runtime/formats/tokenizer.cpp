#include "runtime/formats/tokenizer.h"

#include <algorithm>
#include <array>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "runtime/base/error.h"
#include "runtime/base/sha256.h"
#include "runtime/formats/bpe.h"
#include "runtime/formats/split.h"
#include "runtime/formats/spm.h"
#include "runtime/formats/text_file.h"
#include "runtime/formats/unicode.h"

namespace attar {
namespace {

constexpr size_t kMaxTokens = size_t{1} << 24;
constexpr size_t kMaxTokenBytes = size_t{1} << 16;

// Texts that are cut out before anything else, found by their first byte, longest first.
class FixedTexts {
 public:
  void add(const std::string& text, int32_t id) { by_first_byte_[static_cast<unsigned char>(text[0])].push_back({text, id}); }
  void finish() {
    for (auto& bucket : by_first_byte_)
      std::sort(bucket.begin(), bucket.end(), [](const Entry& a, const Entry& b) { return a.text.size() > b.text.size(); });
  }
  // The longest one at `at`: its id, or -1.
  int32_t match(std::string_view text, size_t at, size_t& length) const {
    for (const Entry& entry : by_first_byte_[static_cast<unsigned char>(text[at])])
      if (text.compare(at, entry.text.size(), entry.text) == 0) {
        length = entry.text.size();
        return entry.id;
      }
    return -1;
  }

 private:
  struct Entry {
    std::string text;
    int32_t id;
  };
  std::array<std::vector<Entry>, 256> by_first_byte_;
};

bool is_byte_token(const std::string& text) {
  const auto hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f'); };
  return text.size() == 6 && text.rfind("<0x", 0) == 0 && text[5] == '>' && hex(text[3]) && hex(text[4]);
}

// The text a token stands for in the middle of a document.
std::string bytes_of(const TokenizerData& data, const Token& token) {
  if (token.kind == TokenKind::Control || token.kind == TokenKind::Unused) return token.text;
  if (data.kind == TokenizerKind::Bpe) return token.kind == TokenKind::UserDefined ? token.text : byte_unmapped(token.text);
  if (token.kind == TokenKind::Byte) return std::string(1, static_cast<char>(std::stoi(token.text.substr(3, 2), nullptr, 16)));
  std::string out;
  for (size_t at = 0; at < token.text.size();) {
    const bool space = token.text.compare(at, kSpmSpace.size(), kSpmSpace) == 0;
    out += space ? ' ' : token.text[at];
    at += space ? kSpmSpace.size() : 1;
  }
  return out;
}

std::string hash_of(const TokenizerData& data) {
  Sha256 hash;
  const auto number = [&](int64_t n) { hash.add(std::to_string(n) + ";"); };
  hash.add(data.kind == TokenizerKind::Bpe ? "bpe;" : "spm;").add(canonical_pre(data.pre)).add(";");
  for (const bool flag : {data.add_bos, data.add_eos, data.add_space_prefix, data.ignore_merges, data.normalize_nfc}) number(flag);
  for (const int32_t id : {data.bos, data.eos, data.eot, data.unknown, data.padding}) number(id);
  number(static_cast<int64_t>(data.tokens.size()));
  for (const Token& token : data.tokens) {
    number(static_cast<int64_t>(token.text.size()));
    hash.add(token.text);
    number(static_cast<int64_t>(token.kind));
    if (data.kind == TokenizerKind::Spm) hash.add(std::as_bytes(std::span(&token.score, 1)));
  }
  for (const auto& [left, right] : data.merges) hash.add(left).add(" ").add(right).add("\n");
  return hash.hex();
}

}  // namespace

void check_tokenizer(const TokenizerData& data, const std::string& where) {
  const auto count = static_cast<int32_t>(data.tokens.size());
  if (data.tokens.empty()) throw input_error(where, "the tokenizer has no tokens");
  if (data.tokens.size() > kMaxTokens) throw input_error(where, "the tokenizer has too many tokens", "at most 2^24", std::to_string(data.tokens.size()));
  const auto in_range = [&](const char* name, int32_t id) {
    if (id >= count || id < -1) throw input_error(where, std::string(name) + " token is outside the vocabulary", "below " + std::to_string(count), std::to_string(id));
  };
  in_range("the BOS", data.bos), in_range("the EOS", data.eos), in_range("the EOT", data.eot);
  in_range("the unknown", data.unknown), in_range("the padding", data.padding);
  for (const int32_t id : data.end_of_generation) in_range("an end-of-generation", id);
  std::unordered_set<std::string_view> texts;
  texts.reserve(data.tokens.size());
  for (int32_t id = 0; id < count; ++id) {
    const Token& token = data.tokens[static_cast<size_t>(id)];
    const std::string name = "token " + std::to_string(id);
    if (token.text.empty()) throw input_error(where, name + " is empty");
    if (token.text.size() > kMaxTokenBytes) throw input_error(where, name + " is too long", "at most 65536 bytes", std::to_string(token.text.size()));
    if (valid_utf8_prefix(token.text) != token.text.size()) throw input_error(where, name + " is not UTF-8", "", printable(token.text));
    if (!texts.insert(token.text).second) throw input_error(where, name + " repeats the text of another", "unique token texts", printable(token.text));
    if (token.kind < TokenKind::Normal || token.kind > TokenKind::Byte) throw input_error(where, name + " has an unknown type", "1 to 6", std::to_string(static_cast<int>(token.kind)));
    if (token.kind == TokenKind::Byte && !is_byte_token(token.text)) throw input_error(where, name + " is no byte token", "<0x00> to <0xFF>", printable(token.text));
  }
  if (data.kind != TokenizerKind::Bpe) return;
  if (find_split(data.pre) == nullptr)
    throw input_error(where, "the pre-tokenizer `" + printable(data.pre) + "` is not supported", "gpt-2, smollm, llama-bpe, qwen2 or default");
  for (size_t rank = 0; rank < data.merges.size(); ++rank) {
    const auto& [left, right] = data.merges[rank];
    for (const std::string& part : {left, right, left + right})
      if (!texts.contains(part)) throw input_error(where, "merge " + std::to_string(rank) + " needs a token that is absent", "", printable(part));
  }
}

struct Tokenizer::Tables {
  TokenizerData data;
  SplitFunction split = nullptr;
  std::optional<BpeEncoder> bpe;
  std::optional<SpmEncoder> spm;
  FixedTexts user_defined, with_control;
  std::vector<std::string> bytes;  // (V)
  std::vector<uint8_t> ends;       // (V)
  std::string hash;
};

Tokenizer::Tokenizer(TokenizerData data, const std::string& where) {
  check_tokenizer(data, where);
  auto tables = std::make_unique<Tables>();
  tables->data = std::move(data);
  const TokenizerData& d = tables->data;
  if (d.kind == TokenizerKind::Bpe) {
    tables->split = find_split(d.pre);
    tables->bpe.emplace(d);
  } else {
    tables->spm.emplace(d);
  }
  tables->bytes.reserve(d.tokens.size());
  tables->ends.assign(d.tokens.size(), 0);
  for (size_t id = 0; id < d.tokens.size(); ++id) {
    const Token& token = d.tokens[id];
    tables->bytes.push_back(bytes_of(d, token));
    if (token.kind == TokenKind::UserDefined) tables->user_defined.add(tables->bytes.back(), static_cast<int32_t>(id));
    if (token.kind == TokenKind::UserDefined || token.kind == TokenKind::Control) tables->with_control.add(tables->bytes.back(), static_cast<int32_t>(id));
    static constexpr std::string_view kEnds[] = {"<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|eom_id|>"};
    if (token.kind == TokenKind::Control && std::find(std::begin(kEnds), std::end(kEnds), token.text) != std::end(kEnds)) tables->ends[id] = 1;
  }
  tables->user_defined.finish();
  tables->with_control.finish();
  for (const int32_t id : {d.eos, d.eot})
    if (id >= 0) tables->ends[static_cast<size_t>(id)] = 1;
  for (const int32_t id : d.end_of_generation) tables->ends[static_cast<size_t>(id)] = 1;
  tables->hash = hash_of(d);
  tables_ = std::move(tables);
}

Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

std::vector<int32_t> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  const Tables& t = *tables_;
  if (const size_t valid = valid_utf8_prefix(text); valid != text.size())
    throw input_error("text", "is not UTF-8", "", "an invalid byte at " + std::to_string(valid), "convert it to UTF-8");
  std::vector<int32_t> ids;
  if (options.add_special && t.data.add_bos && t.data.bos >= 0) ids.push_back(t.data.bos);
  const auto plain = [&](std::string_view part) {
    if (part.empty()) return;
    if (t.spm) {
      std::string spaced = t.data.add_space_prefix ? std::string(kSpmSpace) : "";
      for (const char c : part) c == ' ' ? spaced += kSpmSpace : spaced += c;
      t.spm->encode(spaced, ids);
      return;
    }
    const std::string composed = t.data.normalize_nfc ? to_nfc(part) : std::string();
    t.split(t.data.normalize_nfc ? std::string_view(composed) : part, [&](std::string_view piece) { t.bpe->encode(piece, ids); });
  };
  const FixedTexts& fixed = options.parse_special ? t.with_control : t.user_defined;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    size_t length = 0;
    const int32_t id = fixed.match(text, at, length);
    if (id < 0) {
      ++at;
      continue;
    }
    plain(text.substr(begin, at - begin));
    ids.push_back(id);
    begin = at += length;
  }
  plain(text.substr(begin));
  if (options.add_special && t.data.add_eos && t.data.eos >= 0) ids.push_back(t.data.eos);
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool with_special) const {
  const Tables& t = *tables_;
  std::string out;
  bool at_start = true;  // of a stretch of plain tokens: an SPM prefix space was not in the text
  for (const int32_t id : ids) {
    const Token& token = t.data.tokens.at(static_cast<size_t>(id));
    if (token.kind == TokenKind::Control || token.kind == TokenKind::Unused) {
      if (with_special) out += token.text;
      at_start = true;
      continue;
    }
    const std::string& bytes = t.bytes[static_cast<size_t>(id)];
    const bool prefixed = at_start && t.data.add_space_prefix && token.kind != TokenKind::UserDefined && !bytes.empty() && bytes[0] == ' ';
    out.append(bytes, prefixed ? 1 : 0, std::string::npos);
    at_start = token.kind == TokenKind::UserDefined;
  }
  return out;
}

const std::string& Tokenizer::token_bytes(int32_t id) const { return tables_->bytes.at(static_cast<size_t>(id)); }
bool Tokenizer::is_control(int32_t id) const { return tables_->data.tokens.at(static_cast<size_t>(id)).kind == TokenKind::Control; }
bool Tokenizer::ends_generation(int32_t id) const { return tables_->ends.at(static_cast<size_t>(id)) != 0; }
int64_t Tokenizer::vocab_size() const { return static_cast<int64_t>(tables_->data.tokens.size()); }
const TokenizerData& Tokenizer::data() const { return tables_->data; }
const std::string& Tokenizer::hash() const { return tables_->hash; }

}  // namespace attar
