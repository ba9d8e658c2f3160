#include "runtime/formats/tokenizer/tokenizer.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/sha256.h"
#include "runtime/formats/tokenizer/added_tokens.h"
#include "runtime/formats/tokenizer/checked_tokens.h"
#include "runtime/formats/tokenizer/end_tokens.h"
#include "runtime/formats/tokenizer/models/bpe.h"
#include "runtime/formats/tokenizer/models/spm.h"
#include "runtime/formats/tokenizer/split.h"
#include "runtime/formats/tokenizer/token_ends.h"
#include "runtime/formats/tokenizer/unicode.h"

namespace attar {
namespace {

// Never text: control tokens, and the unknown token, which is one in all but name.
bool is_control_kind(TokenKind kind) {
  return kind == TokenKind::Control || kind == TokenKind::Unknown;
}
bool shows_text(TokenKind kind) {
  return !is_control_kind(kind) && kind != TokenKind::Unused;
}

// The text a token stands for in the middle of a document.
std::string bytes_of(const TokenizerData& data, const Token& token) {
  if (!shows_text(token.kind)) return token.text;
  if (token.kind == TokenKind::Byte) return std::string(1, static_cast<char>(byte_of_token(token.text)));
  if (data.kind == TokenizerKind::Spm) return spm_unescaped(token.text);
  return token.kind == TokenKind::UserDefined ? token.text : byte_unmapped(token.text);
}

std::string hash_of(const TokenizerData& data) {
  Sha256 hash;
  const auto number = [&](int64_t n) { hash.add(std::to_string(n) + ";"); };
  hash.add(data.kind == TokenizerKind::Bpe ? "bpe;" : "spm;").add(canonical_pre(data.pre)).add(";");
  for (const bool flag : {data.add_bos, data.add_eos, data.add_space_prefix, data.ignore_merges, data.normalize_nfc})
    number(flag);
  if (data.space_prefix != SpacePrefix::Always) number(static_cast<int64_t>(data.space_prefix));
  if (!data.fuse_unknown) hash.add("apart;");
  if (data.merge_ties != MergeTies::LongestLeft) hash.add("ids;");
  for (const int32_t id : {data.bos, data.eos, data.unknown, data.padding}) number(id);
  number(static_cast<int64_t>(data.tokens.size()));
  for (const Token& token : data.tokens) {
    number(static_cast<int64_t>(token.text.size()));
    hash.add(token.text);
    number(static_cast<int64_t>(token.kind));
    if (data.kind == TokenizerKind::Spm) hash.add(std::as_bytes(std::span(&token.score, 1)));
    if (token.rule != AddedRule{}) number(bits_of(token.rule));
  }
  for (const auto& [left, right] : data.merges) hash.add(left).add(" ").add(right).add("\n");
  return hash.hex();
}

template <class Data, class Visit>
void visit_special_ids(Data& data, Visit&& visit) {
  for (auto* id : {&data.bos, &data.eos, &data.eot, &data.unknown, &data.padding}) visit(*id);
  for (auto& id : data.end_of_generation) visit(id);
  for (auto& role : data.roles) visit(role.id);
}

}  // namespace

std::vector<int32_t*> special_ids(TokenizerData& data) {
  std::vector<int32_t*> ids;
  visit_special_ids(data, [&](int32_t& id) { ids.push_back(&id); });
  return ids;
}

std::vector<int32_t> special_ids(const TokenizerData& data) {
  std::vector<int32_t> ids;
  visit_special_ids(data, [&](int32_t id) { ids.push_back(id); });
  return ids;
}

int32_t token_of(const TokenizerData& data, std::string_view role) {
  for (const TokenRole& entry : data.roles)
    if (entry.name == role) return entry.id;
  return -1;
}

struct Tokenizer::Tables {
  explicit Tables(std::shared_ptr<const TokenizerData> shared) : owned(std::move(shared)), data(*owned) {}

  const std::shared_ptr<const TokenizerData> owned;
  const TokenizerData& data;
  SplitFunction split = nullptr;
  std::optional<BpeEncoder> bpe;
  std::optional<SpmEncoder> spm;
  AddedTokens written_out;         // control and user-defined tokens, by their text
  AddedTokens written_normalized;  // those that are looked for in normalized text
  TextList bytes;                  // (V)
  std::vector<uint8_t> is_end;     // (V)
  mutable std::once_flag hashed;
  mutable std::string hash;

