#include "distill/training_state.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>

#include "compress/checkpoint.h"
#include "compress/dataset/signal_store.h"
#include "distill/optimizer/muon.h"
#include "distill/pass/device.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/sha256.h"

namespace attar {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr size_t kKeptCheckpoints = 2;

Error damaged(const std::string& folder, const std::string& part) {
  return input_error(folder, "is damaged at " + part, "", "", "delete this checkpoint: the one before it is taken");
}

// JSON writes what is not finite as null.
double number_of(const Json& json) {
  return json.is_null() ? std::nan("") : json.get<double>();
}

Json to_json(const TrainStep& step) {
  Json json = {{"step", step.step},
               {"tokens", step.tokens},
               {"loss", step.loss},
               {"gradient_norm", step.gradient_norm},
               {"learning_rate", step.learning_rate},
               {"parts", step.parts}};
  if (step.held_out) json["held_out"] = *step.held_out;
  if (step.gaps) json["gaps"] = {step.gaps->unsignalled, step.gaps->dropped_mass};
  if (step.agreement) json["agreement"] = *step.agreement;
  if (step.skipped) json["skipped"] = true;
  if (step.on_policy) json["on_policy"] = true;
  return json;
}

TrainStep step_of(const Json& json) {
  TrainStep step{.step = json.at("step"),
                 .tokens = json.at("tokens"),
                 .loss = number_of(json.at("loss")),
                 .gradient_norm = number_of(json.at("gradient_norm")),
                 .learning_rate = json.at("learning_rate")};
  for (const auto& [name, value] : json.at("parts").items()) step.parts[name] = number_of(value);
  if (json.contains("held_out")) step.held_out = number_of(json.at("held_out"));
  if (json.contains("gaps")) step.gaps = SignalGaps{json.at("gaps").at(0), json.at("gaps").at(1)};
  if (json.contains("agreement")) step.agreement = json.at("agreement").get<double>();
  step.skipped = json.value("skipped", false);
  step.on_policy = json.value("on_policy", false);
  return step;
}

Json to_json(const RolloutState& state) {
  Json kept = Json::array();
  for (const TokenDocument& text : state.kept) kept.push_back({{"tokens", text.tokens}, {"in_loss", text.in_loss}});
  return {{"begun", state.begun},
          {"unread", state.unread},
          {"tokens", state.tokens},
          {"ended", state.ended},
          {"kept", kept}};
}

RolloutState rollouts_of(const Json& json) {
  RolloutState state{
      .begun = json.at("begun"), .unread = json.at("unread"), .tokens = json.at("tokens"), .ended = json.at("ended")};
  for (const Json& text : json.at("kept")) state.kept.push_back({text.at("tokens"), text.at("in_loss"), {}, {}});
  return state;
}

bool sound(const RolloutState& state, int64_t vocab_size) {
  const auto is_token = [&](int32_t id) { return id >= 0 && id < vocab_size; };
  return state.unread >= 0 && state.unread <= static_cast<int64_t>(state.kept.size()) &&
         std::all_of(state.kept.begin(), state.kept.end(), [&](const TokenDocument& text) {
           return text.tokens.size() == text.in_loss.size() &&
                  std::all_of(text.tokens.begin(), text.tokens.end(), is_token);
         });
}

Json to_json(const TrainingState& state, const std::string& fingerprint) {
  Json history = Json::array();
  for (const TrainStep& step : state.history) history.push_back(to_json(step));
  return {{"step", state.step},
          {"epoch", state.at.epoch},
          {"batch", state.at.batch},
          {"tokens", state.seen.count},
          {"unsignalled", state.seen.unsignalled},
          {"weighed", state.seen.weighed},
          {"dropped_mass", state.seen.dropped_mass},
          {"taid", {state.taid.share, state.taid.momentum, state.taid.last_loss}},
          {"optimizer_steps", state.optimizer.steps},
          {"rollouts", to_json(state.rollouts)},
          {"options", fingerprint},
          {"history", history}};
}

void read_json(const Json& json, TrainingState& state) {
  state.step = json.at("step"), state.at.epoch = json.at("epoch"), state.at.batch = json.at("batch");
  state.seen = {.count = json.at("tokens"),
                .unsignalled = json.at("unsignalled"),
                .weighed = json.at("weighed"),
                .dropped_mass = json.at("dropped_mass")};
  state.taid = {json.at("taid").at(0), json.at("taid").at(1), json.at("taid").at(2)};
  state.optimizer.steps = json.at("optimizer_steps");
  state.rollouts = rollouts_of(json.at("rollouts"));
  for (const Json& step : json.at("history")) state.history.push_back(step_of(step));
}

// Tensors of exactly the names and shapes that the training has.
bool alike(const std::map<std::string, at::Tensor>& expected, const std::map<std::string, at::Tensor>& got) {
  return expected.size() == got.size() &&
         std::equal(expected.begin(), expected.end(), got.begin(), [](auto& a, auto& b) {
           return a.first == b.first && a.second.sizes() == b.second.sizes() &&
                  b.second.scalar_type() == a.second.scalar_type();
         });
}

// What is trained in place of tensors, under the names that trained_tensors gives it.
NamedTensors parameters_of(const Reparameterizations& reparameterized) {
  return trained_tensors({}, reparameterized);
}

// The tensors of `extra` that are no parameters, by what their names begin with.
template <class State>
auto parts_of(State& state) {
  return std::map<std::string, decltype(&state.average)>{
      {"first.", &state.optimizer.first}, {"second.", &state.optimizer.second}, {"average.", &state.average}};
}

// Whether what was read has a place for each tensor that is trained: Muon's have no second moment.
bool fits(const TrainingState& state, const ModelConfig& config, const NamedTensors& trained,
          const DistillOptions& options) {
  NamedTensors by_adamw = trained;
  if (options.optimizer == "muon")
    for (const auto& [name, matrix] : muon_matrices(config, trained)) by_adamw.erase(name);
  const bool moved = state.optimizer.steps > 0;  // not by steps that were all skipped
  return alike(moved ? trained : NamedTensors{}, state.optimizer.first) &&
         alike(moved ? by_adamw : NamedTensors{}, state.optimizer.second) &&
         alike(options.ema > 0.0 ? trained : NamedTensors{}, state.average);
}

// What a checkpoint holds of weights and of parameters in their place.
void take(Checkpoint& checkpoint, const NamedTensors& parameters, CausalLM& student,
          Reparameterizations& reparameterized) {
  student.parameters = std::move(checkpoint.model.parameters);
  for (auto& [name, own] : reparameterized)
    for (auto& [parameter, values] : own.parameters) values = parameters.at(name + "." + parameter);
}

template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span<const T>(values));
}

}  // namespace

