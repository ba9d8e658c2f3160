#include "distill/head_loss.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/nonzero.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "distill/losses/row_losses.h"
#include "distill/pass/products.h"
#include "distill/pass/row_math.h"
#include "runtime/base/fast_math.h"

namespace attar {
namespace {

constexpr int64_t kRowsStep = 128;      // chunks are filled up to it with rows of 0: few shapes of products
constexpr int64_t kRowsAtOnce = 4;      // logits of so many rows stay in a core's cache
constexpr int64_t kWordsAtOnce = 2048;  // columns of the logits that one product reads
constexpr int64_t kSums = 8;            // of the gradient by hidden states: each over its share of the vocabulary

// What the rows of one chunk should predict, without a dense teacher's logits.
struct ChunkTargets {
  at::Tensor tokens{};            // (R) int64
  at::Tensor ids{}, log_probs{};  // (R, k); of a sparse teacher alone
  at::Tensor entropies{};         // (R); of a sample alone
  at::Tensor values{}, slopes{};  // (R) f64; of aligned_likelihood alone
  at::Tensor unknown{};           // (R) bool: the teacher's logits are of no place; of uld alone
  at::Tensor weights{};           // (R) f32; undefined: 1 each
  double weight(int64_t r) const {
    return weights.defined() ? static_cast<double>(weights.const_data_ptr<float>()[r]) : 1.0;
  }
  RowTarget row(int64_t r) const {
    RowTarget target{.token = tokens.const_data_ptr<int64_t>()[r]};
    if (values.defined()) target.chunk = {values.const_data_ptr<double>()[r], slopes.const_data_ptr<double>()[r]};
    if (!ids.defined()) return target;
    const int64_t k = ids.size(1);
    target.top = {ids.const_data_ptr<int64_t>() + r * k, log_probs.const_data_ptr<float>() + r * k, k};
    if (entropies.defined()) target.top.entropy = entropies.const_data_ptr<float>()[r];
    return target;
  }
};
ChunkTargets targets_of(const at::Tensor& rows, const at::Tensor& next_tokens, const TeacherSignal& signal,
                        const at::Tensor& weights) {
  ChunkTargets targets{.tokens = next_tokens.index_select(0, rows)};
  if (weights.defined()) targets.weights = weights.index_select(0, rows);
  if (const auto* top = std::get_if<TopKSignal>(&signal)) {
    targets.ids = top->ids.index_select(0, rows);
    targets.log_probs = top->log_probs.index_select(0, rows);
    if (top->entropies.defined()) targets.entropies = top->entropies.index_select(0, rows);
  }
  if (const auto* aligned = std::get_if<AlignedSignal>(&signal)) {
    if (aligned->chunks.values.defined()) {
      targets.values = aligned->chunks.values.index_select(0, rows);
      targets.slopes = aligned->chunks.slopes.index_select(0, rows);
    }
    if (aligned->known.defined()) targets.unknown = aligned->known.index_select(0, rows).logical_not();
  }
  return targets;
}

// Whether the teacher's likeliest token, the first of equals, is the student's too.
enum class Agreement : uint8_t { NotAsked, No, Yes };
Agreement agreement(const float* logits, int64_t vocab_size, const RowTarget& target) {
  int64_t likeliest = -1;
  if (target.teacher_size > 0) return Agreement::NotAsked;  // of other tokens
  if (target.teacher != nullptr) {
    likeliest =
        std::find(target.teacher, target.teacher + vocab_size, maximum(target.teacher, vocab_size)) - target.teacher;
  } else if (target.top.k > 0) {
    const float* log_probs = target.top.log_probs;
    likeliest = target.top.ids[std::max_element(log_probs, log_probs + target.top.k) - log_probs];
  }
  if (likeliest < 0 || likeliest >= vocab_size) return Agreement::NotAsked;  // or a token that the student has not
  return logits[likeliest] == maximum(logits, vocab_size) ? Agreement::Yes : Agreement::No;
}

// The teacher's states that a signal holds; nullptr: none.
const DenseSignal* states_of(const TeacherSignal& signal) {
  const auto* aligned = std::get_if<AlignedSignal>(&signal);
  if (aligned == nullptr) return std::get_if<DenseSignal>(&signal);
  return aligned->teacher.hidden.defined() ? &aligned->teacher : nullptr;
}

// One chunk: R rows of the N, R' >= R rows of memory.
class Chunk {
 public:
  Chunk(const at::Tensor& head, const TeacherSignal& signal, const HeadLossOptions& options, double denominator,
        Team& team, HeadLossMemory& memory)
      : Chunk(head, states_of(signal), std::holds_alternative<AlignedSignal>(signal), options, denominator, team,
              memory) {}
  Chunk(const at::Tensor& head, const DenseSignal* teacher, bool aligned, const HeadLossOptions& options,
        double denominator, Team& team, HeadLossMemory& memory)
      : kind_(options.precision == Precision::Bf16 ? at::kBFloat16 : at::kFloat),
        head_(head.to(kind_)),
        teacher_head_(teacher == nullptr ? at::Tensor() : teacher->head.to(head_.options())),
        teacher_(teacher),
        aligned_(aligned),
        options_(options),
        denominator_(denominator),
        team_(team),
        memory_(memory) {}

