#include "distill/learner.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <vector>

#include "compress/dataset/signal_store.h"
#include "distill/losses/loss_term.h"
#include "distill/ranks/ranks.h"
#include "runtime/base/error.h"

namespace attar {
namespace {

// The documents of a step in order, in slices of at most kSliceTokens, or of one document.
std::vector<std::vector<Piece>> slices_of(const std::vector<Piece>& pieces) {
  std::vector<std::vector<Piece>> slices;
  int64_t held = 0;
  for (const Piece& piece : pieces) {
    if (slices.empty() || held + piece.length > kSliceTokens) slices.emplace_back(), held = 0;
    slices.back().push_back(piece);
    held += piece.length;
  }
  return slices;
}

int64_t tokens_of(const Piece& piece) {
  return piece.length;
}
int64_t tokens_of(const std::vector<Piece>& slice) {
  int64_t tokens = 0;
  for (const Piece& piece : slice) tokens += piece.length;
  return tokens;
}

// Of the documents or slices of a step those of one rank: where the middle of one lies among the tokens says whose it
// is.
template <class Part>
std::vector<Part> share_of(const Ranks& ranks, const std::vector<Part>& parts) {
  int64_t all = 0, before = 0;
  for (const Part& part : parts) all += tokens_of(part);
  std::vector<Part> own;
  for (const Part& part : parts) {
    const int64_t tokens = tokens_of(part);
    if ((2 * before + tokens) * ranks.size() / (2 * all) == ranks.rank()) own.push_back(part);
    before += tokens;
  }
  return own;
}

// Without the teacher's word: the losses that ask for it hand their weight to the text's own.
std::vector<LossTerm> terms_of_the_text(const DistillOptions& options) {
  std::map<std::string, double> weights;
  for (const auto& [name, weight] : options.losses)
    weights[find_loss(name)->needs_teacher ? "cross_entropy" : name] += weight;
  return loss_terms(weights, options.loss_settings, 1.0, 1.0);
}

// Of so many tokens of the loss those that count: a share, at least one.
int64_t chosen_of(int64_t count, double share) {
  return static_cast<int64_t>(std::ceil(share * static_cast<double>(count)));
}

// Leaves in the labels the rows of highest entropy, the first of equals.
void keep_unsure(Labels& labels, const at::Tensor& entropies, double share) {
  const auto* entropy = entropies.const_data_ptr<float>();
  auto *signalled = labels.signalled.data_ptr<bool>(), *unsignalled = labels.unsignalled.data_ptr<bool>();
  std::vector<int64_t> rows;
  for (int64_t r = 0; r < labels.next.size(0); ++r)
    if (signalled[r] || unsignalled[r]) rows.push_back(r);
  std::stable_sort(rows.begin(), rows.end(), [&](int64_t a, int64_t b) { return entropy[a] > entropy[b]; });
  const int64_t count = chosen_of(static_cast<int64_t>(rows.size()), share);
  for (size_t i = static_cast<size_t>(count); i < rows.size(); ++i) signalled[rows[i]] = unsignalled[rows[i]] = false;
}

// Of what the student wrote: the losses that ask the teacher.
std::map<std::string, double> weights_of_the_teacher(const DistillOptions& options) {
  std::map<std::string, double> weights;
  for (const auto& [name, weight] : options.losses)
    if (find_loss(name)->needs_teacher) weights[name] = weight;
  return weights;
}

// Those that no term is of, at weight 0 and temperature 1.
void add_measured(std::vector<LossTerm>& terms, const std::vector<std::string>& measured) {
  for (const std::string& name : measured) {
    if (std::any_of(terms.begin(), terms.end(), [&](const LossTerm& term) { return term.name == name; })) continue;
    terms.push_back(loss_terms({{name, 1.0}}, {}, 1.0, 1.0).front());
    terms.back().weight = 0.0;
  }
}

std::optional<FeatureMatch> features_of(const CausalLM& student, const TrainInputs& inputs,
                                        const DistillOptions& options) {
  if (!asks_features(options)) return std::nullopt;
  return FeatureMatch(options, student.config, inputs.teacher->config);
}

}  // namespace

void Learner::Sums::add(const HeadLossResult& result) {
  loss += result.loss;
  asked += result.asked, agreeing += result.agreeing;
  for (const auto& [name, sum] : result.sums) of[name].sum += sum, of[name].rows += result.rows;
}

void Learner::Sums::add(const FeatureMatch::Result& result) {
  loss += result.loss;
  for (const auto& [name, sum] : result.of) of[name].sum += sum, of[name].rows += result.rows;
}

Learner::Learner(const CausalLM& student, const TrainInputs& inputs, const DistillOptions& options, SignalSource source,
                 const PassDevice& device)
    : inputs_(inputs),
      options_(options),
      losses_(loss_terms(options.losses, options.loss_settings, options.temperature, 1.0)),
      losses_of_the_text_(terms_of_the_text(options)),
      source_(source),
      place_{precision_on(device, options.precision), device},
      team_(inputs.threads),
      features_(features_of(student, inputs, options)),
      student_(student, place_, team_, options.gradient_checkpointing ? Keeps::Streams : Keeps::All,
               features_ ? features_->student_taps() : TapPlan{}) {
  if (!inputs.student_to_teacher.empty()) {
    const std::vector<int64_t> rows(inputs.student_to_teacher.begin(), inputs.student_to_teacher.end());
    teacher_ids_ = at::tensor(rows, at::kLong);
  }
  if (!inputs.teacher_head.defined()) return;
  kept_head_ = teacher_ids_.defined() ? inputs.teacher_head.index_select(0, teacher_ids_) : inputs.teacher_head;
  kept_head_ = kept_head_.to(student_.head().options());
}

BatchGradients Learner::gradients(const TrainingBatch& batch, double taid_share) {
  const c10::NoGradGuard no_grad;  // gradients are made here, by hand
  losses_ = loss_terms(options_.losses, options_.loss_settings, options_.temperature, taid_share);
  Lesson lesson{source_, losses_};
  if (batch.by_student)
    lesson = {SignalSource::Online,
              loss_terms(weights_of_the_teacher(options_), options_.loss_settings, options_.temperature, taid_share)};
  if (lesson.source == SignalSource::Online || lesson.source == SignalSource::Cached)
    add_measured(lesson.losses, inputs_.measured);
  student_.refresh();
  clear_gradients();
  const ModelConfig& config = student_.model().config;
  const auto head = gradients_.find(tensor_name(0, config.tied_embeddings ? Role::Embedding : Role::Output));
  at::Tensor head_gradient = head == gradients_.end() ? at::Tensor() : head->second;
  Sums sums;
  std::vector<std::vector<Piece>> slices = slices_of(batch.pieces);
  const double share = options_.position_share;
  double denominator = batch.tokens.weight;
  if (share < 1.0) {
    int64_t count = 0;
    for (const auto& slice : slices)
      count += chosen_of(loss_tokens(*batch.data, slice, SignalSource::None).count, share);
    denominator = static_cast<double>(count);
  }
  if (const Ranks* ranks = inputs_.ranks)  // what is chosen of a slice is chosen among its own tokens
    slices = share < 1.0 ? share_of(*ranks, slices) : slices_of(share_of(*ranks, batch.pieces));
  for (const std::vector<Piece>& slice : slices) {
    const TokenBatch tokens = to_batch(*batch.data, slice);
    const at::Tensor hidden = student_.forward(tokens);
    Labels labels = labels_of(*batch.data, slice, lesson.source);
    if (share < 1.0)
      keep_unsure(labels,
                  student_entropies(hidden, student_.head(), labels.signalled.logical_or(labels.unsignalled),
                                    head_options(), team_, logits_),
                  share);
    const at::Tensor by_hidden = learn(hidden, tokens, labels, lesson, denominator, head_gradient, sums);
    const LayerTaps by_taps = compare_features(tokens, labels, lesson, denominator, gradients_, sums);
    student_.backward(by_hidden, gradients_, by_taps);
  }
  const NamedTensors& whole = gradients_in_host_memory();
  const bool interrupted = inputs_.ranks != nullptr && add_up(sums, whole);
  BatchGradients out{.loss = sums.loss, .of = whole, .interrupted = interrupted};
  if (sums.asked > 0) out.agreement = static_cast<double>(sums.agreeing) / static_cast<double>(sums.asked);
  for (const auto& [name, sum] : sums.of)
    if (sum.rows > 0) out.parts[name] = sum.sum / static_cast<double>(sum.rows);
  return out;
}

double Learner::loss_on(const TokenDataset& data) {
  const c10::NoGradGuard no_grad;
  student_.refresh();
  Sums sums;
  double weight = 0.0;
  at::Tensor none;
  NamedTensors nowhere;
  for (const std::vector<Piece>& pieces : pack(data, options_.sequence_tokens, kSliceTokens, 0, 0)) {
    const TokenBatch tokens = to_batch(data, pieces);
    const auto labels_in = [&](const TokenDataset& of, const std::vector<Piece>& own) {
      return labels_of(of, own, source_);
    };
    const Labels labels =
        source_ == SignalSource::Cached ? with_signals(data, pieces, labels_in) : labels_in(data, pieces);
    const Lesson lesson{source_, losses_};
    learn(student_.forward(tokens), tokens, labels, lesson, 1.0, none, sums);
    compare_features(tokens, labels, lesson, 1.0, nowhere, sums);
    weight += loss_tokens(data, pieces, SignalSource::None).weight;
  }
  return sums.loss / weight;
}

std::vector<double> Learner::teacher_losses(const TokenDataset& data, const Progress& progress) {
  const c10::NoGradGuard no_grad;
  const HeadLossOptions options = head_options();
  std::vector<double> losses(data.documents.size(), 0.0);
  Event now{.stage = "curriculum", .unit = "tokens", .total = data.token_count()};
  for (const std::vector<Piece>& pieces : pack(data, options_.sequence_tokens, kSliceTokens, 0, 0)) {
    const TokenBatch tokens = to_batch(data, pieces);
    const Labels labels = labels_of(data, pieces, SignalSource::None);
    const DenseSignal teacher = ask_teacher(tokens);
    const at::Tensor log_probs =
        next_log_probs(teacher.hidden, teacher.head, labels.next, labels.signalled, options, team_, other_logits_);
    const auto* of = log_probs.const_data_ptr<double>();
    for (const Piece& piece : pieces) {
      const double sum = std::accumulate(of, of + piece.length, 0.0);
      if (!std::isfinite(sum))
        throw input_error("the teacher", "gives a text no finite loss", "", "", "the model is damaged");
      const int64_t count = loss_tokens(data, {piece}, SignalSource::None).count;
      if (count > 0) losses[static_cast<size_t>(piece.document)] = -sum / static_cast<double>(count);
      of += piece.length;
      now.done += piece.length;
    }
    report(progress, now);
  }
  return losses;
}

void Learner::forget_teacher() {
  teacher_.reset();
  teacher_head_.reset();
  other_logits_ = {};
}

// Losses of hidden states (N, C) and their gradient by them; that by the head (V, C) is added where it is wanted.
// -> (N, C)
at::Tensor Learner::learn(const at::Tensor& hidden, const TokenBatch& batch, const Labels& labels, const Lesson& lesson,
                          double denominator, at::Tensor& head_gradient, Sums& sums) {
  HeadLossOptions options = head_options(lesson.losses);
  options.weights = labels.weights;
  TeacherSignal signal;
  if (lesson.source == SignalSource::Cached && labels.states.defined())
    signal = DenseSignal{labels.states, kept_head_};
  else if (lesson.source == SignalSource::Cached)
    signal = labels.signal;
  if (lesson.source == SignalSource::Online) signal = ask_teacher(batch);
  if (lesson.source == SignalSource::Aligned) signal = ask_about_chunks(hidden, labels, lesson);
  const at::Tensor head = student_.head();
  const HeadLossResult taught = head_loss(hidden, head, labels.next, labels.signalled, signal, options, denominator,
                                          head_gradient, team_, logits_);
  sums.add(taught);
  if (!labels.unsignalled.any().item<bool>()) return taught.hidden_gradient;
  if (options_.unsignalled == "online")
    signal = ask_teacher(batch);
  else
    signal = {}, options.losses = losses_of_the_text_;
  const HeadLossResult rest = head_loss(hidden, head, labels.next, labels.unsignalled, signal, options, denominator,
                                        head_gradient, team_, logits_);
  sums.add(rest);
  return taught.hidden_gradient + rest.hidden_gradient;
}

// Of the student's last pass. Gradients by projections are added where there is a place for them. -> that by its layers
LayerTaps Learner::compare_features(const TokenBatch& batch, const Labels& labels, const Lesson& lesson,
                                    double denominator, NamedTensors& gradients, Sums& sums) {
  if (!features_) return {};
  if (lesson.source != SignalSource::Online) ask_teacher(batch);
  const bool bf16 = !place_.device && place_.precision == Precision::Bf16;  // what a GPU showed is compared in f32
  FeatureMatch::Result compared =
      features_->compare(team_, student_.taps(), teacher_->taps(),
                         {batch.lengths, labels.signalled.logical_or(labels.unsignalled), denominator},
                         bf16 ? at::kBFloat16 : at::kFloat, *inputs_.reparameterized, gradients);
  sums.add(compared);
  return std::move(compared.by_student);
}

DenseSignal Learner::ask_teacher(TokenBatch batch) {
  if (!teacher_) {
    teacher_.emplace(*inputs_.teacher, place_, team_, Keeps::Nothing,
                     features_ ? features_->teacher_taps() : TapPlan{});
    teacher_head_ = teacher_->head();
    if (teacher_ids_.defined()) teacher_head_ = teacher_head_.index_select(0, teacher_ids_.to(teacher_head_.device()));
  }
  if (teacher_ids_.defined()) batch.tokens = teacher_ids_.index_select(0, batch.tokens);
  return {teacher_->forward(batch), teacher_head_};
}

// The student's own likelihoods are needed before their gradient: its logits are made once more for that.
AlignedSignal Learner::ask_about_chunks(const at::Tensor& hidden, const Labels& labels, const Lesson& lesson) {
  const AlignedRows& rows = labels.aligned;
  AlignedSignal signal;
  if (rows.chunks.empty()) return signal;
  const HeadLossOptions options = head_options();
  const DenseSignal teacher = ask_teacher(rows.other);
  for (const LossTerm& term : lesson.losses) {
    if (std::holds_alternative<AlignedLikelihood>(term.form)) {
      const at::Tensor own = next_log_probs(hidden, student_.head(), labels.next, labels.signalled, options, team_,
                                            logits_),
                       other = next_log_probs(teacher.hidden, teacher.head, rows.next, rows.in_chunks, options, team_,
                                              other_logits_);
      signal.chunks = chunk_losses(rows.chunks, own, other, term.temperature);
    } else if (std::holds_alternative<SortedDistance>(term.form)) {
      const SamePlaces places = at_same_places(rows.chunks, teacher.hidden, hidden.size(0));
      signal.teacher = {places.rows, teacher.head};
      signal.known = places.known;
    }
  }
  return signal;
}

HeadLossOptions Learner::head_options(const std::vector<LossTerm>& losses) const {
  return {.losses = losses, .precision = place_.precision, .device = place_.device};
}

void Learner::clear_gradients() {
  if (gradients_.empty())
    for (const auto& [name, tensor] : student_.model().parameters)
      if (!frozen(name))
        gradients_[name] = at::zeros_like(tensor.detach(), at::TensorOptions().device(student_.head().device()));
  if (features_)
    for (const LayerPair& pair : features_->projected()) {
      at::Tensor& gradient = gradients_[projection_name(pair.student)];
      if (!gradient.defined())
        gradient =
            at::zeros_like(inputs_.reparameterized->at(kProjections).parameters.at(std::to_string(pair.student)));
    }
  std::vector<at::Tensor> of;
  for (const auto& [name, gradient] : gradients_) of.push_back(gradient);
  if (place_.device) {
    for (const at::Tensor& gradient : of) gradient.zero_();
    return;
  }
  team_.run(static_cast<int64_t>(of.size()), [&](int64_t i) { of[static_cast<size_t>(i)].zero_(); });
}

const NamedTensors& Learner::gradients_in_host_memory() {
  if (!place_.device) return gradients_;
  for (const auto& [name, gradient] : gradients_) {
    at::Tensor& copy = host_gradients_[name];
    if (!copy.defined()) copy = at::empty(gradient.sizes(), at::kFloat);
    copy.copy_(gradient);
  }
  return host_gradients_;
}

// Of all ranks, at rank 0. -> whether another one was asked to stop
bool Learner::add_up(Sums& sums, const NamedTensors& gradients) {
  std::set<std::string> names{"cross_entropy"};  // what a text teaches where its signal says nothing
  for (const auto* weights : {&options_.losses, &options_.features})
    for (const auto& [name, weight] : *weights) names.insert(name);
  names.insert(inputs_.measured.begin(), inputs_.measured.end());
  std::vector<double> numbers{inputs_.ranks->interrupted() ? 1.0 : 0.0, sums.loss, static_cast<double>(sums.asked),
                              static_cast<double>(sums.agreeing)};
  for (const std::string& name : names)
    numbers.insert(numbers.end(), {sums.of[name].sum, static_cast<double>(sums.of[name].rows)});
  inputs_.ranks->sum(numbers);
  sums.loss = numbers[1];
  sums.asked = static_cast<int64_t>(numbers[2]), sums.agreeing = static_cast<int64_t>(numbers[3]);
  size_t next = 4;
  for (const std::string& name : names) {
    sums.of[name] = {numbers[next], static_cast<int64_t>(numbers[next + 1])};
    next += 2;
  }
  std::vector<at::Tensor> tensors;
  for (const auto& [name, gradient] : gradients) tensors.push_back(gradient);
  inputs_.ranks->sum(tensors);
  return numbers[0] > 0.0;
}

bool Learner::frozen(const std::string& tensor) const {
  if (inputs_.reparameterized == nullptr) return false;
  const auto own = inputs_.reparameterized->find(tensor);
  return own != inputs_.reparameterized->end() && own->second.frozen();
}

}  // namespace attar