std::optional<BestLook> best_look(const std::vector<TrainStep>& history) {
  std::optional<BestLook> best;
  for (const TrainStep& step : history) {
    if (!step.held_out) continue;
    if (best && !(*step.held_out < best->loss))
      ++best->in_vain;
    else if (std::isfinite(*step.held_out))
      best = BestLook{step.step, *step.held_out};
  }
  return best;
}

std::string fingerprint_of(const CausalLM& student, const TrainInputs& inputs, DistillOptions options) {
  std::string text = std::to_string(inputs.seed) + inputs.data->tokenizer_hash + inputs.teacher_hash;
  if (!inputs.student_hash.empty()) text += ";student=" + inputs.student_hash;
  std::map<std::string, std::string> usual;      // an option that a later version adds orphans no checkpoint
  options.device = device_here(options.device);  // what auto is
  DistillOptions defaults;
  visit_fields(defaults, [&](auto& value, const char* name, const char*) { usual[name] = Json(value).dump(); });
  visit_fields(options, [&](auto& value, const char* name, const char*) {
    if (const std::string given = Json(value).dump(); given != usual[name])
      text += std::string(";") + name + "=" + given;
  });
  for (const auto& [name, tensor] : student.parameters) text += ";" + name + Json(tensor.sizes().vec()).dump();
  if (inputs.reparameterized != nullptr)
    for (const auto& [name, own] : *inputs.reparameterized) {
      text += ";in place of " + name;
      for (const auto& [parameter, values] : own.parameters)
        text += "," + parameter + Json(values.sizes().vec()).dump();
      text += Json(own.learning_rate_ratios).dump();
    }
  Sha256 hash;
  hash.add(text);
  for (const TokenDocument& document : inputs.data->documents) {
    hash.add(";" + std::to_string(document.tokens.size()));
    for (const auto& bytes :
         {bytes_of(document.tokens), bytes_of(document.in_loss), bytes_of(document.signal_ids),
          bytes_of(document.signal_log_probs), bytes_of(document.sampled_signal), bytes_of(document.weights),
          bytes_of(document.hidden.codes), bytes_of(document.hidden.scales)})
      hash.add(bytes);
    if (!document.stored.empty())
      hash.add(";" + std::to_string(document.stored.place)).add(bytes_of(document.stored.rows));
    if (!document.other.empty())
      for (const auto& bytes :
           {bytes_of(document.other.tokens), bytes_of(document.other.in_loss), bytes_of(document.other.chunks)})
        hash.add(bytes);
  }
  if (inputs.data->store != nullptr) hash.add(inputs.data->store->hash()).add(bytes_of(inputs.data->store_ids));
  return hash.hex();
}

TrainingCheckpoints::TrainingCheckpoints(std::string directory, std::string fingerprint)
    : directory_(std::move(directory)), fingerprint_(std::move(fingerprint)) {
  sweep_asides(directory_, {"step-", "best."});  // of who was killed while it wrote one
}