  // Rows that one chunk may have: their logits fit the memory that is meant for them.
  int64_t most_rows() const {
    const int64_t words = head_.size(0) + (teacher_ == nullptr ? 0 : teacher_head_.size(0));
    const int64_t width = kind_ == at::kFloat ? 4 : 2;
    const int64_t fit = kHeadLossBytes / (width * words) / kRowsStep * kRowsStep;
    return options_.chunk_rows > 0 ? options_.chunk_rows : std::clamp(fit, kRowsStep, int64_t{1024});
  }

  void logits(const at::Tensor& hidden, const at::Tensor& rows) {
    rows_ = rows;
    const int64_t n = (rows.size(0) + kRowsStep - 1) / kRowsStep * kRowsStep;
    hidden_ = filled(hidden, n);
    logits_ = room(memory_.logits, n, head_);
    at::Tensor theirs;
    if (teacher_ != nullptr) {
      theirs = filled(teacher_->hidden, n);
      teacher_logits_ = room(memory_.teacher_logits, n, teacher_head_);
    }
    if (options_.device) {
      logits_.copy_(at::mm(hidden_, head_.t()));
      if (theirs.defined()) teacher_logits_.copy_(at::mm(theirs, teacher_head_.t()));
      return;
    }
    std::vector<Product> products{forward_product(logits_, hidden_, head_)};
    if (theirs.defined()) products.push_back(forward_product(teacher_logits_, theirs, teacher_head_));
    multiply(team_, products);
  }

  // Losses of the rows, and in the logits' place the gradient by them.
  void losses(const ChunkTargets& targets, HeadLossResult& result) {
    const int64_t n = rows_.size(0);
    const size_t terms = options_.losses.size();
    std::vector<double> values(static_cast<size_t>(n) * terms);
    std::vector<Agreement> agreements(static_cast<size_t>(n));
    team_.rows(n, [&](int64_t begin, int64_t end) {
      const int64_t teacher_words = teacher_ == nullptr ? 0 : teacher_head_.size(0);
      at::Tensor z = at::empty({kRowsAtOnce, head_.size(0)}, at::kFloat), g = at::empty_like(z),
                 y = at::empty({kRowsAtOnce, teacher_words}, at::kFloat);
      RowLosses losses(options_.losses, head_.size(0));
      for (int64_t r = begin; r < end; r += kRowsAtOnce) {
        const int64_t count = std::min(kRowsAtOnce, end - r);
        const auto first = [&](const at::Tensor& x) { return x.narrow(0, 0, count); };
        const at::Tensor logits = floats(logits_, r, first(z)), gradient = first(g).zero_();
        const at::Tensor teacher = teacher_ == nullptr ? at::Tensor() : floats(teacher_logits_, r, first(y));
        for (int64_t i = 0; i < count; ++i) {
          RowTarget target = targets.row(r + i);
          const bool known = !targets.unknown.defined() || !targets.unknown.const_data_ptr<bool>()[r + i];
          if (teacher.defined() && known) target.teacher = row(teacher, i);
          if (aligned_) target.teacher_size = teacher_words;
          agreements[static_cast<size_t>(r + i)] = agreement(row(logits, i), head_.size(0), target);
          losses.add(row(logits, i), target, targets.weight(r + i) / denominator_,
                     gradient.data_ptr<float>() + i * head_.size(0),
                     values.data() + static_cast<size_t>(r + i) * terms);
        }
        keep(gradient, r);
      }
    });
    const int64_t agreeing = std::count(agreements.begin(), agreements.end(), Agreement::Yes);
    result.agreeing += agreeing;
    result.asked += agreeing + std::count(agreements.begin(), agreements.end(), Agreement::No);
    for (size_t t = 0; t < terms; ++t) {
      double sum = 0.0, weighed = 0.0;
      for (size_t r = 0; r < static_cast<size_t>(n); ++r) {
        sum += values[r * terms + t];
        weighed += targets.weight(static_cast<int64_t>(r)) * values[r * terms + t];
      }
      result.sums[options_.losses[t].name] += sum;
      result.loss += options_.losses[t].weight * weighed / denominator_;
    }
  }

