// eval: perplexity of a text, and accuracy on task files. Scoring as lm-evaluation-harness has it: a choice's score is
// the sum of the log-probabilities of its tokens after the query, the boundary where the pair's tokenization puts it.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "recipes/commands/commands.h"
#include "runtime/base/cpu_limits.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/formats/container/json_object.h"
#include "runtime/formats/text_file.h"
#include "runtime/judge/score.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;

struct Scorer {
  const runtime::Model& model;
  runtime::Workspace& work;

  // log p(continuation | context)
  double operator()(const std::string& context, const std::string& continuation, const Progress& progress) const {
    std::vector<int32_t> head = model.tokenizer().encode(context),
                         whole = model.tokenizer().encode(context + continuation);
    const auto limit = static_cast<size_t>(model.config().context_length);
    const size_t begin = std::min(head.size(), whole.size() - 1);
    if (whole.size() > limit)
      throw input_error("eval", "an item is longer than the model's context", std::to_string(limit),
                        std::to_string(whole.size()));
    const std::vector<double> scores = runtime::score_tokens(model, whole, work, progress);
    double sum = 0.0;
    for (size_t i = std::max<size_t>(1, begin); i < scores.size(); ++i) sum += scores[i];
    return sum;
  }
};

// One line of a task file: its choices as (context, continuation), and which is right. A cloze has one choice and gold
// -1.
struct Item {
  std::vector<std::pair<std::string, std::string>> choices;
  int64_t gold = -1;
};

Item read_item(const nlohmann::json& json, const std::string& where) {
  Item item;
  const auto text = [&](const nlohmann::json& value) {
    if (!value.is_string()) throw input_error(where, "has a choice or context that is no text");
    return value.get<std::string>();
  };
  if (json.contains("query") && json.contains("choices")) {
    for (const nlohmann::json& choice : json["choices"])
      item.choices.emplace_back(text(json["query"]), " " + text(choice));
  } else if (json.contains("context_options") && json.contains("continuation")) {
    for (const nlohmann::json& context : json["context_options"])
      item.choices.emplace_back(text(context), " " + text(json["continuation"]));
  } else if (json.contains("context") && json.contains("continuation")) {
    item.choices.emplace_back(text(json["context"]), " " + text(json["continuation"]));
    return item;
  } else {
    throw input_error(where, "is no item Attar knows",
                      "query and choices, context_options and continuation, or context and continuation");
  }
  if (!json.contains("gold") || !json["gold"].is_number_integer())
    throw input_error(where, "has no gold answer", "a whole number");
  item.gold = json["gold"];
  if (item.gold < 0 || item.gold >= static_cast<int64_t>(item.choices.size()))
    throw input_error(where, "has a gold answer out of range", "below " + std::to_string(item.choices.size()),
                      std::to_string(item.gold));
  return item;
}

std::vector<Item> read_items(const std::string& path, int64_t limit) {
  std::vector<Item> items;
  const std::string text = read_text_file(path);
  size_t line_number = 0;
  for (size_t begin = 0; begin < text.size() && (limit == 0 || static_cast<int64_t>(items.size()) < limit);) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string where = path + ":" + std::to_string(++line_number);
    const std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    check_json_depth(line, where);
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object()) throw input_error(where, "is no JSON object");
    items.push_back(read_item(json, where));
  }
  if (items.empty()) throw input_error(path, "holds no item");
  return items;
}

// The continuation is what the model would write greedily.
bool is_greedy(const Scorer& scorer, const std::string& context, const std::string& continuation,
               const Progress& progress) {
  const std::vector<int32_t> head = scorer.model.tokenizer().encode(context),
                             whole = scorer.model.tokenizer().encode(context + continuation);
  bool all = true;
  const auto visit = [&](const runtime::Prediction& p) {
    const auto next = static_cast<size_t>(p.position) + 1;
    if (next >= head.size())
      all &= std::max_element(p.logits.begin(), p.logits.end()) - p.logits.begin() == whole[next];
  };
  runtime::for_each_logits(scorer.model, whole, scorer.work, visit, progress);
  return all;
}

