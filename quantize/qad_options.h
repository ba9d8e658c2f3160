// Options of quantization-aware distillation (QAD): the quantized model learns from the model before quantization, or a
// recipe's teacher, on the grid that its file will hold.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace attar {

struct QadOptions {
  int64_t tokens = 200000;
  std::map<std::string, double> losses{{"forward_kl", 1.0}};
  double learning_rate = 1e-4;
  double scale_rate = 0.1;
  std::string trains = "all";
  int64_t batch_tokens = 1024;
  std::string signal = "auto";
  std::string precision = "auto";
};
template <class Visitor>
void visit_fields(QadOptions& o, Visitor&& field) {
  field(o.tokens, "qad_tokens", "preset learned: tokens to train on; the data repeats when it is shorter");
  field(o.losses, "qad_losses",
        "preset learned: weights of the losses that it learns from its teacher by, such as {forward_kl: 0.5, jsd: "
        "0.5}: those of distill but aligned_likelihood and uld, which are for another tokenizer");
  field(o.learning_rate, "qad_learning_rate", "preset learned: peak learning rate of AdamW, which falls linearly to 0");
  field(o.scale_rate, "qad_scale_rate",
        "preset learned: learning rate of the block scales, relative to that of the weights");
  field(o.trains, "qad_trains",
        "preset learned: what is trained: all, or scales (block scales and norms; the codes stay as they were chosen)");
  field(o.batch_tokens, "qad_batch_tokens", "preset learned: tokens a step that are learned to predict");
  field(
      o.signal, "qad_signal",
      "preset learned: auto, online (the teacher runs beside the student) or cached (its top-k, kept from the writing "
      "of the data or from one pass over it)");
  field(o.precision, "qad_precision",
        "preset learned: precision of matrix products: fp32, bf16 (sums and all else fp32) or auto: bf16 where the "
        "processor multiplies it");
}

}  // namespace attar
