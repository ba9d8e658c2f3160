#include "recipes/run/training_record.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "recipes/run/folder/event_file.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kCurvePoints = 200;

}  // namespace

std::function<void(const TrainStep&)> step_recorder(RunFolder& folder, const std::string& stage) {
  folder.start_metrics(stage);
  const auto events = std::make_shared<EventFile>(folder.file("tensorboard/" + stage + "/events.out.tfevents.attar"));
  return [&folder, stage, events](const TrainStep& step) {
    Json line = {{"stage", stage},
                 {"step", step.step},
                 {"tokens", step.tokens},
                 {"loss", step.loss},
                 {"gradient_norm", step.gradient_norm},
                 {"learning_rate", step.learning_rate}};
    for (const auto& [part, value] : step.parts) line[part] = value;
    if (step.held_out) line["held_out"] = *step.held_out;
    if (step.agreement) line["agreement"] = *step.agreement;
    if (step.on_policy) line["on_policy"] = true;
    if (step.skipped) line["skipped"] = true;
    if (step.gaps) line["unsignalled"] = step.gaps->unsignalled, line["dropped_mass"] = step.gaps->dropped_mass;
    folder.append_metric(line.dump());
    std::vector<Scalar> scalars;
    for (const auto& [name, value] : line.items())
      if (value.is_number() && name != "step") scalars.push_back({name, value.get<double>()});
    events->add(step.step, scalars);
  };
}

std::string training_curve(const TrainResult& trained) {
  Json out = Json::array();
  const size_t n = trained.history.size();
  const size_t stride = std::max<size_t>(1, (n + kCurvePoints - 1) / kCurvePoints);
  for (size_t i = 0; i < n; ++i) {
    const TrainStep& step = trained.history[i];
    if (i % stride != 0 && i + 1 != n && !step.held_out) continue;
    Json point = {{"step", step.step}, {"tokens", step.tokens}, {"loss", step.loss}};
    for (const auto& [part, value] : step.parts) point[part] = value;
    if (step.held_out) point["held_out"] = *step.held_out;
    if (step.agreement) point["agreement"] = *step.agreement;
    out.push_back(point);
  }
  return out.dump();
}

std::string training_results(const TrainResult& trained) {
  Json results = {{"steps", trained.steps}, {"tokens", trained.tokens}, {"final_loss", trained.history.back().loss}};
  if (trained.skipped_steps > 0) results["skipped_steps"] = trained.skipped_steps;
  if (const RolloutCount& by_student = trained.rollouts; by_student.texts > 0)
    results["rollouts"] = {{"texts", by_student.texts}, {"tokens", by_student.tokens}, {"ended", by_student.ended}};
  if (trained.stopped_early) results["stopped_early"] = true;
  if (trained.best_step) results["best_step"] = *trained.best_step;
  if (trained.zero_share) results["zero_share"] = *trained.zero_share;
  if (trained.device != TrainResult().device) results["device"] = trained.device;
  return results.dump();
}

std::vector<std::string> training_notes(const std::string& results) {
  const Json of = Json::parse(results);
  std::vector<std::string> notes;
  if (of.contains("skipped_steps"))
    notes.push_back(of.at("skipped_steps").dump() + " of " + of.at("steps").dump() +
                    " steps changed nothing: their loss or gradient leapt, or was not finite");
  if (of.contains("rollouts"))
    notes.push_back("it learned from " + of.at("rollouts").at("texts").dump() + " texts of its own, " +
                    of.at("rollouts").at("tokens").dump() + " tokens; " + of.at("rollouts").at("ended").dump() +
                    " of them ended by themselves, the others were cut at rollout_tokens");
  if (of.contains("stopped_early"))
    notes.push_back("the training ended early, after " + of.at("tokens").dump() +
                    " tokens: the loss on what is held out fell no more");
  if (of.contains("best_step"))
    notes.push_back("the weights are those after step " + of.at("best_step").dump() +
                    ", the best by the loss on what is held out");
  if (of.contains("device"))
    notes.push_back("it learned on " + of.at("device").get<std::string>() +
                    ", whose sums are rounded otherwise than the processor's");
  if (of.contains("zero_share")) {
    char line[100];
    std::snprintf(line, sizeof line, "%.2f %% of the weights of its matrices are 0, where they were before",
                  100.0 * of.at("zero_share").get<double>());
    notes.emplace_back(line);
  }
  return notes;
}

}  // namespace attar
