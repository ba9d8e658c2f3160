#include "distill/train.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <numbers>

#include "compress/shards.h"
#include "distill/adamw.h"
#include "distill/head_loss.h"
#include "distill/labels.h"
#include "distill/training_state.h"
#include "runtime/base/error.h"

namespace attar {
namespace {

// The sum of one loss over the rows that it is of.
struct LossSum {
  double sum = 0;
  int64_t rows = 0;
};

struct ShardResult {
  std::map<std::string, at::Tensor> gradients;
  double loss = 0;
  std::map<std::string, LossSum> sums;

  void add(const HeadLossResult& part) {
    loss += part.loss;
    for (const auto& [name, sum] : part.sums) sums[name].sum += sum, sums[name].rows += part.rows;
  }
};

// Linear warm-up over the first share of the tokens, then half a cosine down to the final ratio.
double learning_rate_at(const DistillOptions& options, int64_t tokens) {
  const double at = static_cast<double>(tokens) / static_cast<double>(options.tokens);
  if (at < options.warmup) return options.learning_rate * std::max(at / options.warmup, 0.1);
  const double share = std::min(1.0, (at - options.warmup) / std::max(1e-9, 1.0 - options.warmup));
  const double cosine = 0.5 * (1.0 + std::cos(std::numbers::pi * share));
  return options.learning_rate *
         (options.final_learning_rate_ratio + (1.0 - options.final_learning_rate_ratio) * cosine);
}

// The pieces of a step, dealt to the shards: each to the one with the fewest tokens so far.
std::vector<std::vector<Piece>> deal(const std::vector<Piece>& pieces, int64_t shards) {
  std::vector<std::vector<Piece>> hands(static_cast<size_t>(shards));
  std::vector<int64_t> held(hands.size(), 0);
  for (const Piece& piece : pieces) {
    const size_t least = static_cast<size_t>(std::min_element(held.begin(), held.end()) - held.begin());
    hands[least].push_back(piece);
    held[least] += piece.length;
  }
  std::erase_if(hands, [](const auto& hand) { return hand.empty(); });
  return hands;
}

LossTokens loss_tokens_of_all(const TokenDataset& data, SignalSource source) {
  std::vector<Piece> whole;
  for (size_t d = 0; d < data.documents.size(); ++d)
    whole.push_back({static_cast<int64_t>(d), 0, static_cast<int64_t>(data.documents[d].tokens.size())});
  return loss_tokens(data, whole, source);
}

bool asks_a_teacher(const DistillOptions& options) {
  return std::any_of(options.losses.begin(), options.losses.end(),
                     [](const auto& loss) { return loss.second != 0.0 && find_loss(loss.first)->needs_teacher; });
}

// Without the teacher's word: the losses that ask for it hand their weight to the text's own.
std::map<std::string, double> losses_of_the_text(const std::map<std::string, double>& losses) {
  std::map<std::string, double> out;
  for (const auto& [name, weight] : losses) out[find_loss(name)->needs_teacher ? "cross_entropy" : name] += weight;
  return out;
}

class Trainer {
 public:
  Trainer(CausalLM& student, const TokenizerData& tokenizer, const TrainInputs& inputs, const DistillOptions& options,
          const Progress& progress)
      : student_(student),
        tokenizer_(tokenizer),
        inputs_(inputs),
        options_(options),
        progress_(progress),
        source_(checked_source()),
        checkpoints_(inputs.checkpoint_directory,
                     inputs.checkpoint_directory.empty() ? "" : fingerprint_of(student, inputs, options)) {
    if (inputs.teacher == nullptr || source_ == SignalSource::None) return;
    teacher_head_ = inputs.teacher->head();
    if (!inputs.student_to_teacher.empty()) {  // the teacher's rows of the tokens that the student has
      const std::vector<int64_t> rows(inputs.student_to_teacher.begin(), inputs.student_to_teacher.end());
      teacher_head_ = teacher_head_.index_select(0, at::tensor(rows, at::kLong));
      teacher_ids_ = at::tensor(rows, at::kLong);
    }
  }

