#include "distill/features/relation_match.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace attar {
namespace {

// In place: a row of scores becomes log-probabilities.
void log_softmax_row(float* x, int64_t n) {
  const float most = *std::max_element(x, x + n);
  double sum = 0.0;
  for (int64_t i = 0; i < n; ++i) sum += std::exp(x[i] - most);
  const float log_sum = most + static_cast<float>(std::log(sum));
  for (int64_t i = 0; i < n; ++i) x[i] -= log_sum;
}

// KL(teacher || student) of two rows of log-probabilities; the student's becomes the gradient by its scores, weighed.
double match_row(float* student, const float* teacher, int64_t n, double weight) {
  double kl = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    const double p = std::exp(static_cast<double>(teacher[i]));
    kl += p * (static_cast<double>(teacher[i]) - static_cast<double>(student[i]));
    student[i] = static_cast<float>(weight * (std::exp(static_cast<double>(student[i])) - p));
  }
  return kl;
}

// One document, one relation head, one kind: what one thread does. x (T, d) f32; by (T, d) f32 is added to.
struct Relation {
  at::Tensor student, teacher, by_student;
  const bool* counted;  // (T)
  double weight;

  double match() const {
    double sum = 0.0;
    for (int64_t begin = 0; begin < student.size(0); begin += kRelationRows)
      sum += rows(begin, std::min(begin + kRelationRows, student.size(0)));
    return sum;
  }

 private:
  static at::Tensor scores(const at::Tensor& x, int64_t begin, int64_t end) {
    const double scale = 1.0 / std::sqrt(static_cast<double>(x.size(1)));
    return (x.narrow(0, begin, end - begin) * scale).matmul(x.narrow(0, 0, end).t());
  }

  double rows(int64_t begin, int64_t end) const {
    if (std::none_of(counted + begin, counted + end, [](bool is) { return is; })) return 0.0;
    const at::Tensor mine = scores(student, begin, end), its = scores(teacher, begin, end);  // (rows, end)
    auto *s = mine.mutable_data_ptr<float>(), *t = its.mutable_data_ptr<float>();
    double sum = 0.0;
    for (int64_t r = begin; r < end; ++r, s += end, t += end) {
      const int64_t seen = counted[r] ? r + 1 : 0;
      if (seen > 0) {
        log_softmax_row(s, seen), log_softmax_row(t, seen);
        sum += match_row(s, t, seen, weight);
      }
      std::fill(s + seen, s + end, 0.0f);
    }
    const at::Tensor by_scores = mine * (1.0 / std::sqrt(static_cast<double>(student.size(1))));
    by_student.narrow(0, begin, end - begin).add_(by_scores.matmul(student.narrow(0, 0, end)));
    by_student.narrow(0, 0, end).add_(by_scores.t().matmul(student.narrow(0, begin, end - begin)));
    return sum;
  }
};

}  // namespace

int64_t relation_heads(const LayerConfig& student, const LayerConfig& teacher) {
  return std::gcd(student.n_kv_heads, teacher.n_kv_heads);
}

RelationMatch match_relations(Team& team, const RelationPair& pair, double weight) {
  RelationMatch out;
  std::vector<Relation> relations;
  const double share = 1.0 / (3.0 * static_cast<double>(pair.relation_heads));
  const auto relate = [&](const at::Tensor& student, const at::Tensor& teacher, at::Tensor& by_student) {
    by_student = at::zeros({student.size(0), student.size(1)}, at::kFloat);
    const at::Tensor mine = student.to(at::kFloat), its = teacher.to(at::kFloat);
    int64_t begin = 0;
    for (const int64_t length : pair.lengths) {
      const auto part = [&](const at::Tensor& x, int64_t head) {
        const int64_t width = x.size(1) / pair.relation_heads;
        return x.narrow(0, begin, length).narrow(1, head * width, width);
      };
      for (int64_t head = 0; head < pair.relation_heads; ++head)
        relations.push_back({part(mine, head).contiguous(), part(its, head).contiguous(), part(by_student, head),
                             pair.counted.const_data_ptr<bool>() + begin, weight * share});
      begin += length;
    }
  };
  relate(pair.student.query, pair.teacher.query, out.by_student.query);
  relate(pair.student.key, pair.teacher.key, out.by_student.key);
  relate(pair.student.value, pair.teacher.value, out.by_student.value);
  std::vector<double> sums(relations.size());
  team.run(static_cast<int64_t>(relations.size()),
           [&](int64_t i) { sums[static_cast<size_t>(i)] = relations[static_cast<size_t>(i)].match(); });
  for (const double sum : sums) out.sum += share * sum;
  return out;
}

}  // namespace attar