void TrainingCheckpoints::save(const CausalLM& student, const Reparameterizations& reparameterized,
                               const TokenizerData& tokenizer, const TrainingState& state) {
  if (directory_.empty()) return;
  if (writing_) writing_->wait();
  NamedTensors extra = parameters_of(reparameterized);
  for (const auto& [prefix, tensors] : parts_of(state))
    for (const auto& [name, tensor] : *tensors) extra[prefix + name] = tensor;
  last_ = {.step = state.step};
  // The maps are copies, their tensors are the training's own.
  writing_ = std::make_unique<BackgroundWork>([this, student, tokenizer, extra, json = to_json(state, fingerprint_),
                                               best = best_](const std::function<void()>& read) {
    const auto start = std::chrono::steady_clock::now();
    write_checkpoint(step_folder(last_.step), student, tokenizer, {}, extra, json.dump(), [&] {
      read();
      if (best) best->wait();  // who goes on from this step asks for them
    });
    const std::vector<int64_t> steps = saved_steps();
    for (size_t i = 0; i + kKeptCheckpoints < steps.size(); ++i) remove_folder(step_folder(steps[i]));
    last_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  });
}

void TrainingCheckpoints::wait_until_read() {
  if (best_) best_->wait_until_passed();
  if (writing_) writing_->wait_until_passed();
}

void TrainingCheckpoints::wait() {
  if (best_) best_->wait();
  if (writing_) writing_->wait();
}

std::optional<TrainingCheckpoints::Written> TrainingCheckpoints::written() {
  if (best_ && best_->is_done()) {
    best_->wait();
    best_.reset();
  }
  if (!writing_ || !writing_->is_done()) return std::nullopt;
  writing_->wait();
  writing_.reset();
  return last_;
}

void TrainingCheckpoints::restore(CausalLM& student, Reparameterizations& reparameterized,
                                  const DistillOptions& options, TrainingState& state) const {
  const std::vector<int64_t> steps = saved_steps();
  if (steps.empty()) return;
  const std::string folder = step_folder(steps.back());
  Checkpoint checkpoint = read_checkpoint(folder);
  try {
    const Json json = Json::parse(checkpoint.state_json);
    if (json.at("options") != fingerprint_)
      throw usage_error(directory_, "holds checkpoints of other options, data or models, or of another device", "", "",
                        "delete them or use another folder");
    read_json(json, state);
  } catch (const Json::exception&) {
    throw damaged(folder, "state.json");
  }
  NamedTensors parameters;
  for (const auto& [name, tensor] : checkpoint.extra) {
    const size_t end = name.find('.') + 1;
    const auto parts = parts_of(state);
    const auto part = parts.find(name.substr(0, end));
    (part == parts.end() ? parameters[name] : (*part->second)[name.substr(end)]) = tensor;
  }
  if (!alike(student.parameters, checkpoint.model.parameters)) throw damaged(folder, "model.safetensors");
  if (!alike(parameters_of(reparameterized), parameters) ||
      !fits(state, student.config, trained_tensors(student, reparameterized), options))
    throw damaged(folder, "extra.safetensors");
  if (state.at.batch < 0 || state.at.epoch < 0 || state.seen.count < 0 ||
      !sound(state.rollouts, student.config.vocab_size))
    throw damaged(folder, "state.json");
  take(checkpoint, parameters, student, reparameterized);
}

std::optional<int64_t> TrainingCheckpoints::drop_from(int64_t step) {
  wait();
  std::optional<int64_t> left;
  for (const int64_t saved : saved_steps()) {
    if (saved >= step)
      remove_folder(step_folder(saved));
    else
      left = saved;
  }
  return left;
}

std::string TrainingCheckpoints::best_state(int64_t step) const {
  return Json({{"step", step}, {"options", fingerprint_}}).dump();
}

void TrainingCheckpoints::save_best(const CausalLM& student, const Reparameterizations& reparameterized,
                                    const TokenizerData& tokenizer, int64_t step) {
  if (best_) best_->wait();
  best_ = std::make_shared<BackgroundWork>([folder = best_folder(), student, tokenizer,
                                            parameters = parameters_of(reparameterized),
                                            state = best_state(step)](const std::function<void()>& read) {
    write_checkpoint(folder, student, tokenizer, {}, parameters, state, read);
  });
}

void TrainingCheckpoints::restore_best(CausalLM& student, Reparameterizations& reparameterized, int64_t step) const {
  Checkpoint checkpoint = read_checkpoint(best_folder());
  if (checkpoint.state_json != best_state(step) || !alike(student.parameters, checkpoint.model.parameters) ||
      !alike(parameters_of(reparameterized), checkpoint.extra))
    throw input_error(best_folder(), "is damaged, or of another training",
                      "the weights after step " + std::to_string(step), "",
                      "delete it and the steps beside it: the training runs again");
  take(checkpoint, checkpoint.extra, student, reparameterized);
}

void TrainingCheckpoints::require_none() const {
  if (!saved_steps().empty())
    throw usage_error(directory_, "already holds checkpoints of a run", "", "",
                      "add --resume to go on with it, or choose another -o, or delete this folder");
}

std::vector<int64_t> TrainingCheckpoints::saved_steps() const {
  std::vector<int64_t> steps;
  if (!fs::is_directory(directory_)) return steps;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory_)) {
    const std::string name = entry.path().filename().string();
    constexpr size_t kLongest = 18;  // digits that an int64 surely holds
    if (name.rfind("step-", 0) == 0 && name.size() > 5 && name.size() <= 5 + kLongest &&
        name.find_first_not_of("0123456789", 5) == std::string::npos)
      steps.push_back(std::stoll(name.substr(5)));
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

}  // namespace attar
