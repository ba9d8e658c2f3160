// Text to token ids and back: byte-level BPE and SPM (score-driven merges with byte fallback).
// Ids are those of Hugging Face `tokenizers` on the same vocabulary. Sources: the GPT-2 byte map; the split expressions
// of llama.cpp's pre-tokenizers; SentencePiece's BPE.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/formats/tokenizer/text_list.h"

namespace attar {

enum class TokenizerKind { Bpe, Spm };  // tokenizer.ggml.model "gpt2", "llama"

enum class TokenKind : int8_t { Normal = 1, Unknown = 2, Control = 3, UserDefined = 4, Unused = 5, Byte = 6 };

// How a token that is cut out of the text (control or user-defined) is found in it: tokenizer.json's flags.
struct AddedRule {
  bool single_word : 1 = false;   // not inside a word
  bool strips_left : 1 = false;   // takes the white space before it
  bool strips_right : 1 = false;  // and after it
  bool normalized : 1 = false;    // looked for, itself normalized, in what the other tokens left, after normalization
  bool unmerged : 1 = false;      // merging never makes it: model.vocab lacks it (SPM; BPE has its merges listed)

  bool operator==(const AddedRule&) const = default;
};

struct Token {
  std::string text;  // as GGUF stores it: byte-mapped for BPE, with U+2581 for space in SPM
  float score = 0.0f;
  TokenKind kind = TokenKind::Normal;
  AddedRule rule = {};
};

// What else a token is for: eom, fim_pre, mask, ... of tokenizer.ggml.<name>_token_id.
struct TokenRole {
  std::string name;
  int32_t id;
};

struct NamedTemplate {
  std::string name;    // "tool_use"
  std::string source;  // Jinja
};

inline constexpr size_t kMaxTokenBytes = size_t{1} << 16;

// Which stretches of text get a space in front, where add_space_prefix says that any do. SentencePiece: all of them.
// Metaspace of the tokenizers library: those that begin with none, or of these only what the text begins with.
enum class SpacePrefix { Always, UnlessSpace, FirstUnlessSpace };

// Of two ways to make the same token, which is merged first (SPM): that whose left part is longer, as SentencePiece's
// converters write merges since 2024; or that whose parts have the lower ids, as those before them did.
enum class MergeTies { LongestLeft, LowestIds };

// Everything a file says about its tokenizer, free of the file's format. GGUF and Hugging Face directories read into it
// and write from it; vocabulary trimming maps one to another.
struct TokenizerData {
  TokenizerKind kind = TokenizerKind::Bpe;
  std::string pre = "gpt-2";  // which split expressions (BPE): a name of split.h
  std::vector<Token> tokens;  // (V)
  MergeList merges;           // by rank (BPE)
  int32_t bos = -1, eos = -1, eot = -1, unknown = -1, padding = -1;
  std::vector<int32_t> end_of_generation;  // beside eos, eot and the roles that end a reply
  std::vector<TokenRole> roles;
  bool add_bos = false;
  bool add_eos = false;
  bool add_space_prefix = false;  // SPM
  SpacePrefix space_prefix = SpacePrefix::Always;
  MergeTies merge_ties = MergeTies::LongestLeft;
  bool ignore_merges = false;  // a piece that is a token is emitted whole (llama-bpe)
  bool normalize_nfc = false;
  bool fuse_unknown = true;   // neighbouring characters that have no token are one unknown token (SPM)
  std::string chat_template;  // Jinja source; empty: none
  std::vector<NamedTemplate> named_templates;
  // What the model's makers advise for drawing replies: general.sampling.<name>, "temp" for temperature. Carried along.
  std::map<std::string, double> sampling;
  std::vector<std::string> notes;  // what the file leaves open, for people
};

// Every id the data holds beside the tokens' own, for renumbering and for checks.
std::vector<int32_t*> special_ids(TokenizerData& data);
std::vector<int32_t> special_ids(const TokenizerData& data);

// The token of a role, or -1.
int32_t token_of(const TokenizerData& data, std::string_view role);

// Throws Error{Input} naming `where` for anything that could not be a tokenizer: no tokens, duplicate or empty texts,
// special ids out of range, merges of absent tokens, bad byte tokens, an unknown `pre`.
void check_tokenizer(const TokenizerData& data, const std::string& where);

// Bytes [begin, end) of a text.
struct ByteSpan {
  size_t begin = 0, end = 0;
};

struct EncodeOptions {
  bool add_special = true;     // BOS and EOS as the data says
  bool parse_special = false;  // control tokens written in the text are recognised
  // But not where one touches these, ascending and apart: what somebody else wrote, such as the words of a chat.
  std::span<const ByteSpan> words = {};
};

// Tokens and where each ends in the text they were encoded from.
struct EncodedText {
  std::vector<int32_t> ids;  // (T)
  std::vector<size_t> ends;  // (T) in bytes, ascending. BOS ends at 0, the last token where the text does
};

class Tokenizer {
 public:
  explicit Tokenizer(TokenizerData data, const std::string& where = "tokenizer");  // checks the data
  explicit Tokenizer(std::shared_ptr<const TokenizerData> data, const std::string& where = "tokenizer");
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  std::vector<int32_t> encode(std::string_view text, EncodeOptions options = {}) const;  // Error{Input}: not UTF-8
  // Within characters that NFC changes, and characters the vocabulary lacks, an end is where those end.
  EncodedText encode_with_ends(std::string_view text, EncodeOptions options = {}) const;
  // What every text begins with, and every part of one that is cut: BOS where the tokenizer adds it, or nothing.
  std::span<const int32_t> start() const;
  // The bytes of the tokens; control tokens give nothing unless `with_special`. Never invalid for valid ids; the bytes
  // may stop inside a UTF-8 sequence.
  std::string decode(std::span<const int32_t> ids, bool with_special = false) const;
  // The bytes of one token in the middle of a text (an SPM prefix space is kept).
  std::string_view token_bytes(int32_t id) const;
  bool is_control(int32_t id) const;  // or another that is never text: unknown, a row beyond the vocabulary
  bool ends_generation(int32_t id) const;
  int64_t vocab_size() const;
  const TokenizerData& data() const;
  // The tokens by which merging arrives at this one, characters or bytes first, itself last (or alone): what a smaller
  // vocabulary must keep to give this token too. Empty when merging never gives it.
  std::vector<int32_t> derivation(int32_t id) const;
  // SHA-256 over everything that decides ids.
  const std::string& hash() const;

 private:
  struct Tables;
  std::unique_ptr<const Tables> tables_;
};

// Reads tokenizer.json, tokenizer_config.json, special_tokens_map.json, generation_config.json and chat_template.jinja
// of a Hugging Face directory; writes them. Error{Input} for a pre-tokenizer or normalizer Attar does not know.
TokenizerData read_hf_tokenizer(const std::string& directory);
void write_hf_tokenizer(const std::string& directory, const TokenizerData& data);

}  // namespace attar
