#include "distill/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "distill/losses/taid.h"
#include "distill/optimizer/adamw.h"
#include "distill/optimizer/muon.h"
#include "distill/optimizer/schedule.h"
#include "distill/pass/device.h"
#include "distill/ranks/ranks.h"
#include "distill/signal_source.h"
#include "distill/spike_guard.h"
#include "runtime/base/host/freed_memory.h"
#include "runtime/base/host/kernel_file.h"

namespace attar {
namespace {

// Of this process now; 0 where the kernel does not say.
double resident_mb() {
  return std::strtod(kernel_value(kernel_file("/proc/self/status"), "VmRSS:").c_str(), nullptr) * 1.024e-3;
}

std::string line_of(const char* format, auto... values) {
  char line[160];
  std::snprintf(line, sizeof line, format, values...);
  return line;
}

}  // namespace

Trainer::Trainer(CausalLM& student, const TokenizerData& tokenizer, TrainInputs& inputs, const DistillOptions& options,
                 const Progress& progress)
    : student_(student),
      tokenizer_(tokenizer),
      inputs_(inputs),
      options_(options),
      progress_(progress),
      source_(signal_source(inputs, options, progress)),
      signals_(source_),
      learner_(student, inputs, options, source_,
               pass_device(options.device, inputs.ranks == nullptr ? 0 : inputs.ranks->local_rank())),
      checkpoints_(inputs.checkpoint_directory,
                   inputs.checkpoint_directory.empty() ? "" : fingerprint_of(student, inputs, options)) {}

TrainResult Trainer::run() {
  begin();
  DatasetBatches batches(*inputs_.data, source_, options_, inputs_.seed, state_.at);
  Rollouts rollouts(*inputs_.data, inputs_.write_rollouts, options_, inputs_.seed, state_.rollouts);
  const Curriculum curriculum = curriculum_of_the_teacher();
  if (inputs_.teacher != nullptr && !asked_in_steps()) let_teacher_go();
  if (inputs_.ranks != nullptr && !finished()) shared_.emplace(student_, inputs_, options_, source_);
  while (!finished()) {
    if (rollouts.takes(state_.step)) {
      step(next_of(rollouts));
      continue;
    }
    if (curriculum.takes(state_.seen.count)) {
      step(curriculum.next(state_.step, state_.seen.count));
      continue;
    }
    const TrainingBatch batch = batches.next();
    state_.at = batches.position();
    step(batch);
  }
  checkpoints_.wait();
  if (const std::string saved = written(); progress_ && !saved.empty())
    progress_({.stage = inputs_.stage,
               .unit = "tokens",
               .done = state_.seen.count,
               .total = options_.tokens,
               .detail = saved});
  return end();
}

void Trainer::begin() {
  if (options_.keep == "best" && (inputs_.held_out == nullptr || inputs_.checkpoint_directory.empty()))
    throw usage_error("distill.keep", "the best weights have no place to lie in, or nothing to be judged by",
                      "held_out_tokens, and a folder of checkpoints", "best");
  if (inputs_.resume)
    checkpoints_.restore(student_, reparameterized(), options_, state_);
  else
    checkpoints_.require_none();
  trained_ = trained_tensors(student_, reparameterized());
  if (trained_.empty()) throw usage_error("distill", "every part is frozen: there is nothing to train");
  if (options_.optimizer == "muon") by_muon_ = muon_matrices(student_.config, trained_);
  head_rows_ = muon_head_rows(student_.config, by_muon_);
  for (const auto& [name, tensor] : trained_) {
    if (!by_muon_.contains(name)) by_adamw_[name] = tensor;
    if (options_.ema > 0.0 && !state_.average.contains(name)) state_.average[name] = tensor.detach().clone();
  }
  learning_rate_ratios_ = learning_rate_ratios(reparameterized());
  make_effective(reparameterized(), student_, inputs_.threads);
  if (inputs_.on_step)
    for (const TrainStep& done : state_.history) inputs_.on_step(done);
}

TrainResult Trainer::end() {
  TrainResult result{
      .steps = state_.step,
      .tokens = state_.seen.count,
      .skipped_steps = std::count_if(state_.history.begin(), state_.history.end(),
                                     [](const TrainStep& step) { return step.skipped; }),
      .stopped_early = out_of_patience(),
      .history = state_.history,
      .gaps = gaps_of(kept_text()),
      .rollouts = {static_cast<int64_t>(state_.rollouts.begun), state_.rollouts.tokens, state_.rollouts.ended}};
  if (const auto best = best_look(state_.history); options_.keep == "best" && best) {
    checkpoints_.restore_best(student_, reparameterized(), best->step);
    result.best_step = best->step;
  } else if (options_.ema > 0.0) {
    take_turns_with_average();
  }
  return result;
}

Curriculum Trainer::curriculum_of_the_teacher() {
  const double until = options_.curriculum * static_cast<double>(options_.tokens);
  if (finished() || static_cast<double>(state_.seen.count) >= until) return {};
  return {*inputs_.data, learner_.teacher_losses(*inputs_.data, progress_), source_, options_, inputs_.seed};
}

bool Trainer::asked_in_steps() const {
  return source_ == SignalSource::Online || source_ == SignalSource::Aligned || asks_features(options_) ||
         options_.on_policy > 0.0 || options_.unsignalled == "online";
}

void Trainer::let_teacher_go() {
  learner_.forget_teacher();
  inputs_.teacher = nullptr;  // for the other ranks too
  if (inputs_.let_teacher_go) inputs_.let_teacher_go();
  give_back_freed_memory();
}

TrainingBatch Trainer::next_of(Rollouts& rollouts) {
  const Event now{.stage = inputs_.stage, .unit = "tokens", .done = state_.seen.count, .total = options_.tokens};
  checkpoints_.wait();  // it and the runtime would share the processors
  try {
    return rollouts.next(student_, state_.step, inside(progress_, now));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::Interrupted) throw;
    if (state_.step > 0) save();
    throw interrupted();
  }
}

