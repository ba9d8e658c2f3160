#include "runtime/judge/tasks/evaluate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>

#include "runtime/base/error.h"
#include "runtime/formats/container/json_object.h"
#include "runtime/formats/text_file.h"
#include "runtime/formats/tokenizer/unicode.h"
#include "runtime/judge/score.h"

namespace attar::runtime {
namespace {

using Json = nlohmann::ordered_json;

std::string text_of(const Json& value, const std::string& where) {
  if (!value.is_string()) throw input_error(where, "has a choice or context that is no text");
  return value.get<std::string>();
}

const Json& list_of(const Json& json, const char* key, const std::string& where) {
  if (!json[key].is_array() || json[key].empty())
    throw input_error(where, std::string("has no list of `") + key + "`", "at least one text");
  return json[key];
}

TaskForm form_of(const Json& json, const std::string& where) {
  if (json.contains("query") && json.contains("choices")) return TaskForm::Choices;
  if (json.contains("context_options") && json.contains("continuation")) return TaskForm::Contexts;
  if (json.contains("context") && json.contains("continuation")) return TaskForm::Cloze;
  throw input_error(where, "is no item Attar knows",
                    "query and choices, context_options and continuation, or context and continuation");
}

int64_t gold_of(const Json& json, size_t n_choices, const std::string& where) {
  if (!json.contains("gold") || !json["gold"].is_number_integer())
    throw input_error(where, "has no gold answer", "a whole number");
  const auto gold = json["gold"].get<int64_t>();
  if (gold < 0 || gold >= static_cast<int64_t>(n_choices))
    throw input_error(where, "has a gold answer out of range", "below " + std::to_string(n_choices),
                      json["gold"].dump());
  return gold;
}

TaskItem read_item(const Json& json, TaskForm form, const std::string& where) {
  TaskItem item;
  item.where = where;
  if (form == TaskForm::Choices) {
    for (const Json& answer : list_of(json, "choices", where))
      item.choices.push_back({text_of(json["query"], where), text_of(answer, where)});
  } else if (form == TaskForm::Contexts) {
    for (const Json& context : list_of(json, "context_options", where))
      item.choices.push_back({text_of(context, where), text_of(json["continuation"], where)});
  } else {
    item.choices.push_back({text_of(json["context"], where), text_of(json["continuation"], where)});
    return item;
  }
  item.gold = gold_of(json, item.choices.size(), where);
  return item;
}

// Where the white space at the end of a text begins: what Python's str.rstrip() takes away.
size_t end_without_space(std::string_view text) {
  size_t end = 0;
  for (size_t at = 0; at < text.size();) {
    const Decoded character = decode_utf8(text, at);
    at += character.length;
    const CharClass kind = char_class(character.code_point);
    const bool separator = character.code_point >= 0x1C && character.code_point <= 0x1F;  // FS GS RS US: none of \s
    if (kind != CharClass::Space && kind != CharClass::Newline && !separator) end = at;
  }
  return end;
}

size_t count_characters(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::vector<int32_t> plain_tokens(const Tokenizer& tokenizer, std::string_view text) {
  return tokenizer.encode(text, {.add_special = false, .parse_special = true});
}

// BOS as the tokenizer says, and not a second one where the text itself begins with it.
std::vector<int32_t> tokens_after_start(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<int32_t> tokens = plain_tokens(tokenizer, text);
  const TokenizerData& data = tokenizer.data();
  if (data.add_bos && data.bos >= 0 && (tokens.empty() || tokens[0] != data.bos))
    tokens.insert(tokens.begin(), data.bos);
  return tokens;
}

ChoiceTokens tokens_without_context(const Tokenizer& tokenizer, std::string_view continuation,
                                    const std::string& where) {
  const TokenizerData& data = tokenizer.data();
  const int32_t start = data.bos >= 0 ? data.bos : data.eos;
  if (start < 0)
    throw input_error(where, "has an empty context, and the tokenizer neither BOS nor EOS to stand for it");
  ChoiceTokens out{plain_tokens(tokenizer, continuation), 1};
  if (out.tokens.empty() || out.tokens[0] != start) out.tokens.insert(out.tokens.begin(), start);
  return out;
}

struct Continuation {
  double log_prob = 0.0;
  bool greedy = true;
};

// `cache` holds the first tokens of the choice already.
Continuation score_choice(const Model& model, KvCache& cache, const ChoiceTokens& choice, Workspace& work,
                          const Progress& progress) {
  Continuation out;
  const auto visit = [&](const Prediction& p) {
    const auto next = static_cast<size_t>(choice.tokens[static_cast<size_t>(p.position) + 1]);
    out.log_prob += static_cast<double>(p.logits[next]) - p.lse;
    out.greedy &=
        std::max_element(p.logits.begin(), p.logits.end()) == p.logits.begin() + static_cast<std::ptrdiff_t>(next);
  };
  for_each_logits_from(model, cache, choice.tokens, choice.begin - 1, work, visit, progress);
  return out;
}

// Reads what all choices begin with, as far as nothing of it is scored.
void read_shared_tokens(const Model& model, KvCache& cache, std::span<const ChoiceTokens> choices, Workspace& work,
                        const Progress& progress) {
  size_t shared = choices[0].begin - 1;
  for (const ChoiceTokens& choice : choices) {
    const auto& a = choices[0].tokens;
    const auto& b = choice.tokens;
    const auto differ = std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first;
    shared = std::min({shared, choice.begin - 1, static_cast<size_t>(differ - a.begin())});
  }
  std::vector<Row> rows;
  for (size_t i = 0; i < shared; ++i) rows.push_back({&cache, choices[0].tokens[i], false});
  forward(model, rows, work, progress);
}

// Each item is a window of its own.
Accuracy share_of(std::span<const WindowSum> items) {
  double right = 0.0;
  for (const WindowSum& item : items) right += item.value;
  return {right / static_cast<double>(items.size()), ratio_standard_error(items)};
}

int64_t index_of_largest(const std::vector<double>& values) {
  return std::max_element(values.begin(), values.end()) - values.begin();
}

}  // namespace

Task read_task(const std::string& path, int64_t limit) {
  Task task;
  const std::string text = read_text_file(path);
  size_t line_number = 0;
  for (size_t begin = 0; begin < text.size() && (limit == 0 || static_cast<int64_t>(task.items.size()) < limit);) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string where = path + ":" + std::to_string(++line_number);
    const std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    check_json_depth(line, where);
    const Json json = Json::parse(line, nullptr, false);
    if (!json.is_object()) throw input_error(where, "is no JSON object");
    const TaskForm form = form_of(json, where);
    if (task.items.empty()) task.form = form;
    if (form != task.form) throw input_error(where, "is an item of another form than those before it");
    task.items.push_back(read_item(json, form, where));
  }
  if (task.items.empty()) throw input_error(path, "holds no item");
  return task;
}

ChoiceTokens choice_tokens(const Tokenizer& tokenizer, const Choice& choice, int64_t context_tokens,
                           const std::string& where) {
  const std::string text = choice.context + " " + choice.answer;
  const std::string_view whole = text, context = whole.substr(0, end_without_space(choice.context));
  ChoiceTokens out;
  if (context.empty())
    out = tokens_without_context(tokenizer, whole, where);
  else
    out = {tokens_after_start(tokenizer, whole), tokens_after_start(tokenizer, context).size()};
  const auto limit = static_cast<size_t>(context_tokens);
  if (out.begin >= out.tokens.size())
    throw input_error(where, "has an answer without a token of its own", "", printable(choice.answer));
  if (out.tokens.size() - out.begin > limit)
    throw input_error(where, "has an answer longer than the model's context", std::to_string(limit) + " tokens",
                      std::to_string(out.tokens.size() - out.begin));
  if (out.tokens.size() > limit + 1) {
    const size_t cut = out.tokens.size() - (limit + 1);
    out.tokens.erase(out.tokens.begin(), out.tokens.begin() + static_cast<std::ptrdiff_t>(cut));
    out.begin -= cut;
  }
  return out;
}

ItemScores score_item(const Model& model, const TaskItem& item, Workspace& work, const Progress& progress) {
  std::vector<ChoiceTokens> choices;
  for (const Choice& choice : item.choices)
    choices.push_back(choice_tokens(model.tokenizer(), choice, model.config().context_length, item.where));
  KvCache shared(model);
  read_shared_tokens(model, shared, choices, work, progress);
  ItemScores out;
  std::vector<double> by_characters, by_bytes;
  for (size_t i = 0; i < choices.size(); ++i) {
    KvCache cache(shared);
    const Continuation continuation = score_choice(model, cache, choices[i], work, progress);
    const std::string& answer = item.choices[i].answer;
    out.log_probs.push_back(continuation.log_prob);
    by_characters.push_back(continuation.log_prob / static_cast<double>(count_characters(answer)));
    by_bytes.push_back(continuation.log_prob / static_cast<double>(answer.size()));
    out.greedy = continuation.greedy;
  }
  out.best = index_of_largest(out.log_probs);
  out.best_by_characters = index_of_largest(by_characters);
  out.best_by_bytes = index_of_largest(by_bytes);
  return out;
}

std::vector<ItemScores> score_task(const Model& model, const Task& task, Workspace& work, const Progress& progress) {
  Event now{.stage = "eval", .unit = "items", .total = static_cast<int64_t>(task.items.size())};
  const Progress within_item = inside(progress, now);
  std::vector<ItemScores> scores;
  for (const TaskItem& item : task.items) {
    scores.push_back(score_item(model, item, work, within_item));
    ++now.done;
    report(progress, now);
  }
  return scores;
}

TaskAccuracy accuracy_of(const Task& task, std::span<const ItemScores> scores) {
  std::vector<WindowSum> plain, by_characters, by_bytes;
  double log_probs = 0.0;
  for (size_t i = 0; i < scores.size(); ++i) {
    const ItemScores& item = scores[i];
    const int64_t gold = task.items[i].gold;
    const bool right = task.form == TaskForm::Cloze ? item.greedy : item.best == gold;
    plain.push_back({right ? 1.0 : 0.0, 1.0});
    by_characters.push_back({item.best_by_characters == gold ? 1.0 : 0.0, 1.0});
    by_bytes.push_back({item.best_by_bytes == gold ? 1.0 : 0.0, 1.0});
    log_probs += item.log_probs[0];
  }
  const auto n = static_cast<double>(scores.size());
  return {share_of(plain), share_of(by_characters), share_of(by_bytes), std::exp(-log_probs / n)};
}

double TextScore::perplexity() const {
  return std::exp(nats / static_cast<double>(tokens));
}

double TextScore::bits_per_byte() const {
  return nats / std::log(2.0) / bytes;
}

double TextScore::perplexity_stderr() const {
  return perplexity() * ratio_standard_error(by_tokens);
}

double TextScore::bits_per_byte_stderr() const {
  return ratio_standard_error(by_bytes) / std::log(2.0);
}

TextScore score_texts(const Model& model, std::span<const ModelText> texts, int64_t context_tokens, Workspace& work,
                      const Progress& progress) {
  std::vector<TextWindow> windows;
  Event now{.stage = "eval", .unit = "tokens"};
  for (const ModelText& text : texts)
    for (TextWindow& window : text_windows(model.tokenizer(), text, context_tokens)) {
      now.total += static_cast<int64_t>(window.ids.size()) - 1;
      windows.push_back(std::move(window));
    }
  const Progress within_window = inside(progress, now);
  TextScore out;
  for (const TextWindow& window : windows) {
    const std::vector<double> scores = score_tokens(model, window.ids, work, within_window);
    double nats = 0.0, bytes = 0.0, tokens = 0.0;
    for (size_t i = 0; i < scores.size(); ++i) {
      if (window.counted[i] == 0) continue;
      nats -= scores[i];
      bytes += static_cast<double>(window.bytes[i]);
      ++tokens;
    }
    out.nats += nats, out.bytes += bytes, out.tokens += static_cast<int64_t>(tokens);
    out.by_tokens.push_back({nats, tokens}), out.by_bytes.push_back({nats, bytes});
    now.done += static_cast<int64_t>(window.ids.size()) - 1;
    report(progress, now);
  }
  if (out.tokens == 0) throw input_error("the text", "holds no token to score", "text, or chats with assistant turns");
  return out;
}

}  // namespace attar::runtime
