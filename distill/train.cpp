#include "distill/train.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <numbers>
#include <span>

#include "compress/checkpoint.h"
#include "compress/shards.h"
#include "distill/adamw.h"
#include "distill/head_loss.h"
#include "runtime/base/error.h"
#include "runtime/base/sha256.h"

namespace attar {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr size_t kKeptCheckpoints = 2;

// Where a run stands; with the model and the moments all that the next step needs.
struct Cursor {
  int64_t step = 0, tokens = 0, epoch = 0, batch = 0;
};

struct ShardResult {
  std::map<std::string, at::Tensor> gradients;
  double loss = 0;
  std::map<std::string, double> parts;
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

int64_t loss_tokens(const TokenDataset& data, const std::vector<Piece>& pieces) {
  int64_t count = 0;
  for (const Piece& piece : pieces)
    for (int64_t i = 1; i < piece.length; ++i)
      count += data.documents[static_cast<size_t>(piece.document)].in_loss[static_cast<size_t>(piece.begin + i)];
  return count;
}

// Row i predicts token i + 1 of its piece. The last row of a piece predicts nothing.
struct Labels {
  at::Tensor next;     // (N) int64
  at::Tensor in_loss;  // (N) bool
  TopKSignal signal;   // rows are those that predict
};

Labels labels_of(const TokenDataset& data, const std::vector<Piece>& pieces, int64_t n, bool with_signal) {
  Labels labels{at::zeros({n}, at::kLong), at::zeros({n}, at::kBool), {}};
  const int64_t k = with_signal ? data.signal_k : 0;
  if (k > 0)
    labels.signal = {at::full({n, k}, -1, at::kLong),
                     at::full({n, k}, -std::numeric_limits<float>::infinity(), at::kFloat)};
  auto* next = labels.next.data_ptr<int64_t>();
  auto* in_loss = labels.in_loss.data_ptr<bool>();
  int64_t row = 0;
  for (const Piece& piece : pieces) {
    const TokenDocument& document = data.documents[static_cast<size_t>(piece.document)];
    for (int64_t i = 0; i + 1 < piece.length; ++i) {
      const auto at = static_cast<size_t>(piece.begin + i + 1);
      next[row + i] = document.tokens[at];
      in_loss[row + i] = document.in_loss[at] != 0;
      if (k == 0 || document.signal_ids.empty()) continue;
      for (int64_t j = 0; j < k; ++j) {
        const size_t entry = at * static_cast<size_t>(k) + static_cast<size_t>(j);
        labels.signal.ids.data_ptr<int64_t>()[(row + i) * k + j] = document.signal_ids[entry];
        labels.signal.log_probs.data_ptr<float>()[(row + i) * k + j] = document.signal_log_probs[entry];
      }
    }
    row += piece.length;
  }
  return labels;
}

// What was killed while it wrote a checkpoint left its files aside; nobody else writes here.
void sweep_asides(const std::string& directory) {
  if (!fs::is_directory(directory)) return;
  std::vector<fs::path> asides;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("step-", 0) == 0 &&
        (name.find(".tmp-") != std::string::npos || name.find(".old-") != std::string::npos))
      asides.push_back(entry.path());
  }
  for (const fs::path& path : asides) fs::remove_all(path);
}

template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span<const T>(values));
}

class Trainer {
 public:
  Trainer(CausalLM& student, const TokenizerData& tokenizer, const TrainInputs& inputs, const DistillOptions& options,
          const Progress& progress)
      : student_(student), tokenizer_(tokenizer), inputs_(inputs), options_(options), progress_(progress) {
    check();
    if (!inputs.checkpoint_directory.empty()) fingerprint_ = fingerprint();
    if (inputs.teacher != nullptr && online_) {
      teacher_head_ = inputs.teacher->head();
      if (!inputs.student_to_teacher.empty()) {  // the teacher's rows of the tokens that the student has
        const std::vector<int64_t> rows(inputs.student_to_teacher.begin(), inputs.student_to_teacher.end());
        teacher_head_ = teacher_head_.index_select(0, at::tensor(rows, at::kLong));
        teacher_ids_ = at::tensor(rows, at::kLong);
      }
    }
  }

