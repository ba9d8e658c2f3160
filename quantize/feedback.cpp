// Error feedback along the block walk: each group is quantized behind the groups that are quantized already.
#include <cstdio>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "compress/block_walk.h"
#include "compress/weight_source.h"
#include "quantize/block_learning.h"
#include "quantize/calibration.h"
#include "quantize/correction.h"
#include "quantize/gptq.h"
#include "quantize/kept/kept_codes.h"
#include "quantize/measure/importance.h"
#include "quantize/quantize.h"
#include "quantize/small_values.h"
#include "quantize/tensor_codes.h"
#include "runtime/base/host/freed_memory.h"

namespace attar {
namespace {

class FeedbackPass {
 public:
  FeedbackPass(const WeightSource& weights, const QuantizePlan& plan, const FeedbackInputs& inputs, int threads,
               const Progress& progress)
      : weights_(weights),
        inputs_(inputs),
        threads_(threads),
        progress_(progress),
        between_([this] { report(progress_, now_); }),
        changed_{weights.config(), {}},
        out_{weights.config(), plan, {}} {
    for (const PlannedTensor& one : plan.tensors) planned_[one.spec.name] = &one;
    now_.total = weights.config().n_layers() + 1;
  }

  // Before the walk. Where a survey says what the embedding's errors cost, the walk is given what its codes stand for.
  void embedding(const std::vector<int64_t>& ids) {
    const TensorSpec spec = spec_of(weights_.config(), Role::Embedding);
    const at::Tensor* metric = inputs_.embedding;
    if (metric != nullptr && !taken(-1)) {
      const LinearStats stats{.tokens = 1, .sum_squares = {}, .gram = *metric, .target = {}};
      Inputs inputs(stats, threads_);
      encode(spec.name, inputs, diagonal_weights(*metric), nullptr);
      keep(-1, {spec.name});
    }
    changed_.parameters[spec.name] = metric != nullptr && stands_for_codes(spec.name)
                                         ? decoded_rows(out_.tensors.at(spec.name), ids)
                                         : weights_.rows(spec, ids);
  }
  // Takes what an earlier run has kept of the walk. -> how many layers are finished
  int64_t take_layers() {
    int64_t layer = 0;
    while (layer < weights_.config().n_layers() && taken(layer)) ++layer;
    return layer;
  }
  bool take_head() { return taken(weights_.config().n_layers()); }
  // A finished layer's matrices become what their codes stand for.
  void restore(int64_t layer) {
    for (const std::string& name : matrices_of(layer))
      if (stands_for_codes(name)) changed_.parameters[name] = decoded(out_.tensors.at(name), threads_);
  }
  void group(int64_t layer, LinearGroup group, const LinearStats& stats) {
    now_.done = layer;
    Inputs inputs(stats, threads_);
    const std::vector<float> search_weights = relative_weights(input_means(stats));
    for (const Role role : group_roles(weights_.config(), group)) {
      const std::string name = tensor_name(layer, role);
      at::Tensor values;
      encode(name, inputs, search_weights, group == LinearGroup::Head ? nullptr : &values);
      if (values.defined() && stands_for_codes(name)) changed_.parameters[name] = std::move(values);
    }
    if (group == LinearGroup::Down && !inputs_.learn) keep(layer, matrices_of(layer));
    if (group == LinearGroup::Head) keep(layer, {tensor_name(0, head_role(weights_.config()))});
  }
  // Behind all groups of a layer: what its codes stand for learns to give what the layer gave.
  void learn(int64_t layer, const WalkedLayer& walked) {
    std::vector<std::string> names = matrices_of(layer);
    std::erase_if(names, [&](const std::string& name) { return !stands_for_codes(name); });
    const BlockLesson lesson{layer_alone(walked.original, layer), walked,
                             inputs_.streams != nullptr ? inputs_.streams->select(0, layer) : at::Tensor(), between_};
    const std::optional<BlockLoss> loss = learn_layer(inputs_.learn, lesson, layer, names, out_);
    if (loss) out_.blocks[layer] = *loss, restore(layer);
    keep(layer, matrices_of(layer));
    give_back_freed_memory();
    if (loss) tell(layer, *loss);
  }
  CausalLM& changed() { return changed_; }
  QuantizedModel& out() { return out_; }

 private:
  // The embedding's layer is -1, the head's the number of layers.
  std::string part_of(int64_t layer) const {
    if (layer < 0) return "embedding";
    return layer == weights_.config().n_layers() ? "head" : "layer-" + std::to_string(layer);
  }
  std::vector<std::string> matrices_of(int64_t layer) const {
    std::vector<std::string> names;
    for (const auto& [name, planned] : planned_)
      if (planned->spec.is_matrix() && planned->spec.layer == layer) names.push_back(name);
    return names;
  }
  bool taken(int64_t layer) {
    if (inputs_.kept == nullptr) return false;
    std::optional<KeptCodes::Part> part = inputs_.kept->take(part_of(layer), out_.plan);
    if (!part) return false;
    for (auto& [name, tensor] : part->tensors) out_.tensors[name] = std::move(tensor);
    if (part->loss) out_.blocks[layer] = *part->loss;
    return true;
  }
  void keep(int64_t layer, const std::vector<std::string>& names) const {
    const auto loss = out_.blocks.find(layer);
    if (inputs_.kept != nullptr)
      inputs_.kept->keep(part_of(layer), out_.plan, out_.tensors, names,
                         loss == out_.blocks.end() ? std::nullopt : std::optional<BlockLoss>(loss->second));
  }
  void tell(int64_t layer, const BlockLoss& loss) const {
    char line[120];
    std::snprintf(line, sizeof line, "layer %lld learned: the error of its outputs is %.4g, and was %.4g",
                  static_cast<long long>(layer), loss.after, loss.before);
    Event event = now_;
    event.detail = line;
    report(progress_, event);
  }

