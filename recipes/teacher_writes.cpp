#include "recipes/teacher_writes.h"

#include <algorithm>
#include <limits>

#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "runtime/formats/chat_template.h"
#include "runtime/generate.h"

namespace attar {
namespace {

// A start for free text: BOS where the tokenizer wants one, then a random word (LLM-QAT, Liu et al. 2023, section 3.1).
std::vector<int32_t> free_start(const Tokenizer& tokenizer, const CounterRandom& random, uint64_t index) {
  const TokenizerData& data = tokenizer.data();
  std::vector<int32_t> prompt;
  if (data.add_bos && data.bos >= 0) prompt.push_back(data.bos);
  for (uint64_t attempt = 0; attempt < 10000; ++attempt) {
    const auto id = static_cast<int32_t>(random.below(index * 10000 + attempt, data.tokens.size()));
    if (data.tokens[static_cast<size_t>(id)].kind != TokenKind::Normal) continue;
    const std::string& bytes = tokenizer.token_bytes(id);
    const size_t word = !bytes.empty() && bytes[0] == ' ' ? 1 : 0;
    const bool letters =
        bytes.size() > word && std::all_of(bytes.begin() + static_cast<std::ptrdiff_t>(word), bytes.end(),
                                           [](unsigned char c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; });
    if (letters) {
      prompt.push_back(id);
      return prompt;
    }
  }
  if (prompt.empty()) prompt.push_back(static_cast<int32_t>(random.below(index, data.tokens.size())));
  return prompt;
}

// The conversations to answer, as token prompts, one after another without end.
class PromptSource {
 public:
  PromptSource(const runtime::Model& teacher, const std::vector<Document>& prompts, const TeacherWrites& options,
               uint64_t seed, uint64_t split)
      : tokenizer_(teacher.tokenizer()), options_(options), random_(seed, split) {
    if (options.prompt == "none") return;
    const std::string& source = tokenizer_.data().chat_template;
    if (source.empty())
      throw input_error(teacher.file().source(), "the teacher has no chat template", "", "",
                        "use `prompt: none` for teacher_writes");
    const ChatTemplate chat(source);
    ChatContext context;
    context.bos_token = special_text(tokenizer_.data().bos);
    context.eos_token = special_text(tokenizer_.data().eos);
    context.date_string = "01 Jan 2025";  // a fixed day: the same recipe gives the same text
    for (const Document& document : prompts) {
      if (!document.is_chat()) throw input_error(document.where, "is not a chat", "a line with `messages`");
      context.messages = document.messages;
      context.tools = document.tools;
      rendered_.push_back(tokenizer_.encode(chat.render(context), {.add_special = false, .parse_special = true}));
    }
    if (rendered_.empty()) rendered_.push_back(user_turn_start(chat, context));
  }

  std::vector<int32_t> operator()(uint64_t index) const {
    return rendered_.empty() ? free_start(tokenizer_, random_, index) : rendered_[index % rendered_.size()];
  }

 private:
  std::string special_text(int32_t id) const {
    return id < 0 ? "" : tokenizer_.data().tokens[static_cast<size_t>(id)].text;
  }

  // Everything the template writes before the user's words: the teacher then writes the user turn itself.
  std::vector<int32_t> user_turn_start(const ChatTemplate& chat, ChatContext context) const {
    const std::string marker = "\x01user-words\x01";
    context.messages = {{"user", marker}};
    const std::string text = chat.render(context);
    const size_t at = text.find(marker);
    if (at == std::string::npos) throw input_error("chat template", "does not show the user's words");
    return tokenizer_.encode(text.substr(0, at), {.add_special = false, .parse_special = true});
  }

  const Tokenizer& tokenizer_;
  const TeacherWrites& options_;
  CounterRandom random_;
  std::vector<std::vector<int32_t>> rendered_;
};

// Prompt and answer as one document; only what the teacher wrote is in the loss.
TokenDocument to_document(const std::vector<int32_t>& prompt, const runtime::BatchResult& written, int64_t k) {
  TokenDocument document;
  document.tokens = prompt;
  document.tokens.insert(document.tokens.end(), written.tokens.begin(), written.tokens.end());
  document.in_loss.assign(prompt.size(), 0);
  document.in_loss.resize(document.tokens.size(), 1);
  if (k == 0) return document;
  document.signal_ids.assign(document.tokens.size() * static_cast<size_t>(k), -1);
  document.signal_log_probs.assign(document.tokens.size() * static_cast<size_t>(k),
                                   -std::numeric_limits<float>::infinity());
  for (size_t i = 0; i < written.signals.size(); ++i) {
    const runtime::TopK& signal = written.signals[i];
    const size_t at = (prompt.size() + i) * static_cast<size_t>(k);
    std::copy(signal.ids.begin(), signal.ids.end(), document.signal_ids.begin() + static_cast<std::ptrdiff_t>(at));
    std::copy(signal.log_probs.begin(), signal.log_probs.end(),
              document.signal_log_probs.begin() + static_cast<std::ptrdiff_t>(at));
  }
  return document;
}

}  // namespace

TokenDataset write_with_teacher(const runtime::Model& teacher, const std::vector<Document>& prompts,
                                const TeacherWrites& options, uint64_t seed, uint64_t split, runtime::Workspace& work,
                                const Progress& progress) {
  const PromptSource source(teacher, prompts, options, seed, split);
  TokenDataset dataset;
  dataset.tokenizer_hash = teacher.tokenizer().hash();
  dataset.signal_k = std::min(options.signal_top_k, teacher.config().vocab_size);

  runtime::BatchOptions batch;
  batch.max_tokens = options.max_tokens;
  batch.seed = seed;
  batch.top_k_signals = dataset.signal_k;
  batch.sampling = {.temperature = options.temperature, .top_k = 0, .top_p = options.top_p};

  // No more sequences than tokens are ever needed: each writes at least one, or the teacher is of no use.
  std::vector<runtime::BatchSequence> sequences(static_cast<size_t>(options.tokens));
  for (uint64_t i = 0; i < sequences.size(); ++i) sequences[i] = {(split << 32) + i, source(i)};
  int64_t written = 0;
  const auto keep = [&](size_t index, const runtime::BatchResult& result) {
    if (!result.tokens.empty())
      dataset.documents.push_back(to_document(sequences[index].prompt, result, dataset.signal_k));
    written += static_cast<int64_t>(result.tokens.size());
    return written < options.tokens ? Flow::GoOn : Flow::Stop;
  };
  const Progress counted = [&](const Event&) {
    return progress ? progress({.stage = "data",
                                .unit = "tokens",
                                .done = std::min(written, options.tokens),
                                .total = options.tokens})
                    : Flow::GoOn;
  };
  runtime::generate_batch(teacher, sequences, batch, work, keep, counted);
  if (written < options.tokens)
    throw input_error(teacher.file().source(), "the teacher ends most texts at once",
                      std::to_string(options.tokens) + " tokens", std::to_string(written), "try `prompt: none`");
  return dataset;
}

}  // namespace attar