Json run_task(const Scorer& scorer, const std::string& path, int64_t limit, const Progress& progress) {
  const std::vector<Item> items = read_items(path, limit);
  int64_t right = 0, right_by_length = 0;
  Event now{.stage = "eval", .unit = "items", .total = static_cast<int64_t>(items.size())};
  const Progress within_item = inside(progress, now);
  for (const Item& item : items) {
    if (item.gold < 0) {
      right += is_greedy(scorer, item.choices[0].first, item.choices[0].second, within_item);
    } else {
      double best = -HUGE_VAL, best_by_length = -HUGE_VAL;
      int64_t choice = 0, choice_by_length = 0;
      for (size_t i = 0; i < item.choices.size(); ++i) {
        const double score = scorer(item.choices[i].first, item.choices[i].second, within_item);
        const double by_length = score / static_cast<double>(item.choices[i].second.size() - 1);
        if (score > best) best = score, choice = static_cast<int64_t>(i);
        if (by_length > best_by_length) best_by_length = by_length, choice_by_length = static_cast<int64_t>(i);
      }
      right += choice == item.gold;
      right_by_length += choice_by_length == item.gold;
    }
    ++now.done;
    report(progress, now);
  }
  const auto n = static_cast<double>(items.size());
  const double accuracy = static_cast<double>(right) / n;
  Json json = {{"file", path},
               {"items", items.size()},
               {"accuracy", accuracy},
               {"stderr", std::sqrt(accuracy * (1.0 - accuracy) / n)}};
  if (items[0].gold >= 0) json["accuracy_by_bytes"] = static_cast<double>(right_by_length) / n;
  return json;
}

// The texts in windows of `context` tokens; every token but a window's first is scored.
std::vector<std::vector<int32_t>> windows_of(const Tokenizer& tokenizer, const std::vector<std::string>& files,
                                             int64_t context) {
  std::vector<std::vector<int32_t>> windows;
  for (const std::string& file : files)
    for (const Document& document : read_documents(file)) {
      const std::vector<int32_t> ids = tokenizer.encode(document_text(document));
      for (size_t begin = 0; begin + 1 < ids.size(); begin += static_cast<size_t>(context)) {
        const auto part = std::span(ids).subspan(begin, std::min(static_cast<size_t>(context), ids.size() - begin));
        windows.emplace_back(part.begin(), part.end());
      }
    }
  return windows;
}

Json run_text(const Scorer& scorer, const std::vector<std::string>& files, int64_t context, const Progress& progress) {
  const Tokenizer& tokenizer = scorer.model.tokenizer();
  const std::vector<std::vector<int32_t>> windows = windows_of(tokenizer, files, context);
  Event now{.stage = "eval", .unit = "tokens"};
  for (const std::vector<int32_t>& window : windows) now.total += static_cast<int64_t>(window.size()) - 1;
  const Progress within_window = inside(progress, now);
  double nats = 0.0, bytes = 0.0;
  for (const std::vector<int32_t>& window : windows) {
    const std::vector<double> scores = runtime::score_tokens(scorer.model, window, scorer.work, within_window);
    for (size_t i = 1; i < scores.size(); ++i) {
      nats -= scores[i];
      bytes += static_cast<double>(tokenizer.token_bytes(window[i]).size());
    }
    now.done += static_cast<int64_t>(window.size()) - 1;
    report(progress, now);
  }
  if (now.done == 0) throw input_error("--data", "holds no token to score");
  return {{"tokens", now.done},
          {"context", context},
          {"perplexity", std::exp(nats / static_cast<double>(now.done))},
          {"bits_per_byte", nats / std::log(2.0) / bytes}};
}

}  // namespace

std::string eval_model(const CommandOptions& command, const EvalOptions& options, const Progress& progress) {
  if (command.data.empty() && options.tasks.empty())
    throw usage_error("attar eval", "needs something to evaluate on", "--data TEXT or --task FILE.jsonl");
  if (options.numerics != "fp32" && options.numerics != "deployed")
    throw usage_error("--numerics", "is unknown", "fp32 or deployed", printable(options.numerics));
  if (options.limit < 0) throw usage_error("--limit", "is negative", "at least 0", std::to_string(options.limit));
  ThreadPool pool(command.threads > 0 ? command.threads : default_threads());
  const runtime::Model model = runtime::Model::load(
      ModelFile::open(command.model),
      {.numerics = options.numerics == "fp32" ? runtime::Numerics::Fp32 : runtime::Numerics::Deployed}, pool);
  if (options.context < 2 || options.context > model.config().context_length)
    throw usage_error("--context", "is impossible", "2 to " + std::to_string(model.config().context_length),
                      std::to_string(options.context));
  runtime::Workspace work(model, pool);
  const Scorer scorer{model, work};
  Json json = {{"schema_version", 1}, {"model", command.model}, {"numerics", options.numerics}};
  if (!command.data.empty()) json["text"] = run_text(scorer, command.data, options.context, progress);
  for (const std::string& task : options.tasks)
    json["tasks"].push_back(run_task(scorer, task, options.limit, progress));
  return json.dump(1) + "\n";
}

}  // namespace attar