  TrainResult run() {
    sweep_asides(inputs_.checkpoint_directory);
    if (inputs_.resume) restore();
    if (inputs_.on_step)
      for (const TrainStep& done : history_) inputs_.on_step(done);
    std::vector<std::vector<Piece>> batches = batches_of(cursor_.epoch);
    require_loss_tokens(batches);
    while (cursor_.tokens < options_.tokens) {
      if (cursor_.batch >= static_cast<int64_t>(batches.size())) {
        batches = batches_of(++cursor_.epoch);
        cursor_.batch = 0;
      }
      const std::vector<Piece>& pieces = batches[static_cast<size_t>(cursor_.batch++)];
      if (const int64_t count = loss_tokens(*inputs_.data, pieces); count > 0) step(pieces, count);
    }
    return {cursor_.step, cursor_.tokens, history_};
  }

 private:
  void check() {
    const TokenDataset& data = *inputs_.data;
    if (options_.shards < 1)
      throw usage_error("distill.shards", "a step has at least one part", "1 or more", std::to_string(options_.shards));
    for (const auto& [name, weight] : options_.losses)
      if (find_loss(name) == nullptr)
        throw usage_error("distill.losses", "no such loss", "a name of losses()", printable(name));
    if (data.loss_token_count() == 0)
      throw input_error("distill", "the training data has no token to learn from",
                        "text, or chats with assistant turns");
    bool needs_teacher = false;
    for (const auto& [name, weight] : options_.losses) needs_teacher |= weight != 0.0 && find_loss(name)->needs_teacher;
    const int64_t bare = data.documents_without_signal();
    const bool no_choice = options_.signal == "auto" && data.signal_k > 0 && inputs_.teacher == nullptr;
    cached_ = needs_teacher && (no_choice || learns_from_cache(options_, data));
    online_ = needs_teacher && !cached_;
    if (cached_ && data.signal_k == 0)
      throw input_error("distill.signal", "the training data holds no teacher signal", "text that a teacher wrote", "",
                        "use signal: online");
    if (cached_ && bare > 0)
      throw input_error("distill.signal", "part of the training data holds no teacher signal",
                        "a signal in each of " + std::to_string(data.documents.size()) + " documents",
                        std::to_string(bare) + " without one", "use signal: online");
    if (cached_ && options_.temperature != 1.0)
      throw usage_error("distill.temperature", "a cached signal holds the teacher at temperature 1", "1",
                        std::to_string(options_.temperature), "use signal: online");
    if (online_ && inputs_.teacher == nullptr)
      throw usage_error("distill.losses", "need a teacher, and there is none", "cross_entropy alone, or a teacher");
  }

  std::vector<std::vector<Piece>> batches_of(int64_t epoch) const {
    return pack(*inputs_.data, options_.sequence_tokens, options_.batch_tokens, inputs_.seed, epoch);
  }

  // Rows that start a piece predict nothing from before it, so data may count loss tokens that no step reaches.
  void require_loss_tokens(const std::vector<std::vector<Piece>>& batches) const {
    for (const std::vector<Piece>& pieces : batches)
      if (loss_tokens(*inputs_.data, pieces) > 0) return;
    throw input_error("distill", "no token of the loss has one before it to be predicted from",
                      "documents of two tokens and more", "", "raise sequence_tokens");
  }