  TrainResult run() {
    if (inputs_.resume)
      checkpoints_.restore(student_, state_);
    else
      checkpoints_.require_none();
    if (inputs_.on_step)
      for (const TrainStep& done : state_.history) inputs_.on_step(done);
    std::vector<std::vector<Piece>> batches = batches_of(state_.epoch);
    require_loss_tokens(batches);
    while (state_.seen.count < options_.tokens) {
      if (state_.batch >= static_cast<int64_t>(batches.size())) {
        batches = batches_of(++state_.epoch);
        state_.batch = 0;
      }
      const std::vector<Piece>& pieces = batches[static_cast<size_t>(state_.batch++)];
      if (const LossTokens tokens = loss_tokens(*inputs_.data, pieces, source_); tokens.count > 0) step(pieces, tokens);
    }
    return {.steps = state_.step, .tokens = state_.seen.count, .history = state_.history, .gaps = gaps_of(state_.seen)};
  }

 private:
  SignalSource checked_source() const {
    const TokenDataset& data = *inputs_.data;
    if (options_.shards < 1)
      throw usage_error("distill.shards", "a step has at least one part", "1 or more", std::to_string(options_.shards));
    for (const auto& [name, weight] : options_.losses)
      if (find_loss(name) == nullptr)
        throw usage_error("distill.losses", "no such loss", "a name of losses()", printable(name));
    if (data.loss_token_count() == 0)
      throw input_error("distill", "the training data has no token to learn from",
                        "text, or chats with assistant turns");
    if (!asks_a_teacher(options_)) return SignalSource::None;
    const bool no_choice = options_.signal == "auto" && data.signal_k > 0 && inputs_.teacher == nullptr;
    if (no_choice || learns_from_cache(options_, data)) {
      check_cache();
      return SignalSource::Cached;
    }
    if (inputs_.teacher == nullptr)
      throw usage_error("distill.losses", "need a teacher, and there is none", "cross_entropy alone, or a teacher");
    return SignalSource::Online;
  }

  void check_cache() const {
    const TokenDataset& data = *inputs_.data;
    if (data.signal_k == 0)
      throw input_error("distill.signal", "the training data holds no teacher signal", "text that a teacher wrote", "",
                        "use signal: online");
    if (const int64_t bare = data.documents_without_signal(); bare > 0)
      throw input_error("distill.signal", "part of the training data holds no teacher signal",
                        "a signal in each of " + std::to_string(data.documents.size()) + " documents",
                        std::to_string(bare) + " without one", "use signal: online");
    if (options_.temperature != 1.0)
      throw usage_error("distill.temperature", "a cached signal holds the teacher at temperature 1", "1",
                        std::to_string(options_.temperature), "use signal: online");
    if (inputs_.teacher == nullptr && needs_teacher_beside(options_, data))
      throw usage_error("distill.unsignalled", "tokens without a signal need a teacher, and there is none",
                        "cross_entropy, or a teacher", options_.unsignalled);
  }

  std::vector<std::vector<Piece>> batches_of(int64_t epoch) const {
    return pack(*inputs_.data, options_.sequence_tokens, options_.batch_tokens, inputs_.seed, epoch);
  }

  // Rows that start a piece predict nothing from before it, so data may count loss tokens that no step reaches.
  void require_loss_tokens(const std::vector<std::vector<Piece>>& batches) const {
    for (const std::vector<Piece>& pieces : batches)
      if (loss_tokens(*inputs_.data, pieces, source_).count > 0) return;
    throw input_error("distill", "no token of the loss has one before it to be predicted from",
                      "documents of two tokens and more", "", "raise sequence_tokens");
  }

  std::optional<SignalGaps> gaps_of(const LossTokens& tokens) const {
    if (source_ != SignalSource::Cached) return std::nullopt;
    return SignalGaps{tokens.unsignalled_share(), tokens.mean_dropped_mass()};
  }

  DenseSignal ask_teacher(TokenBatch batch) const {
    const c10::NoGradGuard no_grad;
    if (teacher_ids_.defined()) batch.tokens = teacher_ids_.index_select(0, batch.tokens);
    return {forward_hidden(*inputs_.teacher, batch), teacher_head_};
  }

