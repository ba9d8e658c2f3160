// What no tokenizer may be, found before anything is built on it.
#include <algorithm>
#include <string>
#include <string_view>

#include "runtime/base/error.h"
#include "runtime/formats/tokenizer/checked_tokens.h"
#include "runtime/formats/tokenizer/models/spm.h"
#include "runtime/formats/tokenizer/split.h"
#include "runtime/formats/tokenizer/unicode.h"

namespace attar {
namespace {

constexpr size_t kMaxTokens = size_t{1} << 24;

void check_id(const std::string& where, const char* name, int32_t id, size_t n_tokens) {
  if (id >= -1 && id < static_cast<int64_t>(n_tokens)) return;
  throw input_error(where, std::string(name) + " token is outside the vocabulary", "below " + std::to_string(n_tokens),
                    std::to_string(id));
}

void check_token(const std::string& where, const Token& token, TokenizerKind kind, size_t id) {
  const auto fail = [&](const char* what, const char* expected, const std::string& got) {
    throw input_error(where, "token " + std::to_string(id) + " " + what, expected, got);
  };
  if (token.text.empty()) fail("is empty", "", "");
  if (token.text.size() > kMaxTokenBytes) fail("is too long", "at most 65536 bytes", std::to_string(token.text.size()));
  if (valid_utf8_prefix(token.text) != token.text.size()) fail("is not UTF-8", "", printable(token.text));
  if (token.kind < TokenKind::Normal || token.kind > TokenKind::Byte)
    fail("has an unknown type", "1 to 6", std::to_string(static_cast<int>(token.kind)));
  if (token.kind == TokenKind::Byte && (kind == TokenizerKind::Bpe || byte_of_token(token.text) < 0))
    fail("is no byte token", "<0x00> to <0xFF>, in SPM only", printable(token.text));
  if (!(token.score == token.score)) fail("has no score", "a number", "nan");
}

}  // namespace

void check_merges(const TokenizerData& data, size_t first, const TextIndex& texts, const std::string& where,
                  std::span<MergeTokens> out) {
  struct Wanted {
    std::string_view text;
    uint64_t hash = 0;
  } wanted[3 * kMergesAtOnce];  // left, right and both of each merge
  const size_t n_wanted = 3 * out.size();
  std::string joined;  // of all merges
  for (size_t i = 0; i < out.size(); ++i)
    joined.append(data.merges[first + i].first).append(data.merges[first + i].second);
  for (size_t i = 0, at = 0; i < out.size(); ++i) {
    const auto& [left, right] = data.merges[first + i];
    const size_t length = left.size() + right.size();
    wanted[3 * i].text = left, wanted[3 * i + 1].text = right;
    wanted[3 * i + 2].text = std::string_view(joined).substr(at, length);
    at += length;
  }
  for (size_t i = 0; i < n_wanted; ++i) texts.fetch_place(wanted[i].hash = hash_bytes(wanted[i].text));
  for (size_t i = 0; i < n_wanted; ++i) texts.fetch_bytes(wanted[i].hash);
  int32_t ids[3 * kMergesAtOnce];
  for (size_t i = 0; i < n_wanted; ++i) {
    ids[i] = texts.find(wanted[i].text, wanted[i].hash);
    if (ids[i] < 0)
      throw input_error(where, "merge " + std::to_string(first + i / 3) + " needs a token that is absent", "",
                        printable(std::string(wanted[i].text)));
  }
  for (size_t i = 0; i < out.size(); ++i) out[i] = {ids[3 * i], ids[3 * i + 1], ids[3 * i + 2]};
}

TextIndex check_tokens(const TokenizerData& data, const std::string& where) {
  const size_t n_tokens = data.tokens.size();
  if (n_tokens == 0) throw input_error(where, "the tokenizer has no tokens");
  if (n_tokens > kMaxTokens)
    throw input_error(where, "the tokenizer has too many tokens", "at most 2^24", std::to_string(n_tokens));
  check_id(where, "the BOS", data.bos, n_tokens);
  check_id(where, "the EOS", data.eos, n_tokens);
  check_id(where, "the EOT", data.eot, n_tokens);
  check_id(where, "the unknown", data.unknown, n_tokens);
  check_id(where, "the padding", data.padding, n_tokens);
  for (const int32_t id : data.end_of_generation) check_id(where, "an end-of-generation", id, n_tokens);
  for (const TokenRole& role : data.roles) check_id(where, ("the " + role.name).c_str(), role.id, n_tokens);
  TextIndex texts(n_tokens);
  for (size_t id = 0; id < n_tokens; ++id) {
    const Token& token = data.tokens[id];
    check_token(where, token, data.kind, id);
    if (const int32_t twin = texts.insert(token.text, static_cast<int32_t>(id)); twin >= 0)
      throw input_error(where, "token " + std::to_string(id) + " repeats the text of token " + std::to_string(twin),
                        "unique token texts", printable(token.text));
  }
  if (data.kind == TokenizerKind::Bpe && find_split(data.pre) == nullptr)
    throw input_error(where, "the pre-tokenizer `" + printable(data.pre) + "` is not supported",
                      known_pre_tokenizers());
  return texts;
}

void check_tokenizer(const TokenizerData& data, const std::string& where) {
  const TextIndex texts = check_tokens(data, where);
  if (data.kind != TokenizerKind::Bpe) return;
  MergeTokens tokens[kMergesAtOnce];
  for (size_t first = 0; first < data.merges.size(); first += kMergesAtOnce)
    check_merges(data, first, texts, where,
                 std::span(tokens).first(std::min(kMergesAtOnce, data.merges.size() - first)));
}

}  // namespace attar
