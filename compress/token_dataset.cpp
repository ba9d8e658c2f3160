#include "compress/token_dataset.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <numeric>

#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "runtime/formats/jinja/chat_template.h"

namespace attar {
namespace {

// Tokens of a chat: the loss counts what the assistant says and the token that ends its turn.
TokenDocument chat_document(const Document& document, const Tokenizer& tokenizer, const ChatTemplate& chat) {
  const TokenizerData& data = tokenizer.data();
  const auto text_of = [&](int32_t id) { return id < 0 ? std::string() : data.tokens[static_cast<size_t>(id)].text; };
  ChatContext context{
      .messages = {}, .add_generation_prompt = false, .bos_token = text_of(data.bos), .eos_token = text_of(data.eos)};
  context.date_string = "01 Jan 2025";
  context.tools = document.tools;
  const auto render = [&](size_t count, bool generation_prompt) {
    context.messages.assign(document.messages.begin(), document.messages.begin() + static_cast<std::ptrdiff_t>(count));
    context.add_generation_prompt = generation_prompt;
    return chat.render(context).text;
  };
  TokenDocument out;
  std::string done;  // text rendered so far; prefixes of a conversation render to prefixes of its text
  const auto append = [&](const std::string& text, bool in_loss) {
    if (text.rfind(done, 0) != 0)
      throw input_error(document.where,
                        "the chat template rewrites earlier turns, so its assistant turns cannot be found");
    const std::vector<int32_t> ids =
        tokenizer.encode(text.substr(done.size()), {.add_special = false, .parse_special = true});
    for (const int32_t id : ids) {
      out.tokens.push_back(id);
      out.in_loss.push_back(in_loss ? 1 : 0);
      if (tokenizer.ends_generation(id)) in_loss = false;  // the rest, often a line break, is the template's
    }
    done = text;
  };
  for (size_t i = 0; i < document.messages.size(); ++i) {
    if (document.messages[i].role != "assistant") continue;
    append(render(i, true), false);
    append(render(i + 1, false), true);
  }
  append(render(document.messages.size(), false), false);
  return out;
}

}  // namespace

int64_t TokenDataset::token_count() const {
  int64_t count = 0;
  for (const TokenDocument& document : documents) count += static_cast<int64_t>(document.tokens.size());
  return count;
}

int64_t TokenDataset::loss_token_count() const {
  int64_t count = 0;
  for (const TokenDocument& document : documents)
    for (size_t i = 1; i < document.in_loss.size(); ++i) count += document.in_loss[i];
  return count;
}

bool TokenDocument::lacks_signal() const {
  return signal_ids.empty() && std::find(in_loss.begin(), in_loss.end(), uint8_t{1}) != in_loss.end();
}

int64_t TokenDataset::documents_without_signal() const {
  return std::count_if(documents.begin(), documents.end(), [](const TokenDocument& d) { return d.lacks_signal(); });
}

TokenDataset tokenize_documents(const std::vector<Document>& documents, const Tokenizer& tokenizer) {
  TokenDataset dataset;
  dataset.tokenizer_hash = tokenizer.hash();
  std::optional<ChatTemplate> chat;
  for (const Document& document : documents) {
    if (document.is_chat()) {
      if (!chat)
        chat.emplace(tokenizer.data().chat_template.empty() ? kChatMlTemplate : tokenizer.data().chat_template);
      dataset.documents.push_back(chat_document(document, tokenizer, *chat));
      continue;
    }
    TokenDocument out;
    out.tokens = tokenizer.encode(document.text);
    out.in_loss.assign(out.tokens.size(), 1);
    if (!out.in_loss.empty()) out.in_loss[0] = 0;  // nothing predicts the first token
    dataset.documents.push_back(std::move(out));
  }
  return dataset;
}

std::vector<std::vector<Piece>> pack(const TokenDataset& dataset, int64_t max_tokens, int64_t batch_tokens,
                                     uint64_t seed, int64_t epoch) {
  std::vector<Piece> pieces;
  for (size_t d = 0; d < dataset.documents.size(); ++d) {
    const auto length = static_cast<int64_t>(dataset.documents[d].tokens.size());
    for (int64_t begin = 0; length - begin >= 2; begin += max_tokens)
      pieces.push_back({static_cast<int64_t>(d), begin, std::min(max_tokens, length - begin)});
  }
  const CounterRandom random(seed, static_cast<uint64_t>(epoch));  // Fisher-Yates with counted draws
  for (size_t i = pieces.size(); i > 1; --i) std::swap(pieces[i - 1], pieces[random.below(i, i)]);
  std::vector<std::vector<Piece>> batches;
  int64_t room = 0;
  for (const Piece& piece : pieces) {
    if (piece.length < 2) continue;
    if (batches.empty() || room < piece.length) {
      batches.emplace_back();
      room = std::max(batch_tokens, piece.length);
    }
    batches.back().push_back(piece);
    room -= piece.length;
  }
  return batches;
}

TokenBatch to_batch(const TokenDataset& dataset, const std::vector<Piece>& pieces) {
  int64_t n = 0;
  for (const Piece& piece : pieces) n += piece.length;
  TokenBatch batch{at::empty({n}, at::kLong), at::empty({n}, at::kLong), {}};
  auto* tokens = batch.tokens.data_ptr<int64_t>();
  auto* positions = batch.positions.data_ptr<int64_t>();
  int64_t at = 0;
  for (const Piece& piece : pieces) {
    const TokenDocument& document = dataset.documents[static_cast<size_t>(piece.document)];
    for (int64_t i = 0; i < piece.length; ++i, ++at) {
      tokens[at] = document.tokens[static_cast<size_t>(piece.begin + i)];
      positions[at] = i;
    }
    batch.lengths.push_back(piece.length);
  }
  return batch;
}

std::vector<TokenBatch> batches_in_order(const TokenDataset& dataset, int64_t max_tokens, int64_t batch_tokens,
                                         int64_t limit_tokens) {
  std::vector<TokenBatch> batches;
  std::vector<Piece> pieces;
  int64_t held = 0, total = 0;
  const auto flush = [&] {
    if (!pieces.empty()) batches.push_back(to_batch(dataset, pieces));
    pieces.clear();
    held = 0;
  };
  for (size_t d = 0; d < dataset.documents.size() && (limit_tokens == 0 || total < limit_tokens); ++d) {
    const auto length = static_cast<int64_t>(dataset.documents[d].tokens.size());
    for (int64_t begin = 0; begin < length && (limit_tokens == 0 || total < limit_tokens); begin += max_tokens) {
      int64_t take = std::min(max_tokens, length - begin);
      if (limit_tokens > 0) take = std::min(take, limit_tokens - total);
      if (held > 0 && held + take > batch_tokens) flush();
      pieces.push_back({static_cast<int64_t>(d), begin, take});
      held += take;
      total += take;
    }
  }
  flush();
  return batches;
}

}  // namespace attar