  // visit(row of the N, its logits)
  template <class Visit>
  void each(Visit&& visit) {
    team_.rows(rows_.size(0), [&](int64_t begin, int64_t end) {
      at::Tensor z = at::empty({1, head_.size(0)}, at::kFloat);
      for (int64_t r = begin; r < end; ++r) visit(rows_.const_data_ptr<int64_t>()[r], row(floats(logits_, r, z), 0));
    });
  }

  // The gradient by hidden states (N, C) f32 in these rows, and that by the head, which is added. A product reads a
  // part of the gradient by the logits once for both.
  void gradients(at::Tensor& by_hidden, at::Tensor& by_head) {
    const int64_t n = hidden_.size(0), vocab_size = head_.size(0);
    if (options_.device) return gradients_there(by_hidden, by_head);
    const at::Tensor by_logits = logits_.narrow(0, 0, n);
    const at::Tensor sums = at::zeros({kSums, n, hidden_.size(1)}, at::kFloat);
    const int64_t parts = (vocab_size + kWordsAtOnce - 1) / kWordsAtOnce;
    team_.run(kSums, [&](int64_t s) {
      const at::Tensor sum = sums[s];
      for (int64_t part = s * parts / kSums; part < (s + 1) * parts / kSums; ++part) {
        const int64_t begin = part * kWordsAtOnce, count = std::min(kWordsAtOnce, vocab_size - begin);
        const at::Tensor by_part = by_logits.narrow(1, begin, count);
        add_product(sum, by_part, head_.narrow(0, begin, count));
        if (by_head.defined()) add_product(by_head.narrow(0, begin, count), by_part.t(), hidden_);
      }
    });
    at::Tensor total = sums[0];
    for (int64_t s = 1; s < kSums; ++s) total.add_(sums[s]);
    by_hidden.index_copy_(0, rows_, total.narrow(0, 0, rows_.size(0)));
  }

 private:
  void gradients_there(at::Tensor& by_hidden, at::Tensor& by_head) {
    const at::Tensor by_logits = logits_.to(head_.device());
    const at::Tensor by_rows = at::mm(by_logits, head_).narrow(0, 0, rows_.size(0)).to(at::kFloat);
    by_hidden.index_copy_(0, rows_.to(head_.device()), by_rows);
    if (by_head.defined()) by_head.add_(at::mm(by_logits.t(), hidden_));
  }
  const float* row(const at::Tensor& logits, int64_t r) const {
    return logits.const_data_ptr<float>() + r * logits.size(1);
  }
  at::Tensor filled(const at::Tensor& hidden, int64_t n) const {
    at::Tensor out = at::zeros({n, hidden.size(1)}, head_.options());
    out.narrow(0, 0, rows_.size(0)).copy_(hidden.index_select(0, rows_.to(hidden.device())));
    return out;
  }
  at::Tensor room(at::Tensor& logits, int64_t n, const at::Tensor& head) const {
    if (!logits.defined() || logits.size(0) < n || logits.size(1) != head.size(0) || logits.scalar_type() != kind_)
      logits = at::empty({n, head.size(0)}, at::TensorOptions().dtype(kind_).pinned_memory(for_a_gpu()));
    return logits.narrow(0, 0, n);
  }
  bool for_a_gpu() const { return options_.device && options_.device->is_cuda(); }
  // Rows from `row` on in f32: their own memory, or `copy`.
  at::Tensor floats(const at::Tensor& logits, int64_t row, const at::Tensor& copy) const {
    const at::Tensor part = logits.narrow(0, row, copy.size(0));
    if (kind_ == at::kFloat) return part;
    floats_of_bf16(reinterpret_cast<const uint16_t*>(part.const_data_ptr<at::BFloat16>()), part.numel(),
                   copy.mutable_data_ptr<float>());
    return copy;
  }
  void keep(const at::Tensor& gradient, int64_t row) {
    const at::Tensor part = logits_.narrow(0, row, gradient.size(0));
    if (kind_ == at::kFloat)
      part.copy_(gradient);
    else
      bf16_of_floats(gradient.const_data_ptr<float>(), part.numel(),
                     reinterpret_cast<uint16_t*>(part.mutable_data_ptr<at::BFloat16>()));
  }