  // A group's inputs, in the order that each of its types asks for, and what its weights aim at besides.
  class Inputs {
   public:
    Inputs(const LinearStats& stats, int threads) : stats_(stats), threads_(threads) {}
    const gptq::InputHessian& of(const QuantFormat& format) {
      const int64_t together = gptq::columns_at_once(format);
      const auto found = made_.find(together);
      if (found != made_.end()) return found->second;
      return made_[together] = gptq::input_hessian(stats_.gram, stats_.tokens, together);
    }
    const Correction& correction() {
      if (!correction_) correction_ = correction_of(stats_, threads_);
      return *correction_;
    }

   private:
    const LinearStats& stats_;
    int threads_;
    std::map<int64_t, gptq::InputHessian> made_;
    std::optional<Correction> correction_;
  };

  void encode(const std::string& name, Inputs& inputs, const std::vector<float>& search_weights, at::Tensor* values) {
    const PlannedTensor& planned = *planned_.at(name);
    const QuantFormat& format = format_of(planned.type);
    out_.tensors[name] =
        format.written_in_blocks()
            ? encode_with_feedback(weights_, planned, {inputs.of(format), search_weights, inputs.correction()},
                                   threads_, values, between_)
            : encode_tensor(weights_, planned, nullptr, threads_, between_);
  }
  // What is lost in its type becomes F32, and what has no grid is as good as unchanged.
  bool stands_for_codes(const std::string& name) const {
    const QuantizedTensor& tensor = out_.tensors.at(name);
    return format_of(tensor.type).written_in_blocks() && tensor.relative_error <= most_loss(tensor.type);
  }

  const WeightSource& weights_;
  const FeedbackInputs& inputs_;
  int threads_;
  const Progress& progress_;
  Event now_{.stage = "quantize", .unit = "layers"};
  std::function<void()> between_;
  CausalLM changed_;  // the embedding's rows that the text asks for, and the layer that is walked
  QuantizedModel out_;
  std::map<std::string, const PlannedTensor*> planned_;
};

void report_taken(const Progress& progress, int64_t layers, int64_t n_layers, const std::string& folder) {
  const std::string line =
      std::to_string(layers) + " of " + std::to_string(n_layers) + " layers are taken from " + folder;
  report(progress, {.stage = "quantize", .unit = "layers", .done = layers, .total = n_layers + 1, .detail = line});
}

}  // namespace

QuantizedModel quantize_with_feedback(const WeightSource& weights, const QuantizePlan& plan,
                                      const FeedbackInputs& inputs, int threads, const Progress& progress) {
  const ModelConfig& config = weights.config();
  const OwnVocabulary own = own_vocabulary(inputs.batches);
  FeedbackPass pass(weights, plan, inputs, threads, progress);
  give_back_freed_memory();
  pass.embedding(own.ids);
  give_back_freed_memory();
  WalkOptions options{.visits = {}, .threads = threads, .weights = &weights};
  for (GroupVisit& group : options.visits)
    group = {.kind = GroupVisit::Change, .gram = true, .drift = true, .keeps_inputs = true};
  if (inputs.embedding != nullptr) options.whole_embedding = weights.rows(spec_of(config, Role::Embedding), own.ids);
  const bool head_comes_first = inputs.embedding != nullptr && config.tied_embeddings;
  if (head_comes_first) options.visits[static_cast<size_t>(LinearGroup::Head)] = {};
  options.finished_layers = pass.take_layers();
  options.restore = [&](int64_t layer) { pass.restore(layer); };
  if (inputs.learn) options.revise = [&](int64_t layer, const WalkedLayer& walked) { pass.learn(layer, walked); };
  if (options.finished_layers > 0)
    report_taken(progress, options.finished_layers, config.n_layers(), inputs.kept->folder());
  const bool finished = options.finished_layers == config.n_layers() && (head_comes_first || pass.take_head());
  if (!finished)
    walk_blocks(
        pass.changed(), own.batches, options,
        [&](int64_t layer, LinearGroup group, const LinearStats& stats) { pass.group(layer, group, stats); },
        "quantize", progress);
  QuantizedModel& out = pass.out();
  out.taken.layers = options.finished_layers;
  for (const PlannedTensor& one : plan.tensors)
    if (!out.tensors.contains(one.spec.name))
      out.tensors[one.spec.name] = encode_tensor(weights, one, nullptr, threads);
  for (const size_t place : keep_small_values(out)) {
    const PlannedTensor& one = out.plan.tensors[place];
    out.tensors[one.spec.name] = encode_tensor(weights, one, nullptr, threads);
  }
  if (inputs.learn)
    out.notes.emplace_back(
        out.blocks.empty()
            ? "no block learned: none has lost anything, or nothing moves in their codebooks, F16, BF16 and F32"
            : "the errors of matrices, and a predicted KL, are of the codes before blocks learned");
  std::string short_of_text = calibration_shortage_note(config, tokens_in(inputs.batches), inputs.left_tokens);
  if (!short_of_text.empty()) out.notes.push_back(std::move(short_of_text));
  return out;
}

}  // namespace attar
