#include "recipes/data/teacher_writes.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "recipes/data/kept_documents.h"
#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "runtime/formats/model_text.h"
#include "runtime/formats/tokenizer/unicode.h"
#include "runtime/text/generate_batch.h"

namespace attar {
namespace {

using Json = nlohmann::json;

// A start for free text: BOS where the tokenizer wants one, then a random word (LLM-QAT, Liu et al. 2023, section 3.1).
std::vector<int32_t> free_start(const Tokenizer& tokenizer, const CounterRandom& random, uint64_t index) {
  const TokenizerData& data = tokenizer.data();
  std::vector<int32_t> prompt(tokenizer.start().begin(), tokenizer.start().end());
  for (uint64_t attempt = 0; attempt < 10000; ++attempt) {
    const auto id = static_cast<int32_t>(random.below(index * 10000 + attempt, data.tokens.size()));
    if (data.tokens[static_cast<size_t>(id)].kind != TokenKind::Normal) continue;
    const std::string_view bytes = tokenizer.token_bytes(id);
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

// What all draws of one split have in common.
struct Writing {
  const runtime::Model& teacher;
  runtime::BatchOptions batch;
  uint64_t split;
  runtime::Workspace& work;
  const Progress& progress;

  uint64_t id(uint64_t index) const { return (split << 32) + index; }
};

// User turns of the teacher's own making (Magpie, section 2.1): it goes on from where the template puts the user's
// words, and what it ends by itself is a turn. A few are written ahead; which ones come does not depend on how many.
class UserTurns {
 public:
  UserTurns(const Writing& how, std::vector<int32_t> start) : how_(how), start_(std::move(start)) {
    how_.batch.top_k_signals = 0;
  }

  // Where it stands, for a run that goes on from there.
  Json state() const { return {{"begun", begun_}, {"ready", ready_}}; }
  void restore(const Json& state) {
    begun_ = state.at("begun");
    ready_ = state.at("ready").get<std::deque<std::string>>();
  }

  std::string next() {
    if (ready_.empty()) write_ahead();
    std::string turn = std::move(ready_.front());
    ready_.pop_front();
    return turn;
  }

 private:
  static constexpr uint64_t kAhead = 64;
  static constexpr uint64_t kFirstId = uint64_t{1} << 31;  // apart from those of the answers

  void write_ahead() {
    const uint64_t last = begun_ + kAhead;
    const auto source = [&]() -> std::optional<runtime::BatchSequence> {
      if (begun_ == last) return std::nullopt;
      return runtime::BatchSequence{how_.id(kFirstId + begun_++), start_};
    };
    const auto keep = [&](const runtime::BatchResult& result) {
      std::string turn = result.reason == runtime::StopReason::EndOfText ? words_of(result.tokens) : "";
      if (turn.find_first_not_of(" \t\r\n") != std::string::npos) ready_.push_back(std::move(turn));
      return Flow::GoOn;
    };
    try {
      runtime::generate_batch(how_.teacher, source, how_.batch, how_.work, keep, how_.progress);
    } catch (...) {  // what is on its way is begun again
      begun_ = last - kAhead;
      ready_.clear();
      throw;
    }
    if (ready_.empty())
      throw input_error(how_.teacher.source(), "the teacher ends none of the user turns that it begins", "", "",
                        "raise max_tokens, or give `prompts`");
  }

  std::string words_of(const std::vector<int32_t>& tokens) const {
    const Tokenizer& tokenizer = how_.teacher.tokenizer();
    std::string bytes;
    for (const int32_t token : tokens)
      if (!tokenizer.is_control(token) && !tokenizer.ends_generation(token)) bytes += tokenizer.token_bytes(token);
    return replace_invalid_utf8(bytes);
  }

  Writing how_;
  std::vector<int32_t> start_;
  std::deque<std::string> ready_;
  uint64_t begun_ = 0;
};

// The prompts to go on from, one after another without end.
using Prompts = std::function<std::vector<int32_t>(uint64_t index)>;

Prompts free_prompts(const Writing& how) {
  const CounterRandom random(how.batch.text.seed, how.split);
  return
      [&tokenizer = how.teacher.tokenizer(), random](uint64_t index) { return free_start(tokenizer, random, index); };
}

// Beginnings of texts, which the teacher goes on with.
Prompts openings(const Tokenizer& tokenizer, const TeacherPrompts& given) {
  TextReader reader(tokenizer);
  std::vector<std::vector<int32_t>> prompts;
  for (const Document& document : given.documents) {
    if (document.is_chat())
      throw input_error(document.where, "is a chat", "the beginning of a text", "", "or prompt: chat");
    prompts.push_back(reader.prompt_tokens({.text = document.text}));
  }
  return [prompts = std::move(prompts)](uint64_t index) { return prompts[index % prompts.size()]; };
}

Prompts given_prompts(const Tokenizer& tokenizer, const TeacherPrompts& given) {
  TextReader reader(tokenizer, {.chat_template = given.chat_template});
  std::vector<std::vector<int32_t>> prompts;
  for (const Document& document : given.documents) {
    if (!document.is_chat()) throw input_error(document.where, "is not a chat", "a line with `messages`");
    prompts.push_back(encode(tokenizer, reader.prompt(document.messages, document.tools)).ids);
  }
  return [prompts = std::move(prompts)](uint64_t index) { return prompts[index % prompts.size()]; };
}

// Answers to user turns of the teacher's own making. A turn that leaves no room for an answer is passed over.
Prompts own_prompts(const Tokenizer& tokenizer, const TeacherPrompts& given, const Writing& how,
                    std::shared_ptr<UserTurns>& turns) {
  const auto reader = std::make_shared<TextReader>(tokenizer, TextReaderOptions{.chat_template = given.chat_template});
  turns = std::make_shared<UserTurns>(how, encode(tokenizer, reader->user_turn_start()).ids);
  return [reader, turns = turns, limit = static_cast<size_t>(how.teacher.config().context_length)](uint64_t) {
    std::vector<int32_t> prompt;
    do prompt = reader->prompt_tokens({.text = turns->next(), .chat = true});
    while (prompt.size() >= limit);
    return prompt;
  };
}

// Prompt and answer as one document; only what the teacher wrote is in the loss.
TokenDocument to_document(const runtime::BatchResult& written, int64_t k) {
  const std::vector<int32_t>& prompt = written.prompt;
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

// How far a writing has come: what has no document yet is written again, from the same prompts.
struct Position {
  int64_t written = 0;                     // tokens
  uint64_t delivered = 0;                  // sequences that are over
  std::deque<std::vector<int32_t>> drawn;  // prompts of those behind them that were begun

  std::string state(const UserTurns* turns) const {
    Json json = {{"written", written}, {"delivered", delivered}};
    if (turns != nullptr) json["drawn"] = drawn, json["turns"] = turns->state();
    return json.dump();
  }
  void restore(const std::string& state, UserTurns* turns, const std::string& steps) {
    if (state.empty()) return;
    try {
      const Json json = Json::parse(state);
      written = json.at("written"), delivered = json.at("delivered");
      if (turns == nullptr) return;
      drawn = json.at("drawn").get<std::deque<std::vector<int32_t>>>();
      turns->restore(json.at("turns"));
    } catch (const Json::exception&) {
      throw input_error(steps + "-part.json", "is damaged", "", "", "delete it: what it counts is made again");
    }
  }
};

}  // namespace

TokenDataset write_with_teacher(const runtime::Model& teacher, const TeacherPrompts& prompts,
                                const TeacherWrites& options, uint64_t seed, uint64_t split, runtime::Workspace& work,
                                const Progress& progress, const WritingSteps& steps) {
  TokenDataset dataset = dataset_of(teacher.tokenizer());
  dataset.origin = steps.origin;
  dataset.signal_k = std::min(options.signal_top_k, teacher.config().vocab_size);
  if (dataset.signal_k > 0) dataset.signal_numerics = options.numerics;
  Position at;
  const Progress counted = [&](const Event&) {
    return progress ? progress({.stage = "data",
                                .unit = "tokens",
                                .done = std::min(at.written, options.tokens),
                                .total = options.tokens})
                    : Flow::GoOn;
  };
  const Writing how{
      .teacher = teacher,
      .batch = {.text = {.max_tokens = options.max_tokens,
                         .sampling = {.temperature = options.temperature, .top_k = 0, .top_p = options.top_p},
                         .seed = seed,
                         .stop = {}},
                .top_k_signals = dataset.signal_k},
      .split = split,
      .work = work,
      .progress = counted};
  std::shared_ptr<UserTurns> turns;
  const bool chat = options.prompt == "chat", given = !prompts.documents.empty();
  const Prompts prompt_of =
      chat ? given ? given_prompts(teacher.tokenizer(), prompts) : own_prompts(teacher.tokenizer(), prompts, how, turns)
      : given ? openings(teacher.tokenizer(), prompts)
              : free_prompts(how);
  KeptDocuments kept(steps.path, dataset, teacher.config().vocab_size);
  std::string state;
  dataset.documents = kept.take(state);
  at.restore(state, turns.get(), steps.path);

  // No more sequences than tokens are ever needed: each writes at least one, or the teacher is of no use.
  auto begun = at.delivered;
  std::deque<std::vector<int32_t>> again = at.drawn;
  const auto source = [&]() -> std::optional<runtime::BatchSequence> {
    if (static_cast<int64_t>(begun) == options.tokens) return std::nullopt;
    const uint64_t index = begun++;
    if (!again.empty()) {
      std::vector<int32_t> prompt = std::move(again.front());
      again.pop_front();
      return runtime::BatchSequence{how.id(index), std::move(prompt)};
    }
    std::vector<int32_t> prompt = prompt_of(index);
    if (turns) at.drawn.push_back(prompt);
    return runtime::BatchSequence{how.id(index), std::move(prompt)};
  };
  const auto keep = [&](const runtime::BatchResult& result) {
    if (turns) at.drawn.pop_front();
    ++at.delivered;
    at.written += static_cast<int64_t>(result.tokens.size());
    if (!result.tokens.empty()) {
      dataset.documents.push_back(to_document(result, dataset.signal_k));
      kept.add(dataset.documents.back());
    }
    if (kept.due()) kept.keep(at.state(turns.get()));
    return at.written < options.tokens ? Flow::GoOn : Flow::Stop;
  };
  try {
    if (at.written < options.tokens) runtime::generate_batch(teacher, source, how.batch, work, keep, counted);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::Interrupted) kept.keep(at.state(turns.get()));
    throw;
  }
  if (at.written < options.tokens)
    throw input_error(teacher.source(), "the teacher ends most texts at once",
                      std::to_string(options.tokens) + " tokens", std::to_string(at.written), "try `prompt: none`");
  return dataset;
}

}  // namespace attar