LossTokens Trainer::kept_text() const {
  LossTokens kept = state_.seen;
  int64_t before = 0;
  for (const TrainStep& step : state_.history) {
    if (step.on_policy) kept.count -= step.tokens - before;
    before = step.tokens;
  }
  return kept;
}

void Trainer::step(const TrainingBatch& drawn) {
  const auto start = std::chrono::steady_clock::now();
  const TrainingBatch batch = signals_(drawn);
  const double of_teacher = taid_share(state_.taid, options_.loss_settings);
  BatchGradients gradients =
      shared_ ? shared_->gradients(learner_, batch, of_teacher) : learner_.gradients(batch, of_teacher);
  asked_to_stop_ = asked_to_stop_ || gradients.interrupted;
  pull_back(reparameterized(), gradients.of, inputs_.threads);
  TrainStep done{.step = state_.step,
                 .loss = gradients.loss,
                 .gradient_norm = global_norm(gradients.of, inputs_.threads),
                 .learning_rate = learning_rate_at(options_, state_.seen.count),
                 .parts = gradients.parts,
                 .agreement = gradients.agreement,
                 .on_policy = batch.by_student};
  judge(done);
  checkpoints_.wait_until_read();  // what is written lies in the tensors that change now
  if (!done.skipped) update(gradients.of, done);
  state_.seen += batch.tokens;
  ++state_.step;
  if (const auto taid = done.parts.find("taid"); taid != done.parts.end() && !done.skipped)
    advance_taid(state_.taid, options_.loss_settings, taid->second,
                 static_cast<double>(state_.seen.count) / static_cast<double>(options_.tokens));
  done.tokens = state_.seen.count;
  if (!batch.by_student) done.gaps = gaps_of(batch.tokens);
  const bool last = state_.seen.count >= options_.tokens;
  if (inputs_.held_out != nullptr && (last || state_.step % options_.held_out_every_steps == 0)) look(done);
  state_.history.push_back(done);
  if (inputs_.on_step) inputs_.on_step(done);
  tell(done, static_cast<double>(batch.tokens.count) /
                 std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
}

void Trainer::judge(TrainStep& done) {
  const StepVerdict verdict = judge_step(state_.history, done.loss, done.gradient_norm, options_.spike_factor);
  done.skipped = verdict != StepVerdict::Take;
  if (verdict != StepVerdict::Stop) return;
  const int64_t first = state_.step - not_finite_in_a_row(state_.history);
  const std::optional<int64_t> good = checkpoints_.drop_from(first);
  const std::string kept =
      good ? "; the weights before, of step " + std::to_string(*good) + ", are kept in " + inputs_.checkpoint_directory
           : "";
  throw Error(
      ErrorKind::Failure,
      {.where = "distill, step " + std::to_string(first),
       .what = "the loss is not finite, here and in the " + std::to_string(kMostNotFinite - 1) + " batches after it",
       .hint = (first == 0 ? "a model that is trained or taught from overflows" : "lower learning_rate") + kept});
}

void Trainer::update(const NamedTensors& gradients, const TrainStep& done) {
  const double scale = options_.clip_norm > 0.0 && done.gradient_norm > options_.clip_norm
                           ? options_.clip_norm / done.gradient_norm
                           : 1.0;
  muon_step(by_muon_, gradients, state_.optimizer.first,
            {done.learning_rate, options_.muon_momentum, options_.weight_decay,
             find_precision(options_.precision).value(), learning_rate_ratios_, head_rows_},
            scale, inputs_.threads);
  adamw_step(by_adamw_, gradients, state_.optimizer,
             {done.learning_rate, options_.beta1, options_.beta2, options_.epsilon, options_.weight_decay,
              learning_rate_ratios_},
             scale, inputs_.threads);
  if (options_.ema > 0.0)
    update_average(state_.average, trained_, average_decay(options_.ema, state_.optimizer.steps - 1), inputs_.threads);
  make_effective(reparameterized(), student_, inputs_.threads);
}

void Trainer::look(TrainStep& done) {
  const auto before = best_look(state_.history);
  if (options_.ema > 0.0) take_turns_with_average();
  done.held_out = learner_.loss_on(*inputs_.held_out);
  if (options_.keep == "best" && std::isfinite(*done.held_out) && (!before || *done.held_out < before->loss))
    checkpoints_.save_best(student_, reparameterized(), tokenizer_, done.step);
  if (options_.ema == 0.0) return;
  checkpoints_.wait_until_read();  // the best lie in the tensors that change back now
  take_turns_with_average();
}

std::string Trainer::written() {
  const auto done = checkpoints_.written();
  return done ? line_of("checkpoint of step %lld written in %.2f s", static_cast<long long>(done->step), done->seconds)
              : "";
}

std::string Trainer::remark_of(const TrainStep& done) const {
  if (done.skipped)
    return line_of("step %lld changes nothing: its loss is %.4g, its gradient's norm %.4g",
                   static_cast<long long>(done.step), done.loss, done.gradient_norm);
  if (out_of_patience())
    return line_of("stopped after step %lld: the loss on what is held out was lowest %lld looks ago",
                   static_cast<long long>(done.step), static_cast<long long>(options_.patience));
  return {};
}

void Trainer::tell(const TrainStep& done, double tokens_per_s) {
  const bool ends = finished();
  const bool due = options_.checkpoint_every_steps > 0 && state_.step % options_.checkpoint_every_steps == 0 && !ends &&
                   not_finite_in_a_row(state_.history) == 0;
  const std::string saved = written(), remark = remark_of(done);
  if (due) save();
  if (!progress_ && !asked_to_stop_) return;
  Event event{.stage = inputs_.stage,
              .unit = "tokens",
              .done = state_.seen.count,
              .total = options_.tokens,
              .message = remark,
              .detail = saved};
  event.metrics.push_back({"loss", done.loss});
  for (const auto& [name, value] : done.parts) event.metrics.push_back({name, value});
  if (done.agreement) event.metrics.push_back({"agreement", *done.agreement});
  if (done.held_out) event.metrics.push_back({"held_out", *done.held_out});
  if (done.gaps) event.metrics.push_back({"unsignalled", done.gaps->unsignalled});
  event.metrics.push_back({"gradient_norm", done.gradient_norm});
  event.metrics.push_back({"learning_rate", done.learning_rate});
  event.metrics.push_back({"tokens_per_s", tokens_per_s});
  event.metrics.push_back({"memory_mb", resident_mb()});
  if ((!progress_ || progress_(event) == Flow::GoOn) && !asked_to_stop_) return;
  if (!due && !ends) save();
  throw interrupted();
}

Error Trainer::interrupted() {
  checkpoints_.wait();
  return {ErrorKind::Interrupted,
          {.where = inputs_.stage,
           .what = "interrupted",
           .hint = inputs_.checkpoint_directory.empty() ? "" : "run again with --resume to go on"}};
}

}  // namespace attar
