// eval: perplexity of a text and accuracy on task files, as JSON. What is judged, and how:
// runtime/judge/tasks/evaluate.h.
#include "runtime/judge/tasks/evaluate.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "recipes/commands/commands.h"
#include "recipes/hub/hub_model.h"
#include "runtime/base/error.h"
#include "runtime/base/host/cpu_limits.h"
#include "runtime/formats/model_text.h"
#include "runtime/formats/text_paths.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;

Json error_json(double accuracy, size_t n_items) {
  const double error = runtime::accuracy_error(accuracy, n_items);
  return std::isnan(error) ? Json() : Json(error);
}

Json item_json(const runtime::TaskItem& item, const runtime::ItemScores& scores, runtime::TaskForm form) {
  Json json = {{"log_probs", scores.log_probs}};
  if (form == runtime::TaskForm::Cloze) {
    json["greedy"] = scores.greedy;
    return json;
  }
  json["gold"] = item.gold;
  json["choice"] = scores.best;
  if (form == runtime::TaskForm::Choices) {
    json["choice_by_characters"] = scores.best_by_characters;
    json["choice_by_bytes"] = scores.best_by_bytes;
  }
  return json;
}

Json task_json(const std::string& path, const runtime::Task& task, std::span<const runtime::ItemScores> scores) {
  const runtime::TaskAccuracy accuracy = runtime::accuracy_of(task, scores);
  const size_t n = task.items.size();
  Json json = {{"file", path}, {"items", n}, {"accuracy", accuracy.plain}, {"stderr", error_json(accuracy.plain, n)}};
  if (task.form == runtime::TaskForm::Choices) {
    json["accuracy_by_characters"] = accuracy.by_characters;
    json["stderr_by_characters"] = error_json(accuracy.by_characters, n);
    json["accuracy_by_bytes"] = accuracy.by_bytes;
  }
  if (task.form == runtime::TaskForm::Cloze) json["perplexity"] = accuracy.perplexity;
  return json;
}

std::vector<ModelText> texts_of(const std::vector<std::string>& files, TextReader& reader) {
  std::vector<ModelText> texts;
  for (const Document& document : read_all_documents(files))
    for (ModelText& text : reader.read(document)) texts.push_back(std::move(text));
  return texts;
}

void check_options(const CommandOptions& command, const EvalOptions& options) {
  if (command.data.empty() && options.tasks.empty())
    throw usage_error("attar eval", "needs something to evaluate on", "--data TEXT or --tasks FILE.jsonl");
  if (options.limit < 0) throw usage_error("--limit", "is negative", "at least 0", std::to_string(options.limit));
}

}  // namespace

std::string eval_model(const CommandOptions& command, const EvalOptions& options, const Progress& progress) {
  check_options(command, options);
  const Numerics numerics = numerics_of(options.numerics, "--numerics");
  const std::optional<KvFormat> kv = kv_format_of(options.kv, "--kv", numerics);
  ThreadPool pool(command.threads > 0 ? command.threads : default_threads());
  const runtime::Model model = runtime::Model::load(ModelFile::open(command.model, hub_source(progress)),
                                                    {.numerics = numerics, .kv = kv}, pool);
  if (!command.data.empty() && (options.context < 2 || options.context > model.config().context_length))
    throw usage_error("--context", "is impossible", "2 to " + std::to_string(model.config().context_length),
                      std::to_string(options.context));
  runtime::Workspace work(model, pool);
  Json json = {{"schema_version", 1}, {"model", command.model}, {"numerics", options.numerics}};
  if (!command.data.empty()) {
    TextReader reader(model.tokenizer(), {.chat_template = options.chat_template});
    const std::vector<ModelText> texts = texts_of(command.data, reader);
    const runtime::TextScore score = score_texts(model, texts, options.context, work, progress);
    json["text"] = {{"tokens", score.tokens},
                    {"context", options.context},
                    {"perplexity", score.perplexity()},
                    {"bits_per_byte", score.bits_per_byte()}};
    if (!reader.notes().empty()) json["text"]["notes"] = reader.notes();
  }
  for (const std::string& path : text_paths(options.tasks)) {
    const runtime::Task task = runtime::read_task(path, options.limit);
    const std::vector<runtime::ItemScores> scores = score_task(model, task, work, progress);
    Json& result = json["tasks"].emplace_back(task_json(path, task, scores));
    for (size_t i = 0; options.per_item && i < scores.size(); ++i)
      result["per_item"].push_back(item_json(task.items[i], scores[i], task.form));
  }
  return json.dump(1) + "\n";
}

}  // namespace attar