  // Forward and backward of one shard on leaves of its own that share the parameters' memory.
  ShardResult run_shard(const std::vector<Piece>& pieces, double denominator) const {
    CausalLM leaves{student_.config, {}};
    for (const auto& [name, tensor] : student_.parameters)
      leaves.parameters[name] = tensor.detach().set_requires_grad(true);
    const TokenBatch batch = to_batch(*inputs_.data, pieces);
    const Labels labels = labels_of(*inputs_.data, pieces, batch.tokens.size(0), cached_);
    TeacherSignal signal;
    if (cached_) signal = labels.signal;
    if (online_) {
      const c10::NoGradGuard no_grad;
      TokenBatch seen = batch;
      if (teacher_ids_.defined()) seen.tokens = teacher_ids_.index_select(0, batch.tokens);
      signal = DenseSignal{forward_hidden(*inputs_.teacher, seen), teacher_head_};
    }
    const c10::AutoGradMode grad(true);
    const at::Tensor hidden = forward_hidden(leaves, batch);
    at::Tensor head_gradient = at::zeros_like(student_.head());
    HeadLossOptions head_options;
    head_options.losses = options_.losses;
    head_options.temperature = options_.temperature;
    const HeadLossResult loss = head_loss(hidden.detach(), student_.head().detach(), labels.next, labels.in_loss,
                                          signal, head_options, denominator, head_gradient);
    hidden.backward(loss.hidden_gradient);
    ShardResult result{{}, loss.loss, loss.parts};
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

  void step(const std::vector<Piece>& pieces, int64_t count) {
    const auto start = std::chrono::steady_clock::now();
    const std::vector<std::vector<Piece>> hands = deal(pieces, options_.shards);
    std::vector<ShardResult> shards(hands.size());
    run_shards(static_cast<int64_t>(hands.size()), inputs_.threads, [&](int64_t i) {
      shards[static_cast<size_t>(i)] = run_shard(hands[static_cast<size_t>(i)], static_cast<double>(count));
    });
    TrainStep done{.step = cursor_.step,
                   .tokens = 0,
                   .loss = 0,
                   .gradient_norm = 0,
                   .learning_rate = learning_rate_at(options_, cursor_.tokens),
                   .parts = {}};
    for (const ShardResult& shard : shards) {
      done.loss += shard.loss;
      for (const auto& [name, value] : shard.parts) done.parts[name] += value;
    }
    const std::map<std::string, at::Tensor> gradients = added(shards);
    done.gradient_norm = global_norm(gradients, inputs_.threads);
    if (!std::isfinite(done.loss) || !std::isfinite(done.gradient_norm))
      throw Error(ErrorKind::Failure, {.where = "distill, step " + std::to_string(cursor_.step),
                                       .what = "the loss is not finite",
                                       .hint = cursor_.step == 0 ? "a model that is trained or taught from overflows"
                                                                 : "lower learning_rate"});
    const double scale = options_.clip_norm > 0.0 && done.gradient_norm > options_.clip_norm
                             ? options_.clip_norm / done.gradient_norm
                             : 1.0;
    adamw_step(student_.parameters, gradients, optimizer_,
               {done.learning_rate, options_.beta1, options_.beta2, options_.epsilon, options_.weight_decay}, scale,
               inputs_.threads);
    cursor_.tokens += count;
    ++cursor_.step;
    done.tokens = cursor_.tokens;
    history_.push_back(done);
    if (inputs_.on_step) inputs_.on_step(done);
    tell(done,
         static_cast<double>(count) / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }

  // Reports, and writes a checkpoint when it is time or the caller stops.
  void tell(const TrainStep& done, double tokens_per_s) {
    const bool finished = cursor_.tokens >= options_.tokens;
    const bool due =
        options_.checkpoint_every_steps > 0 && cursor_.step % options_.checkpoint_every_steps == 0 && !finished;
    if (due) save();
    if (!progress_) return;
    Event event{.stage = "distill",
                .unit = "tokens",
                .done = std::min(cursor_.tokens, options_.tokens),
                .total = options_.tokens};
    for (const auto& [name, value] : done.parts) event.metrics.push_back({name, value});
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

  // Of all that decides the weights: options, seed, the teacher, the student, every token and signal.
  std::string fingerprint() const {
    DistillOptions copy = options_;
    std::string text = std::to_string(inputs_.seed) + inputs_.data->tokenizer_hash + inputs_.teacher_hash;
    if (!inputs_.student_hash.empty()) text += ";student=" + inputs_.student_hash;
    visit_fields(copy, [&](auto& value, const char* name, const char*) {
      text += std::string(";") + name + "=" + Json(value).dump();
    });
    for (const auto& [name, tensor] : student_.parameters) text += ";" + name + Json(tensor.sizes().vec()).dump();
    Sha256 hash;
    hash.add(text);
    for (const TokenDocument& document : inputs_.data->documents) {
      hash.add(";" + std::to_string(document.tokens.size()));
      for (const auto& bytes : {bytes_of(document.tokens), bytes_of(document.in_loss), bytes_of(document.signal_ids),
                                bytes_of(document.signal_log_probs)})
        hash.add(bytes);
    }
    return hash.hex();
  }

  void save() {
    if (inputs_.checkpoint_directory.empty()) return;
    std::map<std::string, at::Tensor> extra;
    for (const auto& [name, tensor] : optimizer_.first) extra["first." + name] = tensor;
    for (const auto& [name, tensor] : optimizer_.second) extra["second." + name] = tensor;
    Json history = Json::array();
    for (const TrainStep& step : history_)
      history.push_back({step.step, step.tokens, step.loss, step.gradient_norm, step.learning_rate, step.parts});
    const Json state = {{"step", cursor_.step},
                        {"tokens", cursor_.tokens},
                        {"epoch", cursor_.epoch},
                        {"batch", cursor_.batch},
                        {"optimizer_steps", optimizer_.steps},
                        {"options", fingerprint_},
                        {"history", history}};
    write_checkpoint(inputs_.checkpoint_directory + "/step-" + std::to_string(cursor_.step), student_, tokenizer_, {},
                     extra, state.dump());
    const std::vector<int64_t> steps = saved_steps();
    for (size_t i = 0; i + kKeptCheckpoints < steps.size(); ++i)
      fs::remove_all(inputs_.checkpoint_directory + "/step-" + std::to_string(steps[i]));
  }

  std::vector<int64_t> saved_steps() const {
    std::vector<int64_t> steps;
    if (!fs::is_directory(inputs_.checkpoint_directory)) return steps;
    for (const fs::directory_entry& entry : fs::directory_iterator(inputs_.checkpoint_directory)) {
      const std::string name = entry.path().filename().string();
      if (name.rfind("step-", 0) == 0 && name.find_first_not_of("0123456789", 5) == std::string::npos)
        steps.push_back(std::stoll(name.substr(5)));
    }
    std::sort(steps.begin(), steps.end());
    return steps;
  }

  void restore() {
    const std::vector<int64_t> steps = saved_steps();
    if (steps.empty()) return;
    Checkpoint checkpoint = read_checkpoint(inputs_.checkpoint_directory + "/step-" + std::to_string(steps.back()));
    const Json state = Json::parse(checkpoint.state_json);
    if (state.at("options") != fingerprint_)
      throw usage_error(inputs_.checkpoint_directory, "holds checkpoints of other options, data or models", "", "",
                        "delete them or use another folder");
    student_.parameters = std::move(checkpoint.model.parameters);
    for (const auto& [name, tensor] : checkpoint.extra)
      (name.rfind("first.", 0) == 0 ? optimizer_.first : optimizer_.second)[name.substr(name.find('.') + 1)] = tensor;
    optimizer_.steps = state.at("optimizer_steps");
    cursor_ = {state.at("step"), state.at("tokens"), state.at("epoch"), state.at("batch")};
    for (const Json& h : state.at("history"))
      history_.push_back({h[0], h[1], h[2], h[3], h[4], h[5].get<std::map<std::string, double>>()});
  }

  CausalLM& student_;
  const TokenizerData& tokenizer_;
  const TrainInputs& inputs_;
  const DistillOptions& options_;
  const Progress& progress_;
  bool cached_ = false, online_ = false;
  std::string fingerprint_;  // empty: no checkpoints
  at::Tensor teacher_head_, teacher_ids_;
  Cursor cursor_;
  AdamWState optimizer_;
  std::vector<TrainStep> history_;
};

}  // namespace

bool learns_from_cache(const DistillOptions& options, const TokenDataset& data) {
  return options.signal == "cached" || (options.signal == "auto" && options.temperature == 1.0 && data.signal_k > 0 &&
                                        data.documents_without_signal() == 0);
}

TrainResult train(CausalLM& student, const TokenizerData& tokenizer, const TrainInputs& inputs,
                  const DistillOptions& options, const Progress& progress) {
  return Trainer(student, tokenizer, inputs, options, progress).run();
}

}  // namespace attar
