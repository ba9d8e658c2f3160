#include "distill/learner.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "compress/shards.h"
#include "distill/loss.h"

namespace attar {
namespace {

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

// Without the teacher's word: the losses that ask for it hand their weight to the text's own.
std::map<std::string, double> losses_of_the_text(const std::map<std::string, double>& losses) {
  std::map<std::string, double> out;
  for (const auto& [name, weight] : losses) out[find_loss(name)->needs_teacher ? "cross_entropy" : name] += weight;
  return out;
}

}  // namespace

struct Learner::Part {
  // One loss over the rows that it is of.
  struct LossSum {
    double sum = 0;
    int64_t rows = 0;
    void add(const LossSum& other) { sum += other.sum, rows += other.rows; }
  };

  NamedTensors gradients;
  at::Tensor head_gradient;  // (V, C) of the head as the losses see it
  double loss = 0;
  std::map<std::string, LossSum> sums;

  void add(const HeadLossResult& result) {
    loss += result.loss;
    for (const auto& [name, sum] : result.sums) sums[name].add({sum, result.rows});
  }
};

Learner::Learner(const TrainInputs& inputs, const DistillOptions& options, SignalSource source)
    : inputs_(inputs), options_(options), source_(source), precision_(find_precision(options.precision).value()) {
  if (inputs.teacher == nullptr || source == SignalSource::None) return;
  teacher_head_ = inputs.teacher->head();
  if (inputs.student_to_teacher.empty()) return;
  const std::vector<int64_t> rows(inputs.student_to_teacher.begin(), inputs.student_to_teacher.end());
  teacher_ids_ = at::tensor(rows, at::kLong);
  teacher_head_ = teacher_head_.index_select(0, teacher_ids_);
}

BatchGradients Learner::gradients(const CausalLM& student, const TrainingBatch& batch) const {
  const std::vector<std::vector<Piece>> hands = deal(batch.pieces, options_.shards);
  std::vector<Part> parts(hands.size());
  run_shards(static_cast<int64_t>(hands.size()), inputs_.threads, [&](int64_t i) {
    parts[static_cast<size_t>(i)] = run_part(student, batch, hands[static_cast<size_t>(i)]);
  });
  BatchGradients out;
  std::map<std::string, Part::LossSum> sums;
  for (const Part& part : parts) {
    out.loss += part.loss;
    for (const auto& [name, sum] : part.sums) sums[name].add(sum);
  }
  for (const auto& [name, sum] : sums)
    if (sum.rows > 0) out.parts[name] = sum.sum / static_cast<double>(sum.rows);
  out.of = added(parts);
  return out;
}

double Learner::loss_on(const CausalLM& student, const TokenDataset& data) const {
  const std::vector<std::vector<Piece>> batches = pack(data, options_.sequence_tokens, options_.batch_tokens, 0, 0);
  std::vector<double> losses(batches.size());
  std::vector<int64_t> counts(batches.size());
  run_shards(static_cast<int64_t>(batches.size()), inputs_.threads, [&](int64_t i) {
    const c10::NoGradGuard no_grad;
    const std::vector<Piece>& pieces = batches[static_cast<size_t>(i)];
    const TokenBatch tokens = to_batch(data, pieces);
    Part part;
    learn(hidden_states(student, tokens), student.head(), tokens, labels_of(data, pieces, source_), 1.0, part);
    losses[static_cast<size_t>(i)] = part.loss;
    counts[static_cast<size_t>(i)] = loss_tokens(data, pieces, source_).count;
  });
  return std::accumulate(losses.begin(), losses.end(), 0.0) /
         static_cast<double>(std::accumulate(counts.begin(), counts.end(), int64_t{0}));
}

// Forward and backward of one part on leaves of its own that share the parameters' memory.
Learner::Part Learner::run_part(const CausalLM& student, const TrainingBatch& batch,
                                const std::vector<Piece>& pieces) const {
  CausalLM leaves{student.config, {}};
  for (const auto& [name, tensor] : student.parameters)
    leaves.parameters[name] = tensor.detach().set_requires_grad(!frozen(name));
  const TokenBatch tokens = to_batch(*batch.data, pieces);
  const Labels labels = labels_of(*batch.data, pieces, source_);
  const c10::AutoGradMode grad(true);
  const at::Tensor hidden = hidden_states(leaves, tokens);
  Part part;
  const std::string head_name = tensor_name(0, student.config.tied_embeddings ? Role::Embedding : Role::Output);
  if (!frozen(head_name)) part.head_gradient = at::zeros_like(student.head());
  const at::Tensor hidden_gradient =
      learn(hidden.detach(), student.head().detach(), tokens, labels, static_cast<double>(batch.tokens.count), part);
  if (hidden.requires_grad()) hidden.backward(hidden_gradient);
  for (const auto& [name, leaf] : leaves.parameters)
    if (!frozen(name)) part.gradients[name] = leaf.grad();
  if (frozen(head_name)) return part;
  at::Tensor& head = part.gradients[head_name];
  if (const at::Tensor by_losses = std::move(part.head_gradient); head.defined())
    head.add_(by_losses);
  else
    head = by_losses;
  return part;
}

// Losses of a part's hidden states (N, C) and their gradient by them; that by the head (V, C) is added to the part's.
// -> (N, C)
at::Tensor Learner::learn(const at::Tensor& hidden, const at::Tensor& head, const TokenBatch& batch,
                          const Labels& labels, double denominator, Part& part) const {
  HeadLossOptions options{.losses = options_.losses, .temperature = options_.temperature, .precision = precision_};
  TeacherSignal signal;
  if (source_ == SignalSource::Cached) signal = labels.signal;
  if (source_ == SignalSource::Online) signal = ask_teacher(batch);
  const HeadLossResult taught =
      head_loss(hidden, head, labels.next, labels.signalled, signal, options, denominator, part.head_gradient);
  part.add(taught);
  if (!labels.unsignalled.any().item<bool>()) return taught.hidden_gradient;
  if (options_.unsignalled == "online")
    signal = ask_teacher(batch);
  else
    options.losses = losses_of_the_text(options_.losses);
  const HeadLossResult rest =
      head_loss(hidden, head, labels.next, labels.unsignalled, signal, options, denominator, part.head_gradient);
  part.add(rest);
  return taught.hidden_gradient + rest.hidden_gradient;
}

DenseSignal Learner::ask_teacher(TokenBatch batch) const {
  const c10::NoGradGuard no_grad;
  if (teacher_ids_.defined()) batch.tokens = teacher_ids_.index_select(0, batch.tokens);
  return {hidden_states(*inputs_.teacher, batch), teacher_head_};
}

at::Tensor Learner::hidden_states(const CausalLM& model, const TokenBatch& batch) const {
  const ProductsIn products(precision_);
  return forward_hidden(model, batch);
}

// Sums in the order of the parts, one tensor after another.
NamedTensors Learner::added(std::vector<Part>& parts) const {
  const c10::NoGradGuard no_grad;
  std::vector<std::string> names;
  for (const auto& [name, tensor] : parts[0].gradients) names.push_back(name);
  std::vector<at::Tensor> sums(names.size());
  run_shards(static_cast<int64_t>(names.size()), inputs_.threads, [&](int64_t i) {
    const std::string& name = names[static_cast<size_t>(i)];
    at::Tensor sum = parts[0].gradients.at(name);
    for (size_t p = 1; p < parts.size(); ++p) sum.add_(parts[p].gradients.at(name));
    sums[static_cast<size_t>(i)] = sum;
  });
  NamedTensors gradients;
  for (size_t i = 0; i < names.size(); ++i) gradients[names[i]] = sums[i];
  return gradients;
}

bool Learner::frozen(const std::string& tensor) const {
  if (inputs_.reparameterized == nullptr) return false;
  const auto own = inputs_.reparameterized->find(tensor);
  return own != inputs_.reparameterized->end() && own->second.frozen();
}

}  // namespace attar