  // Loss and gradients of a shard's hidden states (N, C); the head's gradient is added into head_gradient (V, C).
  // -> (N, C)
  at::Tensor learn(const at::Tensor& hidden, const TokenBatch& batch, const Labels& labels, double denominator,
                   at::Tensor& head_gradient, ShardResult& result) const {
    HeadLossOptions options{.losses = options_.losses, .temperature = options_.temperature};
    TeacherSignal signal;
    if (source_ == SignalSource::Cached) signal = labels.signal;
    if (source_ == SignalSource::Online) signal = ask_teacher(batch);
    const at::Tensor head = student_.head().detach();
    const HeadLossResult taught =
        head_loss(hidden, head, labels.next, labels.signalled, signal, options, denominator, head_gradient);
    result.add(taught);
    if (!labels.unsignalled.any().item<bool>()) return taught.hidden_gradient;
    if (options_.unsignalled == "online")
      signal = ask_teacher(batch);
    else
      options.losses = losses_of_the_text(options_.losses);
    const HeadLossResult rest =
        head_loss(hidden, head, labels.next, labels.unsignalled, signal, options, denominator, head_gradient);
    result.add(rest);
    return taught.hidden_gradient + rest.hidden_gradient;
  }

  // Forward and backward of one shard on leaves of its own that share the parameters' memory.
  ShardResult run_shard(const std::vector<Piece>& pieces, double denominator) const {
    CausalLM leaves{student_.config, {}};
    for (const auto& [name, tensor] : student_.parameters)
      leaves.parameters[name] = tensor.detach().set_requires_grad(true);
    const TokenBatch batch = to_batch(*inputs_.data, pieces);
    const Labels labels = labels_of(*inputs_.data, pieces, source_);
    const c10::AutoGradMode grad(true);
    const at::Tensor hidden = forward_hidden(leaves, batch);
    at::Tensor head_gradient = at::zeros_like(student_.head());
    ShardResult result;
    hidden.backward(learn(hidden.detach(), batch, labels, denominator, head_gradient, result));
    for (const auto& [name, leaf] : leaves.parameters) result.gradients[name] = leaf.grad();
    at::Tensor& head =
        result.gradients[tensor_name(0, student_.config.tied_embeddings ? Role::Embedding : Role::Output)];
    if (head.defined())
      head.add_(head_gradient);
    else
      head = head_gradient;
    return result;
  }

  // Sums in shard order, one tensor after another.
  std::map<std::string, at::Tensor> added(std::vector<ShardResult>& shards) const {
    const c10::NoGradGuard no_grad;
    std::vector<std::string> names;
    for (const auto& [name, tensor] : student_.parameters) names.push_back(name);
    std::vector<at::Tensor> sums(names.size());
    run_shards(static_cast<int64_t>(names.size()), inputs_.threads, [&](int64_t i) {
      const std::string& name = names[static_cast<size_t>(i)];
      at::Tensor sum = shards[0].gradients.at(name);
      for (size_t s = 1; s < shards.size(); ++s) sum.add_(shards[s].gradients.at(name));
      sums[static_cast<size_t>(i)] = sum;
    });
    std::map<std::string, at::Tensor> gradients;
    for (size_t i = 0; i < names.size(); ++i) gradients[names[i]] = sums[i];
    return gradients;
  }

