#include "runtime/judge/tasks/eval_json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/formats/model_text.h"
#include "runtime/formats/text_paths.h"
#include "runtime/judge/tasks/evaluate.h"

namespace attar::runtime {
namespace {

using Json = nlohmann::ordered_json;

Json known(double error) {
  return std::isnan(error) ? Json() : Json(error);
}

Json item_json(const TaskItem& item, const ItemScores& scores, TaskForm form) {
  Json json = {{"log_probs", scores.log_probs}};
  if (form == TaskForm::Cloze) {
    json["greedy"] = scores.greedy;
    return json;
  }
  json["gold"] = item.gold;
  json["choice"] = scores.best;
  if (form == TaskForm::Choices) {
    json["choice_by_characters"] = scores.best_by_characters;
    json["choice_by_bytes"] = scores.best_by_bytes;
  }
  return json;
}

Json task_json(const std::string& path, const Task& task, std::span<const ItemScores> scores) {
  const TaskAccuracy accuracy = accuracy_of(task, scores);
  Json json = {{"file", path},
               {"items", task.items.size()},
               {"accuracy", accuracy.plain.share},
               {"stderr", known(accuracy.plain.stderr_)}};
  if (task.form == TaskForm::Choices) {
    json["accuracy_by_characters"] = accuracy.by_characters.share;
    json["stderr_by_characters"] = known(accuracy.by_characters.stderr_);
    json["accuracy_by_bytes"] = accuracy.by_bytes.share;
    json["stderr_by_bytes"] = known(accuracy.by_bytes.stderr_);
  }
  if (task.form == TaskForm::Cloze) json["perplexity"] = accuracy.perplexity;
  return json;
}

std::vector<ModelText> texts_of(const std::vector<std::string>& files, TextReader& reader) {
  std::vector<ModelText> texts;
  for (const Document& document : read_all_documents(files))
    for (ModelText& text : reader.read(document)) texts.push_back(std::move(text));
  return texts;
}

Json text_json(const Model& model, const std::vector<std::string>& data, const EvalOptions& options, Workspace& work,
               const Progress& progress) {
  TextReader reader(model.tokenizer(), {.chat_template = options.chat_template});
  const TextScore score = score_texts(model, texts_of(data, reader), options.context, work, progress);
  Json json = {{"tokens", score.tokens},
               {"context", options.context},
               {"windows", score.by_tokens.size()},
               {"perplexity", score.perplexity()},
               {"perplexity_stderr", known(score.perplexity_stderr())},
               {"bits_per_byte", score.bits_per_byte()},
               {"bits_per_byte_stderr", known(score.bits_per_byte_stderr())}};
  json["notes"] = reader.notes();
  return json;
}

}  // namespace

void check_evaluation(const std::vector<std::string>& data, const EvalOptions& options) {
  if (data.empty() && options.tasks.empty())
    throw usage_error("attar eval", "needs something to evaluate on", "--data TEXT or --tasks FILE.jsonl");
  if (options.limit < 0) throw usage_error("--limit", "is negative", "at least 0", std::to_string(options.limit));
  kv_format_of(options.kv, "--kv", numerics_of(options.numerics, "--numerics"));
}

std::string eval_document(const std::string& name, const ModelFile& file, const std::vector<std::string>& data,
                          const EvalOptions& options, ThreadPool& threads, const Progress& progress) {
  check_evaluation(data, options);
  const int64_t longest = file.config().context_length;
  EvalOptions own = options;
  if (options.context == EvalOptions().context)
    own.context = std::min(options.context, longest);  // nobody asked for it
  if (!data.empty() && (own.context < 2 || own.context > longest))
    throw usage_error("--context", "is impossible", "2 to " + std::to_string(longest), std::to_string(own.context));
  const Numerics numerics = numerics_of(options.numerics, "--numerics");
  std::vector<std::pair<std::string, Task>> tasks;  // all are read before anything is scored
  for (const std::string& path : text_paths(options.tasks)) tasks.emplace_back(path, read_task(path, options.limit));
  const Model model =
      Model::load(file, {.numerics = numerics, .kv = kv_format_of(options.kv, "--kv", numerics)}, threads);
  Workspace work(model, threads);
  Json json = {{"schema_version", 1}, {"model", name}, {"numerics", options.numerics}};
  if (!data.empty()) json["text"] = text_json(model, data, own, work, progress);
  for (const auto& [path, task] : tasks) {
    const std::vector<ItemScores> scores = score_task(model, task, work, progress);
    Json& result = json["tasks"].emplace_back(task_json(path, task, scores));
    for (size_t i = 0; options.per_item && i < scores.size(); ++i)
      result["per_item"].push_back(item_json(task.items[i], scores[i], task.form));
  }
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";  // names of files may be no UTF-8
}

}  // namespace attar::runtime
