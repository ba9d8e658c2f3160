#include "runtime/formats/model_text.h"

#include <algorithm>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/formats/jinja/known_templates.h"

namespace attar {
namespace {

constexpr const char* kFixedDay = "01 Jan 2025";

std::string text_of(const TokenizerData& data, int32_t id) {
  return id < 0 ? std::string() : data.tokens[static_cast<size_t>(id)].text;
}

// How far two texts are the same, in whole characters.
size_t common_prefix(const std::string& a, const std::string& b) {
  size_t n = static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  while (n > 0 && n < b.size() && (static_cast<unsigned char>(b[n]) & 0xC0) == 0x80) --n;
  return n;
}

// visit(token, the counted span that it lies in) for each token behind the first
template <class Visit>
void for_each_counted(const EncodedText& encoded, const ModelText& text, Visit&& visit) {
  size_t span = 0;
  for (size_t t = 1; t < encoded.ids.size(); ++t) {
    const size_t begin = encoded.ends[t - 1], end = std::max(encoded.ends[t], begin + 1);
    while (span < text.counted.size() && text.counted[span].end <= begin) ++span;
    if (span < text.counted.size() && text.counted[span].begin < end) visit(t, span);
  }
}

// With a weight for each counted span, of which those of weight 0 are left out. Empty: 1 each.
ModelText weighed(ModelText text, const std::vector<float>& weights) {
  const std::vector<ByteSpan> all = std::exchange(text.counted, {});
  for (size_t i = 0; i < all.size(); ++i) {
    if (!weights.empty() && weights[i] == 0.0f) continue;
    text.counted.push_back(all[i]);
    if (!weights.empty()) text.weights.push_back(weights[i]);
  }
  return text;
}

// Of what the assistant says in a chat; empty: 1 each. Messages that were added to it have none.
std::vector<float> weights_of_answers(const Document& document) {
  std::vector<float> weights;
  for (size_t i = 0; !document.weights.empty() && i < document.messages.size(); ++i)
    if (document.messages[i].role == "assistant")
      weights.push_back(i < document.weights.size() ? document.weights[i] : 1.0f);
  return weights;
}

}  // namespace

EncodedText encode(const Tokenizer& tokenizer, const ModelText& text) {
  EncodedText out = tokenizer.encode_with_ends(
      text.text, {.add_special = text.frame == Frame::Special, .parse_special = true, .words = text.words});
  if (text.frame == Frame::Start) {
    const std::span<const int32_t> start = tokenizer.start();
    out.ids.insert(out.ids.begin(), start.begin(), start.end());
    out.ends.insert(out.ends.begin(), start.size(), 0);
  }
  return out;
}

std::vector<uint8_t> counted_tokens(const EncodedText& encoded, const ModelText& text) {
  std::vector<uint8_t> counted(encoded.ids.size(), 0);
  for_each_counted(encoded, text, [&](size_t t, size_t) { counted[t] = 1; });
  return counted;
}

std::vector<float> token_weights(const EncodedText& encoded, const ModelText& text) {
  if (text.weights.empty()) return {};
  std::vector<float> weights(encoded.ids.size(), 0.0f);
  for_each_counted(encoded, text, [&](size_t t, size_t span) { weights[t] = text.weights[span]; });
  return weights;
}

std::vector<TokenRange> windows_of(size_t n_tokens, size_t most, size_t n_start) {
  std::vector<TokenRange> windows;
  for (size_t begin = 0; begin < n_tokens; begin = windows.back().end)
    windows.push_back({begin, std::min(n_tokens, begin + most - (begin > 0 ? n_start : 0))});
  return windows;
}

// What a template makes of a chat's first turns, and where in it the last of them is the assistant's own.
struct TextReader::Turn {
  RenderedChat chat;
  ByteSpan answer;
};

TextReader::TextReader(const Tokenizer& tokenizer, TextReaderOptions options)
    : tokenizer_(tokenizer), options_(std::move(options)) {
  if (!options_.chat_template.empty()) require_template();
}
TextReader::~TextReader() = default;
TextReader::TextReader(TextReader&&) noexcept = default;

const std::string& TextReader::chat_template() const {
  return source_;
}
std::vector<std::string> TextReader::notes() const {
  return note_.empty() ? std::vector<std::string>() : std::vector{note_};
}

void TextReader::require_template() {
  if (template_ != nullptr) return;
  const TokenizerData& data = tokenizer_.data();
  const KnownTemplate* known = nullptr;
  if (!options_.chat_template.empty()) {
    known = find_known_template(options_.chat_template);
    if (known == nullptr) source_ = read_text_file(options_.chat_template);
  } else if (!data.chat_template.empty()) {
    source_ = data.chat_template;
  } else if (known = fitting_template(data); known == nullptr) {
    throw input_error("the model", "has no chat template, and its vocabulary the control tokens of none", "", "",
                      "give --chat-template FILE, or a NAME: " + known_template_names());
  } else {
    note_ = "the model has no chat template; " + std::string(known->name) +
            " is used, for which its vocabulary has the control tokens (--chat-template takes another)";
  }
  if (known != nullptr) {
    if (const std::string missing = missing_tokens(*known, data); !missing.empty())
      throw usage_error("--chat-template " + options_.chat_template, "needs control tokens that the vocabulary lacks",
                        printable(missing), "", "take another of " + known_template_names() + ", or a file");
    source_ = known->source;
    writes_bos_ = !tokenizer_.start().empty();
  }
  template_ = std::make_unique<const ChatTemplate>(source_);
}

// A model may have one for chats with tools, which its own does not show: transformers and llama.cpp take that too.
const ChatTemplate& TextReader::template_for(const std::string& tools) {
  require_template();
  if (tools.empty() || !options_.chat_template.empty()) return *template_;
  for (const NamedTemplate& named : tokenizer_.data().named_templates) {
    if (named.name != "tool_use") continue;
    if (with_tools_ == nullptr) with_tools_ = std::make_unique<const ChatTemplate>(named.source);
    return *with_tools_;
  }
  return *template_;
}

// Roles are the template's matter, not words: one that spells a control token could end its turn.
void TextReader::check_names(const std::vector<ChatMessage>& messages, const std::string& where) const {
  if (options_.special) return;
  for (const ChatMessage& message : messages)
    for (const int32_t id : tokenizer_.encode(message.role, {.add_special = false, .parse_special = true}))
      if (tokenizer_.data().tokens[static_cast<size_t>(id)].kind == TokenKind::Control ||
          tokenizer_.ends_generation(id))
        throw input_error(where, "a role spells a control token", "system, user, assistant or tool",
                          printable(message.role));
}

RenderedChat TextReader::rendered(const std::vector<ChatMessage>& messages, const std::string& tools,
                                  bool generation_prompt) {
  const ChatTemplate& shows = template_for(tools);
  const TokenizerData& data = tokenizer_.data();
  ChatContext context{.messages = messages,
                      .add_generation_prompt = generation_prompt,
                      .bos_token = writes_bos_ ? text_of(data, data.bos) : "",
                      .eos_token = text_of(data, data.eos),
                      .tools = tools};
  if (options_.day == Day::Fixed) context.date_string = kFixedDay;
  return shows.render(context);
}

ModelText TextReader::chat_text(RenderedChat chat, std::vector<ByteSpan> counted) const {
  return {.text = std::move(chat.text),
          .frame = Frame::None,
          .words = options_.special ? std::vector<ByteSpan>() : std::move(chat.input),
          .counted = std::move(counted)};
}

TextReader::Turn TextReader::turn_of(const Document& document, size_t message) {
  const auto until = [&](size_t count) {
    return std::vector<ChatMessage>(document.messages.begin(),
                                    document.messages.begin() + static_cast<std::ptrdiff_t>(count));
  };
  RenderedChat chat = rendered(until(message + 1), document.tools, false);
  ByteSpan answer{0, chat.text.size()};
  if (message == 0) {  // nobody asked
    answer.begin = chat.input.empty() ? chat.text.size() : chat.input.front().begin;
  } else {
    const RenderedChat asked = rendered(until(message), document.tools, true);
    answer.begin = common_prefix(asked.text, chat.text);
    const size_t said = asked.input.empty() ? 0 : asked.input.back().end;
    const auto own = std::find_if(chat.input.begin(), chat.input.end(), [&](ByteSpan s) { return s.begin >= said; });
    if (own != chat.input.end()) answer.begin = std::min(answer.begin, own->begin);
    if (answer.begin < said)
      throw input_error(document.where, "the chat template shows the question otherwise once it is answered",
                        "a template that keeps what stands before the assistant's turn",
                        "message " + std::to_string(message + 1));
  }
  // What comes after the token that ends the turn, often a line break, is never the assistant's to say.
  const EncodedText encoded = encode(tokenizer_, chat_text(chat, {}));
  for (size_t t = 0; t < encoded.ids.size(); ++t)
    if (encoded.ends[t] > answer.begin && tokenizer_.ends_generation(encoded.ids[t])) {
      answer.end = encoded.ends[t];
      break;
    }
  return {std::move(chat), answer};
}

ModelText TextReader::whole(const Document& document) {
  if (document.is_chat()) {
    check_names(document.messages, document.where);
    return chat_text(rendered(document.messages, document.tools, false), {});
  }
  ModelText out{.text = document.text, .frame = Frame::Special};
  if (!options_.special) out.words = {{0, out.text.size()}};
  return out;
}

std::vector<ModelText> TextReader::read(const Document& document) {
  if (document.is_chat()) return read_chat(document);
  ModelText out = whole(document);
  out.frame = Frame::Start;
  out.counted = {{0, out.text.size()}};
  return {weighed(std::move(out), document.weights)};
}

std::vector<ModelText> TextReader::read_chat(const Document& document) {
  check_names(document.messages, document.where);
  RenderedChat chat = rendered(document.messages, document.tools, false);
  const std::vector<float> weights = weights_of_answers(document);
  if (template_for(document.tools).marks_generation()) {  // it says itself what the assistant writes
    std::vector<ByteSpan> generated = std::move(chat.generated);
    if (!weights.empty() && generated.size() != weights.size())
      throw input_error(document.where, "has weights, and its chat template does not mark one answer a message",
                        std::to_string(weights.size()), std::to_string(generated.size()));
    return {weighed(chat_text(std::move(chat), std::move(generated)), weights)};
  }
  std::vector<Turn> turns;
  bool stay = true;  // turns are shown later as they were written
  for (size_t i = 0; i < document.messages.size(); ++i) {
    if (document.messages[i].role != "assistant") continue;
    turns.push_back(turn_of(document, i));
    const size_t end = turns.back().answer.end;
    stay = stay && chat.text.compare(0, end, turns.back().chat.text, 0, end) == 0;
  }
  if (stay) {
    std::vector<ByteSpan> answers;
    for (const Turn& turn : turns) answers.push_back(turn.answer);
    return {weighed(chat_text(std::move(chat), std::move(answers)), weights)};
  }
  std::vector<ModelText> texts;
  for (size_t i = 0; i < turns.size(); ++i)
    texts.push_back(weighed(chat_text(std::move(turns[i].chat), {turns[i].answer}),
                            weights.empty() ? weights : std::vector{weights[i]}));
  return texts;
}

ModelText TextReader::prompt(const std::vector<ChatMessage>& messages, const std::string& tools) {
  check_names(messages, "a message");
  return chat_text(rendered(messages, tools, true), {});
}

std::vector<int32_t> TextReader::prompt_tokens(const Prompt& given) {
  std::vector<ChatMessage> messages;
  if (given.system) messages.push_back({"system", *given.system});
  messages.push_back({"user", given.text});
  const bool chat = given.chat || given.system;
  std::vector<int32_t> tokens = encode(tokenizer_, chat ? prompt(messages) : whole({.text = given.text})).ids;
  if (tokens.empty() && tokenizer_.data().bos >= 0) tokens.push_back(tokenizer_.data().bos);
  return tokens;
}

ModelText TextReader::user_turn_start() {
  RenderedChat chat = rendered({{"user", "words"}}, "", true);
  if (chat.input.empty()) throw input_error("chat template", "does not show the user's words");
  chat.text.resize(chat.input.front().begin);
  chat.input.clear();
  return chat_text(std::move(chat), {});
}

}  // namespace attar
