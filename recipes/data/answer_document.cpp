#include "recipes/data/answer_document.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace attar {
namespace {

constexpr float kNoProbability = -std::numeric_limits<float>::infinity();
constexpr double kMostMass = 1.0 + 1e-3;  // probabilities come rounded

// The document's text, and where in it stands what of the answer.
struct Placed {
  ModelText text;
  size_t begin = 0, end = 0;  // of the answer's words in the text
  size_t stripped = 0;        // bytes of the answer that a template leaves out before them
};

Placed placed_chat(const Document& prompt, const Answer& answer, TextReader& reader) {
  Document chat = prompt;
  chat.messages.push_back({"assistant", answer.text});
  const ModelText asked = reader.prompt(prompt.messages, prompt.tools);
  const size_t said = asked.words.empty() ? 0 : asked.words.back().end;
  Placed out{.text = reader.read(chat).back()};
  std::erase_if(out.text.counted, [&](ByteSpan span) { return span.end <= said; });  // earlier turns
  const auto own = std::find_if(out.text.words.begin(), out.text.words.end(),
                                [&](ByteSpan span) { return span.begin >= said && span.end > span.begin; });
  if (own == out.text.words.end()) return out;
  const size_t at = answer.text.find(std::string_view(out.text.text).substr(own->begin, own->end - own->begin));
  if (at != std::string::npos) out.begin = own->begin, out.end = own->end, out.stripped = at;
  return out;
}

Placed placed_text(const Document& prompt, const Answer& answer, TextReader& reader) {
  Placed out{.text = reader.read({.text = prompt.text + answer.text}).back()};
  out.begin = prompt.text.size(), out.end = out.text.text.size();
  out.text.counted = {{out.begin, out.end}};
  return out;
}

// The entries of one token; none where the probabilities cannot be.
std::vector<std::pair<int32_t, float>> entries_of(const AnswerToken& token, int32_t id, const TokensByText& tokens,
                                                  size_t most) {
  std::vector<std::pair<int32_t, float>> entries;
  double mass = 0.0;
  const auto add = [&](int32_t one, double log_prob) {
    const auto is_same = [&](const auto& entry) { return entry.first == one; };
    if (one < 0 || entries.size() == most || std::any_of(entries.begin(), entries.end(), is_same)) return;
    entries.emplace_back(one, static_cast<float>(std::min(log_prob, 0.0)));
    mass += std::exp(log_prob);
  };
  add(id, token.said.log_prob);
  for (const TokenChance& other : token.likeliest) add(tokens.find(other.bytes), other.log_prob);
  if (!(mass <= kMostMass)) entries.clear();
  return entries;
}

void add_signal(const Placed& placed, const Answer& answer, const EncodedText& encoded, const TokensByText& tokens,
                int64_t signal_k, TokenDocument& document) {
  const auto k = static_cast<size_t>(signal_k);
  document.signal_ids.assign(document.tokens.size() * k, -1);
  document.signal_log_probs.assign(document.tokens.size() * k, kNoProbability);
  if (placed.end == placed.begin) return;
  // What the endpoint's tokens spell: the answer, and behind it how the template ends a turn.
  const std::string spelled = answer.text.substr(0, placed.stripped) + placed.text.text.substr(placed.begin);
  size_t at = 0;
  for (const AnswerToken& token : answer.tokens) {
    const size_t end = at + token.said.bytes.size();
    if (spelled.compare(at, token.said.bytes.size(), token.said.bytes) != 0) return;  // nobody knows where the rest is
    const bool is_shown = at >= placed.stripped;
    const size_t from = placed.begin + at - placed.stripped, to = placed.begin + end - placed.stripped;
    at = end;
    if (!is_shown) continue;
    const auto found = std::lower_bound(encoded.ends.begin(), encoded.ends.end(), to);
    const auto t = static_cast<size_t>(found - encoded.ends.begin());
    if (found == encoded.ends.end() || *found != to || t == 0 || encoded.ends[t - 1] != from) continue;
    if (t >= document.tokens.size() || document.in_loss[t] == 0 ||
        tokens.text_of(document.tokens[t]) != token.said.bytes)
      continue;
    size_t entry = t * k;
    for (const auto& [id, log_prob] : entries_of(token, document.tokens[t], tokens, k))
      document.signal_ids[entry] = id, document.signal_log_probs[entry] = log_prob, ++entry;
  }
}

}  // namespace

TokensByText::TokensByText(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {
  const std::vector<Token>& all = tokenizer.data().tokens;
  const auto add = [&](auto&& wanted, bool weak) {
    for (size_t id = 0; id < all.size(); ++id) {
      if (!wanted(all[id].kind)) continue;
      const auto [at, is_new] = ids_.emplace(text_of(static_cast<int32_t>(id)), static_cast<int32_t>(id));
      if (!is_new && !weak) at->second = -1;
    }
  };
  add([](TokenKind kind) { return kind == TokenKind::Normal || kind == TokenKind::UserDefined; }, false);
  add([](TokenKind kind) { return kind == TokenKind::Byte || kind == TokenKind::Control; }, true);
}

int32_t TokensByText::find(const std::string& text) const {
  const auto found = ids_.find(text);
  return text.empty() || found == ids_.end() ? -1 : found->second;
}

std::string_view TokensByText::text_of(int32_t id) const {
  return tokenizer_.is_control(id) ? tokenizer_.data().tokens[static_cast<size_t>(id)].text
                                   : tokenizer_.token_bytes(id);
}

TokenDocument answer_document(const Document& prompt, const Answer& answer, const Tokenizer& tokenizer,
                              TextReader& reader, const TokensByText& tokens, int64_t signal_k) {
  const Placed placed = prompt.is_chat() ? placed_chat(prompt, answer, reader) : placed_text(prompt, answer, reader);
  EncodedText encoded = encode(tokenizer, placed.text);
  TokenDocument document{encoded.ids, counted_tokens(encoded, placed.text), {}, {}};
  if (!answer.ended && placed.end > placed.begin) {
    const auto kept = std::upper_bound(encoded.ends.begin(), encoded.ends.end(), placed.end) - encoded.ends.begin();
    document.tokens.resize(static_cast<size_t>(kept)), document.in_loss.resize(static_cast<size_t>(kept));
  }
  if (signal_k > 0) add_signal(placed, answer, encoded, tokens, signal_k, document);
  if (answer.ended && !prompt.is_chat() && tokenizer.data().eos >= 0) {
    document.tokens.push_back(tokenizer.data().eos);
    document.in_loss.push_back(1);
    document.signal_ids.resize(document.tokens.size() * static_cast<size_t>(signal_k), -1);
    document.signal_log_probs.resize(document.tokens.size() * static_cast<size_t>(signal_k), kNoProbability);
  }
  return document;
}

int64_t signalled_tokens(const TokenDocument& document, int64_t signal_k) {
  int64_t count = 0;
  for (size_t at = 0; at < document.signal_ids.size(); at += static_cast<size_t>(signal_k))
    count += document.signal_ids[at] >= 0 ? 1 : 0;
  return count;
}

}  // namespace attar