  at::ScalarType kind_;
  at::Tensor head_, teacher_head_;  // (V, C), (V, Ct)
  const DenseSignal* teacher_;
  bool aligned_;  // the teacher is of another vocabulary
  const HeadLossOptions& options_;
  double denominator_;
  Team& team_;
  HeadLossMemory& memory_;
  at::Tensor rows_;                     // (R) of the N
  at::Tensor hidden_;                   // (R', C)
  at::Tensor logits_, teacher_logits_;  // (R', V), the teacher's of its vocabulary
};

}  // namespace

HeadLossResult head_loss(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& next_tokens,
                         const at::Tensor& in_loss, const TeacherSignal& signal, const HeadLossOptions& options,
                         double denominator, at::Tensor& head_gradient, Team& team, HeadLossMemory& memory) {
  const c10::NoGradGuard no_grad;  // gradients are made here, by hand
  HeadLossResult result;
  result.hidden_gradient = at::zeros_like(hidden);
  const at::Tensor wanted = in_loss.nonzero().squeeze(1);  // masked rows are left out before anything is multiplied
  const int64_t n = wanted.size(0);
  result.rows = n;
  for (const LossTerm& term : options.losses) result.sums[term.name] = 0.0;
  Chunk chunk(head, signal, options, denominator, team, memory);
  const int64_t most = chunk.most_rows();
  for (int64_t begin = 0; begin < n; begin += most) {
    const at::Tensor rows = wanted.narrow(0, begin, std::min(most, n - begin));
    chunk.logits(hidden, rows);
    chunk.losses(targets_of(rows, next_tokens, signal, options.weights), result);
    chunk.gradients(result.hidden_gradient, head_gradient);
  }
  return result;
}

void for_each_logits_row(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& in_loss,
                         const HeadLossOptions& options, Team& team, HeadLossMemory& memory, const VisitLogits& visit) {
  const c10::NoGradGuard no_grad;
  const at::Tensor wanted = in_loss.nonzero().squeeze(1);
  const auto vocab_size = static_cast<size_t>(head.size(0));
  Chunk chunk(head, TeacherSignal{}, options, 1.0, team, memory);
  for (int64_t begin = 0, most = chunk.most_rows(); begin < wanted.size(0); begin += most) {
    chunk.logits(hidden, wanted.narrow(0, begin, std::min(most, wanted.size(0) - begin)));
    chunk.each([&](int64_t row, const float* logits) { visit(row, {logits, vocab_size}); });
  }
}

at::Tensor student_entropies(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& in_loss,
                             const HeadLossOptions& options, Team& team, HeadLossMemory& memory) {
  at::Tensor entropies = at::zeros({hidden.size(0)}, at::kFloat);
  auto* of = entropies.mutable_data_ptr<float>();
  for_each_logits_row(hidden, head, in_loss, options, team, memory, [&](int64_t r, std::span<const float> logits) {
    of[r] = static_cast<float>(row_entropy(logits.data(), head.size(0)));
  });
  return entropies;
}

at::Tensor next_log_probs(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& next_tokens,
                          const at::Tensor& in_loss, const HeadLossOptions& options, Team& team,
                          HeadLossMemory& memory) {
  at::Tensor log_probs = at::zeros({hidden.size(0)}, at::kDouble);
  auto* of = log_probs.mutable_data_ptr<double>();
  const auto* next = next_tokens.const_data_ptr<int64_t>();
  for_each_logits_row(hidden, head, in_loss, options, team, memory, [&](int64_t r, std::span<const float> logits) {
    of[r] = static_cast<double>(logits[static_cast<size_t>(next[r])]) - row_lse(logits.data(), head.size(0), 1.0f);
  });
  return log_probs;
}

}  // namespace attar
