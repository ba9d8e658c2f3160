// Error feedback along the block walk: each group is quantized behind the groups that are quantized already.
#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "compress/block_walk.h"
#include "compress/weight_source.h"
#include "quantize/gptq.h"
#include "quantize/measure/importance.h"
#include "quantize/measure/survey.h"
#include "quantize/quantize.h"
#include "quantize/small_values.h"
#include "quantize/tensor_codes.h"

namespace attar {
namespace {

constexpr int64_t kTokensAnInput = 16;  // fewer: error feedback follows their noise

class FeedbackPass {
 public:
  FeedbackPass(const WeightSource& weights, const QuantizePlan& plan, int threads)
      : weights_(weights), threads_(threads), changed_{weights.config(), {}}, out_{weights.config(), plan, {}} {
    for (const PlannedTensor& one : plan.tensors) planned_[one.spec.name] = &one;
  }

  // Before the walk. A survey's says what the embedding's errors cost: then the walk is given what its codes stand for.
  void embedding(const Survey* survey, const std::vector<int64_t>& ids) {
    const TensorSpec spec = spec_of(weights_.config(), Role::Embedding);
    if (survey != nullptr) encode(spec.name, Inputs(survey->embedding, 1), survey->weights.at(spec.name), nullptr);
    changed_.parameters[spec.name] = survey != nullptr && stands_for_codes(spec.name)
                                         ? decoded_rows(out_.tensors.at(spec.name), ids)
                                         : weights_.rows(spec, ids);
  }
  void group(int64_t layer, LinearGroup group, const LinearStats& stats) {
    Inputs inputs(stats.gram, stats.tokens);
    const std::vector<float> search_weights = relative_weights(input_means(stats));
    for (const Role role : group_roles(weights_.config(), group)) {
      const std::string name = tensor_name(layer, role);
      at::Tensor values;
      encode(name, inputs, search_weights, group == LinearGroup::Head ? nullptr : &values);
      if (values.defined() && stands_for_codes(name)) changed_.parameters[name] = std::move(values);
    }
  }
  CausalLM& changed() { return changed_; }
  QuantizedModel& out() { return out_; }

 private:
  // A group's inputs, in the order that each of its types asks for.
  class Inputs {
   public:
    Inputs(const at::Tensor& gram, int64_t tokens) : gram_(gram), tokens_(tokens) {}
    const gptq::InputHessian& of(const QuantFormat& format) {
      const int64_t together = gptq::columns_at_once(format);
      const auto found = made_.find(together);
      if (found != made_.end()) return found->second;
      return made_[together] = gptq::input_hessian(gram_, tokens_, together);
    }

   private:
    const at::Tensor& gram_;
    int64_t tokens_;
    std::map<int64_t, gptq::InputHessian> made_;
  };

  void encode(const std::string& name, Inputs&& inputs, const std::vector<float>& search_weights, at::Tensor* values) {
    encode(name, inputs, search_weights, values);
  }
  void encode(const std::string& name, Inputs& inputs, const std::vector<float>& search_weights, at::Tensor* values) {
    const PlannedTensor& planned = *planned_.at(name);
    out_.tensors[name] = format_of(planned.type).written_in_blocks()
                             ? encode_with_feedback(weights_, planned, inputs.of(format_of(planned.type)),
                                                    search_weights, threads_, values)
                             : encode_tensor(weights_, planned, nullptr, threads_);
  }
  // What is lost in its type becomes F32, and what has no grid is as good as unchanged.
  bool stands_for_codes(const std::string& name) const {
    const QuantizedTensor& tensor = out_.tensors.at(name);
    return format_of(tensor.type).written_in_blocks() && tensor.relative_error <= most_loss(tensor.type);
  }

  const WeightSource& weights_;
  int threads_;
  CausalLM changed_;  // the embedding's rows that the text asks for, and the layer that is walked
  QuantizedModel out_;
  std::map<std::string, const PlannedTensor*> planned_;
};

}  // namespace

QuantizedModel quantize_with_feedback(const WeightSource& weights, const QuantizePlan& plan, const Survey* survey,
                                      const TokenDataset& calibration, int64_t max_tokens, int threads,
                                      const Progress& progress) {
  const OwnVocabulary own = own_vocabulary(calibration_batches(weights.config(), calibration, max_tokens));
  FeedbackPass pass(weights, plan, threads);
  pass.embedding(survey, own.ids);
  WalkOptions options{.visits = {}, .threads = threads, .weights = &weights};
  for (GroupVisit& group : options.visits) group = {.kind = GroupVisit::Change, .gram = true};
  if (survey != nullptr && weights.config().tied_embeddings)
    options.visits[static_cast<size_t>(LinearGroup::Head)] = {};
  int64_t missing_tokens = 0;
  walk_blocks(
      pass.changed(), own.batches, options,
      [&](int64_t layer, LinearGroup group, const LinearStats& stats) {
        missing_tokens = std::max(missing_tokens, kTokensAnInput * stats.gram.size(0) - stats.tokens);
        pass.group(layer, group, stats);
      },
      "quantize", progress);
  QuantizedModel& out = pass.out();
  for (const PlannedTensor& one : plan.tensors)
    if (!out.tensors.contains(one.spec.name))
      out.tensors[one.spec.name] = encode_tensor(weights, one, nullptr, threads);
  for (const size_t place : keep_small_values(out)) {
    const PlannedTensor& one = out.plan.tensors[place];
    out.tensors[one.spec.name] = encode_tensor(weights, one, nullptr, threads);
  }
  if (missing_tokens > 0)
    out.notes.push_back("the calibration text is " + std::to_string(missing_tokens) +
                        " tokens short of 16 for each input of the widest layer: more of it, of the kinds the model is "
                        "for, would keep more");
  return out;
}

}  // namespace attar