  // A Prepend normalizer in front of a stretch of text, as llama.cpp; Metaspace does it after normalized tokens.
  bool normalizes_spaces() const { return spm && data.space_prefix == SpacePrefix::Always; }
  bool gets_space_prefix(std::string_view text, size_t begin) const;
  void add_written(int32_t id);
  std::string normalized(std::string_view text) const;
  void encode(std::string_view text, const EncodeOptions& options, std::vector<int32_t>& ids,
              std::vector<size_t>* ends) const;
  void encode_plain(std::string_view text, size_t begin, std::vector<int32_t>& out) const;
  void encode_stretch(std::string_view text, const ControlTokens& control, std::vector<int32_t>& out) const;
  void append_ends(std::string_view text, size_t begin, std::span<const int32_t> ids, std::vector<size_t>& ends) const;
};

void Tokenizer::Tables::add_written(int32_t id) {
  const Token& token = data.tokens[static_cast<size_t>(id)];
  if (!is_control_kind(token.kind) && token.kind != TokenKind::UserDefined) return;
  // What ends a text is a control token, however it is marked.
  const bool is_control = token.kind != TokenKind::UserDefined || is_end[static_cast<size_t>(id)] != 0;
  if (token.rule.normalized)
    written_normalized.add(normalized(token.text), id, token, is_control);
  else
    written_out.add(token.text, id, token, is_control);
}

Tokenizer::Tokenizer(TokenizerData data, const std::string& where)
    : Tokenizer(std::make_shared<const TokenizerData>(std::move(data)), where) {}

Tokenizer::Tokenizer(std::shared_ptr<const TokenizerData> data, const std::string& where) {
  const TextIndex texts = check_tokens(*data, where);
  auto tables = std::make_unique<Tables>(std::move(data));
  const TokenizerData& d = tables->data;
  size_t n_bytes = 0;
  for (const Token& token : d.tokens) n_bytes += token.text.size();
  tables->bytes.reserve(d.tokens.size(), n_bytes);
  for (const Token& token : d.tokens) tables->bytes.push_back(bytes_of(d, token));
  tables->is_end = end_flags(d);
  if (d.kind == TokenizerKind::Spm) {
    tables->spm.emplace(d);
  } else {
    tables->split = find_split(d.pre);
    tables->bpe.emplace(d, where, texts, tables->bytes);
  }
  for (size_t id = 0; id < d.tokens.size(); ++id) tables->add_written(static_cast<int32_t>(id));
  tables_ = std::move(tables);
}

Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

// Whether SPM puts a space in front of a stretch of text that begins at `begin` of the whole.
bool Tokenizer::Tables::gets_space_prefix(std::string_view text, size_t begin) const {
  if (!spm || !data.add_space_prefix) return false;
  const bool has_one = text[0] == ' ' || text.starts_with(kSpmSpace);
  return data.space_prefix == SpacePrefix::Always ||
         (!has_one && (begin == 0 || data.space_prefix != SpacePrefix::FirstUnlessSpace));
}

std::string Tokenizer::Tables::normalized(std::string_view text) const {
  if (!spm) return data.normalize_nfc ? to_nfc(text) : std::string(text);
  if (!normalizes_spaces() || text.empty()) return std::string(text);
  std::string escaped(data.add_space_prefix ? kSpmSpace : "");
  append_spm_escaped(escaped, text);
  return escaped;
}

// Normalized text without written-out tokens, which begins at `begin` of the whole.
void Tokenizer::Tables::encode_plain(std::string_view text, size_t begin, std::vector<int32_t>& out) const {
  if (text.empty()) return;
  if (!spm) return split(text, [&](std::string_view part) { bpe->encode(part, out); });
  if (normalizes_spaces()) return spm->encode(text, out);
  std::string escaped(gets_space_prefix(text, begin) ? kSpmSpace : "");
  append_spm_escaped(escaped, text);
  spm->encode(escaped, out);
}

// Text between tokens that are written out, which begins at control.begin of the whole.
void Tokenizer::Tables::encode_stretch(std::string_view text, const ControlTokens& control,
                                       std::vector<int32_t>& out) const {
  const bool changes = spm ? normalizes_spaces() : data.normalize_nfc;
  const std::string changed = changes ? normalized(text) : "";
  const std::string_view whole = changes ? changed : text;
  size_t at = 0;
  // Somebody's words are not where they were when normalizing has moved them: then no control token is meant.
  const ControlTokens here =
      whole == text || !control.touches({control.begin, control.begin + text.size()}) ? control : ControlTokens{};
  for (const AddedMatch& match : written_normalized.find_all(whole, here)) {
    encode_plain(whole.substr(at, match.begin - at), control.begin + at, out);
    out.push_back(match.id);
    at = match.end;
  }
  encode_plain(whole.substr(at), control.begin + at, out);
}

void Tokenizer::Tables::append_ends(std::string_view text, size_t begin, std::span<const int32_t> ids,
                                    std::vector<size_t>& ends) const {
  if (text.empty()) return;
  std::vector<TokenBytes> tokens;
  tokens.reserve(ids.size());
  for (const int32_t id : ids) {
    const bool is_known = !is_control_kind(data.tokens[static_cast<size_t>(id)].kind);
    tokens.push_back(is_known ? TokenBytes(bytes[static_cast<size_t>(id)]) : std::nullopt);
  }
  if (gets_space_prefix(text, begin) && !tokens.empty() && tokens[0]) tokens[0]->remove_prefix(1);
  const std::string composed = data.normalize_nfc ? to_nfc(text) : std::string(text);
  std::vector<size_t> own = token_ends(composed, tokens);
  if (composed != text) own = ends_before_nfc(text, composed, own);
  for (const size_t end : own) ends.push_back(begin + end);
}

void Tokenizer::Tables::encode(std::string_view text, const EncodeOptions& options, std::vector<int32_t>& ids,
                               std::vector<size_t>* ends) const {
  if (const size_t valid = valid_utf8_prefix(text); valid != text.size())
    throw input_error("text", "is not UTF-8", "", "an invalid byte at " + std::to_string(valid), "convert it to UTF-8");
  ids.reserve(text.size() / 4 + 2);
  const auto add = [&](int32_t id, size_t end) {
    ids.push_back(id);
    if (ends != nullptr) ends->push_back(end);
  };
  const auto add_stretch = [&](size_t begin, size_t end) {
    const size_t before = ids.size();
    const std::string_view part = text.substr(begin, end - begin);
    encode_stretch(part, {options.parse_special, options.words, begin}, ids);
    if (ends != nullptr) append_ends(part, begin, std::span(ids).subspan(before), *ends);
  };
  if (options.add_special && data.add_bos && data.bos >= 0) add(data.bos, 0);
  size_t begin = 0;
  for (const AddedMatch& match : written_out.find_all(text, {options.parse_special, options.words, 0})) {
    add_stretch(begin, match.begin);
    add(match.id, match.end);
    begin = match.end;
  }
  add_stretch(begin, text.size());
  if (options.add_special && data.add_eos && data.eos >= 0) add(data.eos, text.size());
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  std::vector<int32_t> ids;
  tables_->encode(text, options, ids, nullptr);
  return ids;
}

EncodedText Tokenizer::encode_with_ends(std::string_view text, EncodeOptions options) const {
  EncodedText out;
  tables_->encode(text, options, out.ids, &out.ends);
  return out;
}

std::span<const int32_t> Tokenizer::start() const {
  const TokenizerData& d = tables_->data;
  return {&d.bos, d.add_bos && d.bos >= 0 ? size_t{1} : size_t{0}};
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool with_special) const {
  const Tables& t = *tables_;
  std::string out;
  bool at_start = true;  // of a stretch of plain tokens: an SPM prefix space was not in the text
  for (const int32_t id : ids) {
    const TokenKind kind = t.data.tokens.at(static_cast<size_t>(id)).kind;
    const std::string_view bytes = t.bytes[static_cast<size_t>(id)];
    const bool plain = shows_text(kind) && kind != TokenKind::UserDefined;
    const bool prefixed = plain && at_start && t.data.add_space_prefix && bytes.starts_with(' ');
    if (shows_text(kind) || with_special) out.append(bytes, prefixed ? 1 : 0, std::string::npos);
    at_start = !plain && (at_start || t.data.space_prefix != SpacePrefix::FirstUnlessSpace);
  }
  return out;
}

std::vector<int32_t> Tokenizer::derivation(int32_t id) const {
  const Token& token = tables_->data.tokens.at(static_cast<size_t>(id));
  if (token.kind != TokenKind::Normal) return {};
  return tables_->spm ? tables_->spm->derivation(token.text) : tables_->bpe->derivation(token_bytes(id));
}

std::string_view Tokenizer::token_bytes(int32_t id) const {
  return tables_->bytes.at(static_cast<size_t>(id));
}

bool Tokenizer::is_control(int32_t id) const {
  return !shows_text(tables_->data.tokens.at(static_cast<size_t>(id)).kind);
}

bool Tokenizer::ends_generation(int32_t id) const {
  return tables_->is_end.at(static_cast<size_t>(id)) != 0;
}

int64_t Tokenizer::vocab_size() const {
  return static_cast<int64_t>(tables_->data.tokens.size());
}
const TokenizerData& Tokenizer::data() const {
  return tables_->data;
}

const std::string& Tokenizer::hash() const {
  std::call_once(tables_->hashed, [this] { tables_->hash = hash_of(tables_->data); });
  return tables_->hash;
}

}  // namespace attar
