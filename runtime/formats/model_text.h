// Documents as a model reads them: plain text behind BOS, chats through the model's template, rendered and encoded
// whole. Training, calibration, evaluation and generation all come through here, so all of them see the same tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/formats/jinja/chat_template.h"
#include "runtime/formats/text_file.h"
#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar {

// What stands around a text's own tokens: nothing, for a template has written it; what every text begins with
// (Tokenizer::start()); or BOS and EOS, each where the tokenizer adds it.
enum class Frame { None, Start, Special };

// A text, and what in it is whose.
struct ModelText {
  std::string text{};
  Frame frame = Frame::Start;
  std::vector<ByteSpan> words{};  // no control token is meant in these: what a template did not write itself
  // What is learned and judged: all of a plain text; of a chat what the assistant says and the token that ends its
  // turn.
  std::vector<ByteSpan> counted{};
  std::vector<float> weights{};  // how much each span of `counted` counts; empty: 1 each
};

EncodedText encode(const Tokenizer& tokenizer, const ModelText& text);
// (T) 1: the token lies in `counted`, at least in part, and another one stands before it to predict it from.
std::vector<uint8_t> counted_tokens(const EncodedText& encoded, const ModelText& text);
// (T) how much each of those counts, 0 for the others; empty where the text has no weights.
std::vector<float> token_weights(const EncodedText& encoded, const ModelText& text);

// Where a text of `n_tokens` is cut into windows of at most `most` tokens. All but the first are to begin with
// Tokenizer::start(), of `n_start` tokens, which count among the `most`: tokens [begin, end) of each. `most` >
// `n_start`.
struct TokenRange {
  size_t begin = 0, end = 0;
};
std::vector<TokenRange> windows_of(size_t n_tokens, size_t most, size_t n_start);

// The day that templates may write: of texts in files always the same one, so that they read the same tomorrow.
enum class Day { Fixed, Today };

struct TextReaderOptions {
  std::string chat_template{};  // a file, or a name of known_templates(); empty: the tokenizer's own
  bool special = false;         // control tokens that texts and messages spell are meant
  Day day = Day::Fixed;
};

// What a model is to go on from: a text, or what a user says in a chat, up to where the answer begins.
struct Prompt {
  std::string text;
  bool chat = false;                    // with a system message it is one anyway
  std::optional<std::string> system{};  // message of a chat
};

class TextReader {
 public:
  // Error{Usage}: a template that is not there, or whose control tokens the vocabulary lacks.
  explicit TextReader(const Tokenizer& tokenizer, TextReaderOptions options = {});  // the tokenizer must outlive it
  ~TextReader();
  TextReader(TextReader&&) noexcept;

  // The document as it stands, a chat with all its turns. A chat where there is no template takes one that the
  // vocabulary has the control tokens of, with a note, or is an Error{Input}; so it is with all that follow.
  ModelText whole(const Document& document);
  // What is learned from it and judged on it: one text, or one for each of the assistant's turns where the template
  // shows earlier turns otherwise than when they were written (Qwen3 leaves out what they thought).
  std::vector<ModelText> read(const Document& document);
  // A chat up to where the assistant's words begin; `tools` as JSON.
  ModelText prompt(const std::vector<ChatMessage>& messages, const std::string& tools = "");
  // Where there is no text: BOS, or nothing where the vocabulary has none.
  std::vector<int32_t> prompt_tokens(const Prompt& prompt);
  // Up to where the user's words begin.
  ModelText user_turn_start();

  // As if a chat had come.
  void require_template();
  // The template's source once it was needed; of the tokenizer's own too. Empty: no chat has come yet.
  const std::string& chat_template() const;
  std::vector<std::string> notes() const;

 private:
  struct Turn;
  const ChatTemplate& template_for(const std::string& tools);
  RenderedChat rendered(const std::vector<ChatMessage>& messages, const std::string& tools, bool generation_prompt);
  std::vector<ModelText> read_chat(const Document& document);
  Turn turn_of(const Document& document, size_t message);
  void check_names(const std::vector<ChatMessage>& messages, const std::string& where) const;
  ModelText chat_text(RenderedChat chat, std::vector<ByteSpan> counted) const;

  const Tokenizer& tokenizer_;
  TextReaderOptions options_;
  std::string source_;
  std::string note_;
  bool writes_bos_ = true;  // where the tokenizer adds none, a model's own template may still write it
  std::unique_ptr<const ChatTemplate> template_, with_tools_;
};

}  // namespace attar
