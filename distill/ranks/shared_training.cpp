#include "distill/ranks/shared_training.h"

#include <ATen/ops/empty.h>

#include <cassert>
#include <exception>
#include <map>
#include <string>
#include <utility>

#include "compress/precision.h"
#include "compress/reparameterization.h"
#include "compress/shards.h"
#include "distill/features/feature_match.h"
#include "distill/pass/device.h"
#include "distill/ranks/message.h"
#include "runtime/base/error.h"

namespace attar {
namespace {

enum class Order { Train, Step, EndOfTraining, Leave };

// What the others make a training of, beside tensors.
struct Terms {
  ModelConfig student{}, teacher{};  // this without layers: there is none
  DistillOptions options{};
  SignalSource source = SignalSource::None;
  std::vector<int32_t> student_to_teacher{};
  std::vector<std::string> measured{}, frozen{};
  std::map<std::string, std::vector<int64_t>> projections{};  // shapes of what lies under kProjections
  std::vector<int64_t> teacher_head{};  // shape of TrainInputs::teacher_head; empty: there is none
};
void exchange_terms(Message& message, Terms& terms) {
  message.fields(terms.student, terms.teacher, terms.options, terms.source, terms.student_to_teacher, terms.measured,
                 terms.frozen, terms.projections, terms.teacher_head);
}

Message order(Order what) {
  Message message;
  message.field(what);
  return message;
}

void tell(Ranks& ranks, Message message) {
  ranks.broadcast(message.bytes());
}

// At the end of something, when who waits for it may have ended before.
void tell_last(Ranks& ranks, Order what) {
  if (ranks.lost()) return;
  try {
    tell(ranks, order(what));
    std::vector<double> heard{1.0};
    ranks.sum(heard);  // so that no connection closes before
  } catch (const std::exception&) {
  }
}

void hear_last(Ranks& ranks) {
  std::vector<double> heard{1.0};
  ranks.sum(heard);
}

std::pair<Order, Message> next_order(Ranks& ranks) {
  std::vector<char> bytes;
  ranks.broadcast(bytes);
  Message message(std::move(bytes));
  Order what{};
  message.field(what);
  return {what, std::move(message)};
}

bool stays(const std::string& tensor, const Reparameterizations* parts) {
  if (parts == nullptr) return false;
  const auto own = parts->find(tensor);
  return own != parts->end() && own->second.frozen();
}

// What a pass reads, the same in the same order at all ranks: what changes at each step, or what never does.
enum class Tensors { ThatMove, ThatStay };
void broadcast_tensors(Ranks& ranks, Tensors which, const CausalLM& student, const Reparameterizations* parts) {
  for (const auto& [name, tensor] : student.parameters)
    if (stays(name, parts) == (which == Tensors::ThatStay)) ranks.broadcast(tensor);
  if (which == Tensors::ThatStay || parts == nullptr || !parts->contains(kProjections)) return;
  for (const auto& [name, tensor] : parts->at(kProjections).parameters) ranks.broadcast(tensor);
}

// With room for its tensors.
CausalLM model_of(const ModelConfig& config) {
  CausalLM model;
  model.config = config;
  for (const TensorSpec& spec : tensor_specs(config)) model.parameters[spec.name] = at::empty(spec.shape, at::kFloat);
  return model;
}

void serve_steps(Ranks& ranks, Learner& learner, const CausalLM& student, const Reparameterizations& parts) {
  while (true) {
    auto [what, message] = next_order(ranks);
    if (what == Order::EndOfTraining) return hear_last(ranks);
    assert(what == Order::Step);
    TokenDataset data;
    TrainingBatch batch{.data = &data, .pieces = {}, .tokens = {}};
    double taid_share = 0.0;
    message.fields(data, batch.pieces, batch.tokens, batch.by_student, taid_share);
    broadcast_tensors(ranks, Tensors::ThatMove, student, &parts);
    learner.gradients(batch, taid_share);
  }
}

void serve_training(Ranks& ranks, Message message) {
  const OwnKernels own_kernels;
  Terms terms;
  exchange_terms(message, terms);
  const CausalLM student = model_of(terms.student), teacher = model_of(terms.teacher);
  Reparameterizations parts;
  for (const std::string& name : terms.frozen) parts[name] = {};
  for (const auto& [name, shape] : terms.projections)
    parts[kProjections].parameters[name] = at::empty(shape, at::kFloat);
  const at::Tensor head = terms.teacher_head.empty() ? at::Tensor() : at::empty(terms.teacher_head, at::kFloat);
  const TrainInputs inputs{.teacher = terms.teacher.layers.empty() ? nullptr : &teacher,
                           .student_to_teacher = terms.student_to_teacher,
                           .teacher_head = head,
                           .reparameterized = &parts,
                           .threads = ranks.threads(),
                           .ranks = &ranks,
                           .measured = terms.measured};
  broadcast_tensors(ranks, Tensors::ThatStay, student, &parts);
  for (const auto& [name, tensor] : teacher.parameters) ranks.broadcast(tensor);
  if (head.defined()) ranks.broadcast(head);
  Learner learner(student, inputs, terms.options, terms.source, pass_device(terms.options.device, ranks.local_rank()));
  serve_steps(ranks, learner, student, parts);
}

}  // namespace

SharedTraining::SharedTraining(const CausalLM& student, const TrainInputs& inputs, const DistillOptions& options,
                               SignalSource source)
    : SharedTraining(student, inputs) {  // so that the destructor runs where what follows throws
  Terms terms{.student = student.config,
              .options = options,
              .source = source,
              .student_to_teacher = inputs.student_to_teacher,
              .measured = inputs.measured};
  terms.options.device = device_here(options.device);  // auto is one, here and below
  terms.options.precision =
      precision_on(pass_device(options.device), options.precision) == Precision::Bf16 ? "bf16" : "fp32";
  if (inputs.teacher != nullptr) terms.teacher = inputs.teacher->config;
  if (inputs.teacher_head.defined()) terms.teacher_head = inputs.teacher_head.sizes().vec();
  if (inputs.reparameterized != nullptr)
    for (const auto& [name, part] : *inputs.reparameterized) {
      if (part.frozen()) terms.frozen.push_back(name);
      if (name != kProjections) continue;
      for (const auto& [projection, values] : part.parameters) terms.projections[projection] = values.sizes().vec();
    }
  Message message = order(Order::Train);
  exchange_terms(message, terms);
  tell(*inputs.ranks, std::move(message));
  broadcast_tensors(*inputs.ranks, Tensors::ThatStay, student, inputs.reparameterized);
  if (inputs.teacher != nullptr)
    for (const auto& [name, tensor] : inputs.teacher->parameters) inputs.ranks->broadcast(tensor);
  if (inputs.teacher_head.defined()) inputs.ranks->broadcast(inputs.teacher_head);
  between_calls_ = true;
}

SharedTraining::~SharedTraining() {
  if (!between_calls_) inputs_.ranks->leave_at_once();
  tell_last(*inputs_.ranks, Order::EndOfTraining);
}

BatchGradients SharedTraining::gradients(Learner& learner, const TrainingBatch& batch, double taid_share) {
  between_calls_ = false;
  TokenDataset data = batch.data->without_documents();
  TrainingBatch own = batch;  // whose pieces lie in those documents alone
  for (Piece& piece : own.pieces) {
    data.documents.push_back(batch.data->documents[static_cast<size_t>(piece.document)]);
    piece.document = static_cast<int64_t>(data.documents.size()) - 1;
  }
  Message message = order(Order::Step);
  message.fields(data, own.pieces, own.tokens, own.by_student, taid_share);
  tell(*inputs_.ranks, std::move(message));
  broadcast_tensors(*inputs_.ranks, Tensors::ThatMove, student_, inputs_.reparameterized);
  BatchGradients sum = learner.gradients(batch, taid_share);
  between_calls_ = true;
  return sum;
}

void serve_trainings(Ranks& ranks) {
  while (true) {
    auto [what, message] = next_order(ranks);
    if (what == Order::Train) {
      serve_training(ranks, std::move(message));
      continue;
    }
    assert(what == Order::Leave);
    return hear_last(ranks);
  }
}

void dismiss(Ranks& ranks) {
  tell_last(ranks, Order::Leave);
}

}  // namespace attar