  void step(const std::vector<Piece>& pieces, const LossTokens& tokens) {
    const auto start = std::chrono::steady_clock::now();
    const std::vector<std::vector<Piece>> hands = deal(pieces, options_.shards);
    std::vector<ShardResult> shards(hands.size());
    run_shards(static_cast<int64_t>(hands.size()), inputs_.threads, [&](int64_t i) {
      shards[static_cast<size_t>(i)] = run_shard(hands[static_cast<size_t>(i)], static_cast<double>(tokens.count));
    });
    TrainStep done{.step = state_.step, .learning_rate = learning_rate_at(options_, state_.seen.count)};
    std::map<std::string, LossSum> sums;
    for (const ShardResult& shard : shards) {
      done.loss += shard.loss;
      for (const auto& [name, part] : shard.sums) sums[name].sum += part.sum, sums[name].rows += part.rows;
    }
    for (const auto& [name, part] : sums)
      if (part.rows > 0) done.parts[name] = part.sum / static_cast<double>(part.rows);
    update(shards, done);
    state_.seen += tokens;
    ++state_.step;
    done.tokens = state_.seen.count;
    done.gaps = gaps_of(tokens);
    state_.history.push_back(done);
    if (inputs_.on_step) inputs_.on_step(done);
    tell(done, static_cast<double>(tokens.count) /
                   std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }

  void update(std::vector<ShardResult>& shards, TrainStep& done) {
    const std::map<std::string, at::Tensor> gradients = added(shards);
    done.gradient_norm = global_norm(gradients, inputs_.threads);
    if (!std::isfinite(done.loss) || !std::isfinite(done.gradient_norm))
      throw Error(ErrorKind::Failure, {.where = "distill, step " + std::to_string(state_.step),
                                       .what = "the loss is not finite",
                                       .hint = state_.step == 0 ? "a model that is trained or taught from overflows"
                                                                : "lower learning_rate"});
    const double scale = options_.clip_norm > 0.0 && done.gradient_norm > options_.clip_norm
                             ? options_.clip_norm / done.gradient_norm
                             : 1.0;
    adamw_step(student_.parameters, gradients, state_.optimizer,
               {done.learning_rate, options_.beta1, options_.beta2, options_.epsilon, options_.weight_decay}, scale,
               inputs_.threads);
  }

  // Writes a checkpoint and returns what the log says of it.
  std::string save() const {
    const auto start = std::chrono::steady_clock::now();
    checkpoints_.save(student_, tokenizer_, state_);
    char line[80];
    std::snprintf(line, sizeof line, "checkpoint of step %lld written in %.2f s", static_cast<long long>(state_.step),
                  std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    return line;
  }

  // Reports, and writes a checkpoint when it is time or the caller stops.
  void tell(const TrainStep& done, double tokens_per_s) {
    const bool finished = state_.seen.count >= options_.tokens;
    const bool due =
        options_.checkpoint_every_steps > 0 && state_.step % options_.checkpoint_every_steps == 0 && !finished;
    const std::string written = due ? save() : "";
    if (!progress_) return;
    Event event{.stage = "distill",
                .unit = "tokens",
                .done = std::min(state_.seen.count, options_.tokens),
                .total = options_.tokens,
                .detail = written};
    for (const auto& [name, value] : done.parts) event.metrics.push_back({name, value});
    if (done.gaps) event.metrics.push_back({"unsignalled", done.gaps->unsignalled});
    event.metrics.push_back({"gradient_norm", done.gradient_norm});
    event.metrics.push_back({"learning_rate", done.learning_rate});
    event.metrics.push_back({"tokens_per_s", tokens_per_s});
    if (progress_(event) == Flow::GoOn) return;
    if (!due && !finished) save();
    throw Error(ErrorKind::Interrupted,
                {.where = "distill",
                 .what = "interrupted",
                 .hint = inputs_.checkpoint_directory.empty() ? "" : "run again with --resume to go on"});
  }

  CausalLM& student_;
  const TokenizerData& tokenizer_;
  const TrainInputs& inputs_;
  const DistillOptions& options_;
  const Progress& progress_;
  const SignalSource source_;
  const TrainingCheckpoints checkpoints_;
  at::Tensor teacher_head_, teacher_ids_;
  TrainingState state_;
};

}  // namespace

bool learns_from_cache(const DistillOptions& options, const TokenDataset& data) {
  return options.signal == "cached" || (options.signal == "auto" && options.temperature == 1.0 && data.signal_k > 0 &&
                                        data.documents_without_signal() == 0);
}

bool needs_teacher_beside(const DistillOptions& options, const TokenDataset& data) {
  if (!asks_a_teacher(options)) return false;
  if (!learns_from_cache(options, data)) return true;
  return options.unsignalled == "online" && loss_tokens_of_all(data, SignalSource::Cached).unsignalled > 0;
}

DistillOptions with_sequence_tokens(DistillOptions options, int64_t context_tokens) {
  constexpr int64_t kUsual = 512;
  if (options.sequence_tokens == 0) options.sequence_tokens = std::min(kUsual, context_tokens);
  return options;
}

TrainResult train(CausalLM& student, const TokenizerData& tokenizer, const TrainInputs& inputs,
                  const DistillOptions& given, const Progress& progress) {
  const OneThread one_thread;
  const DistillOptions options = with_sequence_tokens(given, student.config.context_length);
  if (inputs.data->longest_tokens() <= options.sequence_tokens)
    return Trainer(student, tokenizer, inputs, options, progress).run();
  const TokenDataset cut = cut_documents(*inputs.data, options.sequence_tokens);
  TrainInputs of_cut = inputs;
  of_cut.data = &cut;
  return Trainer(student, tokenizer, of_cut, options, progress).run();
}

}  // namespace attar
