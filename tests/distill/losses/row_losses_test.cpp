#include "distill/losses/row_losses.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <variant>
#include <vector>

#include "tests/distill/losses/row_loss_rows.h"

namespace attar {
namespace {

struct Golden {
  const char* name;
  double temperature, value;
  Doubles gradient;
  LossSettings settings{};
};
const Golden kGoldens[] = {
    {"forward_kl", 1, 0.194689, {-0.256459, -0.001879, 0.147859, 0.110478}},
    {"forward_kl", 2, 0.273796, {-0.278024, -0.059741, 0.157458, 0.180306}},
    {"reverse_kl", 1, 0.247117, {-0.292561, -0.059945, 0.175059, 0.177447}},
    {"reverse_kl", 2, 0.293133, {-0.276742, -0.092460, 0.153675, 0.215527}},
    {"symmetric_kl", 1, 0.220903, {-0.274510, -0.030912, 0.161459, 0.143963}},
    {"jsd", 1, 0.052615, {-0.064480, -0.005985, 0.038869, 0.031596}},
    {"jsd", 2, 0.070160, {-0.068185, -0.018673, 0.038720, 0.048138}},
    {"jsd", 1, 0.042558, {-0.053503, -0.003049, 0.031756, 0.024795}, {{"jsd_beta", 0.3}}},
    {"jsd", 2, 0.058239, {-0.057501, -0.014394, 0.032691, 0.039204}, {{"jsd_beta", 0.3}}},
    {"skew_forward_kl", 1, 0.161480, {-0.205861, -0.008209, 0.121120, 0.092950}},
    {"skew_forward_kl", 2, 0.223460, {-0.222503, -0.053099, 0.126466, 0.149136}},
    {"skew_reverse_kl", 1, 0.184014, {-0.218942, -0.033263, 0.133875, 0.118331}},
    {"skew_reverse_kl", 2, 0.232596, {-0.221655, -0.068587, 0.124820, 0.165422}},
    {"total_variation", 1, 0.258338, {-0.146280, -0.088723, 0.146280, 0.088723}},
    {"total_variation", 2, 0.675528, {-0.276742, -0.215527, 0.276742, 0.215527}},
    {"uld", 1, 0.516675, {-0.292561, -0.177446, 0.292560, 0.177447}},
};

// Those of two tokenizers have tests of their own.
std::vector<LossKind> loss_kinds_of_one_tokenizer() {
  std::vector<LossKind> kinds;
  for (const LossKind& kind : loss_kinds())
    if (!kind.across) kinds.push_back(kind);
  return kinds;
}

TEST(RowLosses, GoldenRows) {
  for (const Golden& golden : kGoldens) {
    const Outcome got = fast(term_of(golden.name, golden.temperature, golden.settings), kStudent, dense(kTeacher));
    EXPECT_NEAR(got.value, golden.value, 2e-6) << golden.name << " " << golden.temperature;
    for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(got.gradient[i], golden.gradient[i], 2e-6) << golden.name << " " << i;
  }
}

double total(const Doubles& values) {
  double sum = 0.0;
  for (const double v : values) sum += std::abs(v);
  return sum;
}

const LossSettings kSmooth{{"label_smoothing", 0.1}, {"z_loss", 1e-3}};

// Odd sizes around the vector width and the chunk, and two real vocabularies; flat and sharp logits. 2e-6: exponentials
// and sums of f32 lanes.
TEST(RowLosses, EveryKindAgreesWithItsDefinition) {
  for (const LossKind& kind : loss_kinds_of_one_tokenizer())
    for (const int64_t n : {1, 2, 15, 17, 257, 4097, 49152, 151936})
      for (const double spread : {1.0, 25.0})
        for (const double t : {1.0, 1.5}) {
          const std::string where = kind.name + (" V = " + std::to_string(n)) + ", spread " + std::to_string(spread);
          const Rows rows(n, spread, 3);
          const LossTerm term = term_of(kind.name, t, kind.needs_teacher ? LossSettings{} : kSmooth);
          Doubles p = softmax(rows.y, term.temperature), q = softmax(rows.z, term.temperature);
          if (!kind.needs_teacher)
            for (size_t i = 0; i < p.size(); ++i) p[i] = i == p.size() / 2 ? 1.0 : 0.1 / static_cast<double>(n);
          const Outcome got = fast(term, rows.z, dense(rows.y), 0.5);
          const Exact expected = exact(term, rows.z, dense(rows.y), 0.5);
          expect_like(got, expected, p, q, 2e-6, spread, where);
          EXPECT_GE(got.value, 0.0);
          if (n > 2) {
            EXPECT_GT(total(expected.gradient), 1e-3) << where;
          }
        }
}

// A loss by its definition whose constants to the gradient stay what they are at `z`: TAID's target, the weights of
// adaptive_kl.
class FrozenLoss {
 public:
  FrozenLoss(const LossTerm& term, const Floats& z, const RowTarget& target) : term_(term), target_(target) {
    if (const auto* taid = std::get_if<Taid>(&term.form)) {
      freeze_target(taid->share, z);
      term_.form = ForwardKl{};
    } else if (std::holds_alternative<AdaptiveKl>(term.form)) {
      const double all = exact(term, z, target).value, forward = value_of(ForwardKl{}, z),
                   reverse = value_of(ReverseKl{}, z), share = (all - reverse) / (forward - reverse);
      term_.form = WeighedKl{share, 1.0 - share};
    }
  }
  FrozenLoss(const FrozenLoss&) = delete;
  FrozenLoss& operator=(const FrozenLoss&) = delete;

  double at(const Floats& z) const { return exact(term_, z, target_).value; }

 private:
  double value_of(const LossForm& form, const Floats& z) const {
    LossTerm other = term_;
    other.form = form;
    return exact(other, z, target_).value;
  }
  // softmax((1 - share) z + share y), or of its buckets q^(1 - share) p^share.
  void freeze_target(double share, const Floats& z) {
    const auto moved = [&](double of_student, double of_teacher) {
      return std::pow(of_student, 1.0 - share) * std::pow(of_teacher, share);
    };
    if (target_.teacher != nullptr) {
      for (size_t i = 0; i < z.size(); ++i)
        mixed_.push_back(static_cast<float>((1.0 - share) * static_cast<double>(z[i]) +
                                            share * static_cast<double>(target_.teacher[i])));
      target_.teacher = mixed_.data();
      return;
    }
    const Doubles q = softmax(z, term_.temperature);
    Doubles points;
    double kept_p = 0.0, kept_q = 0.0, sum = 0.0;
    for (int64_t j = 0; j < target_.top.k; ++j) {
      const int64_t id = target_.top.ids[j];
      const double of_teacher = std::exp(static_cast<double>(target_.top.log_probs[j])),
                   of_student = id < 0 ? 0.0 : q[static_cast<size_t>(id)];
      kept_p += of_teacher, kept_q += of_student;
      sum += points.emplace_back(moved(of_student, of_teacher));
    }
    sum += moved(1.0 - kept_q, 1.0 - kept_p);
    for (const double point : points) mixed_.push_back(static_cast<float>(std::log(point / sum)));
    target_.top.log_probs = mixed_.data();
  }

  LossTerm term_;
  RowTarget target_;
  Floats mixed_;
};

// A row of logits, its teacher's, and tokens at which slopes are looked at.
struct Slopes {
  double spread;
  Rows rows;
  Top top;
  std::vector<size_t> tokens;
  Slopes(int64_t n, double width) : spread(width), rows(n, width, 5), top(rows.y, 5, 0.3) {
    const int64_t likeliest = std::max_element(rows.z.begin(), rows.z.end()) - rows.z.begin();
    for (const int64_t i : {int64_t{0}, int64_t{1}, n / 2, n - 1, top.ids[0], likeliest})
      tokens.push_back(static_cast<size_t>(i));
  }
};

// Central differences of the definition, over the step that f32 logits really take: off by the square of the step,
// 1e-6, times the third slope, which is of the size of the probabilities and grows with the logits, and by what sums in
// double round away, 1e-9 of the loss over the step.
void expect_differences(const Slopes& of, const LossTerm& term, const RowTarget& target, const std::string& where) {
  const Doubles p = softmax(of.rows.y, term.temperature), q = softmax(of.rows.z, term.temperature);
  const Exact expected = exact(term, of.rows.z, target);
  const FrozenLoss loss(term, of.rows.z, target);
  Floats z = of.rows.z;
  for (const size_t i : of.tokens) {
    if (std::holds_alternative<TotalVariation>(term.form) && std::abs(p[i] - q[i]) < 0.01 * (p[i] + q[i]))
      continue;  // it jumps there
    const float middle = z[i];
    z[i] = middle + 1e-3f;
    const double high = static_cast<double>(z[i]), above = loss.at(z);
    z[i] = middle - 1e-3f;
    const double low = static_cast<double>(z[i]), below = loss.at(z);
    z[i] = middle;
    const double difference = (above - below) / (high - low);
    EXPECT_NEAR(expected.gradient[i], difference,
                1e-5 * std::abs(difference) + 5e-7 * (1.0 + of.spread) * (p[i] + q[i]) + 1e-9 * (1.0 + expected.value))
        << where << " at " << i;
  }
}

TEST(RowLosses, GradientsAreDifferences) {
  for (const int64_t n : {257, 49152, 151936})
    for (const double spread : {1.0, 25.0}) {
      const Slopes of(n, spread);
      for (const LossKind& kind : loss_kinds_of_one_tokenizer())
        for (const double t : n > 257 ? std::vector<double>{2.0} : std::vector<double>{1.0, 2.0}) {
          const LossTerm term = term_of(kind.name, t, kind.needs_teacher ? LossSettings{} : kSmooth);
          const std::string where = kind.name + (", V = " + std::to_string(n)) + ", spread " + std::to_string(spread) +
                                    ", temperature " + std::to_string(t);
          expect_differences(of, term, dense(of.rows.y), where);
          if (kind.needs_teacher) expect_differences(of, term, of.top.target(), where + ", cached");
        }
    }
}

TEST(RowLosses, TaidIsForwardKlToTheMixedLogits) {
  const Rows rows(300, 8.0, 2);
  Floats mixed;
  for (size_t i = 0; i < 300; ++i) mixed.push_back(0.3f * rows.z[i] + 0.7f * rows.y[i]);
  const Exact taid = exact(term_of("taid", 1.5), rows.z, dense(rows.y)),
              kl = exact(term_of("forward_kl", 1.5), rows.z, dense(mixed));
  EXPECT_NEAR(taid.value, kl.value, 1e-6 * kl.value);
  for (size_t i = 0; i < 300; ++i) EXPECT_NEAR(taid.gradient[i], kl.gradient[i], 1e-7);
}

TEST(RowLosses, AdaptiveKlWeighsByWhereTheTeacherIsSure) {
  // p = (.6, .3, .1): the head is the first token, gap .2 of .4
  const Floats y{std::log(0.6f), std::log(0.3f), std::log(0.1f)}, z{std::log(0.4f), std::log(0.4f), std::log(0.2f)};
  EXPECT_NEAR(fast(term_of("adaptive_kl"), z, dense(y)).value, fast(term_of("symmetric_kl"), z, dense(y)).value, 1e-6);
  // q = (.2, .3, .5): gap .4 of .8 again; with more of the head wanted, two tokens are in it: still .4
  const Floats other{std::log(0.2f), std::log(0.3f), std::log(0.5f)};
  EXPECT_NEAR(fast(term_of("adaptive_kl", 1.0, {{"head_mass", 0.95}}), other, dense(y)).value,
              fast(term_of("forward_kl"), other, dense(y)).value, 1e-6);
}

TEST(RowLosses, TermsAddUpAndEachHasItsTemperature) {
  const Rows rows(1000, 6.0, 9);
  const std::vector<LossTerm> terms =
      loss_terms({{"forward_kl", 0.5}, {"jsd", 2.0}, {"cross_entropy", 0.25}, {"reverse_kl", 0.0}},
                 {{"jsd_temperature", 3.0}}, 2.0, 1.0);
  ASSERT_EQ(terms.size(), 3u);  // by name: cross_entropy, forward_kl, jsd
  EXPECT_EQ(terms[0].temperature, 1.0);
  EXPECT_EQ(terms[1].temperature, 2.0);
  EXPECT_EQ(terms[2].temperature, 3.0);
  Floats gradient(1000, 0.0f);
  Doubles values(3), sum(1000, 0.0);
  RowLosses(terms, 1000).add(rows.z.data(), dense(rows.y), 0.125, gradient.data(), values.data());
  for (size_t t = 0; t < 3; ++t) {
    const Exact alone = exact(terms[t], rows.z, dense(rows.y), 0.125 * terms[t].weight);
    EXPECT_NEAR(values[t], alone.value, 1e-5 * alone.value);
    for (size_t i = 0; i < 1000; ++i) sum[i] += alone.gradient[i];
  }
  for (size_t i = 0; i < 1000; ++i) EXPECT_NEAR(gradient[i], sum[i], 1e-7);
}

TEST(RowLosses, PropertiesOfEveryDivergence) {
  const Rows rows(777, 10.0, 1);
  for (const LossKind& kind : loss_kinds_of_one_tokenizer()) {
    if (!kind.needs_teacher) continue;
    const LossTerm term = term_of(kind.name, 2.0);
    EXPECT_NEAR(fast(term, rows.z, dense(rows.z)).value, 0.0, 1e-5) << kind.name;
    const Outcome got = fast(term, rows.z, dense(rows.y));
    EXPECT_GT(got.value, 0.05) << kind.name;
    double sum = 0.0;
    for (const float g : got.gradient) sum += static_cast<double>(g);
    EXPECT_NEAR(sum, 0.0, 1e-5) << kind.name;
    Floats shifted = rows.z;
    for (float& v : shifted) v += 100.0f;
    EXPECT_NEAR(fast(term, shifted, dense(rows.y)).value, got.value, 1e-4 * got.value) << kind.name;
    const Rows far(777, 2e4, 4);
    const Outcome finite = fast(term, far.z, dense(far.y));
    EXPECT_TRUE(std::isfinite(finite.value)) << kind.name;
    for (const float g : finite.gradient) ASSERT_TRUE(std::isfinite(g)) << kind.name;
  }
}

TEST(RowLosses, BoundedDivergencesKeepTheirBounds) {
  const Rows far(500, 2e3, 8);
  const auto value = [&](const char* name) { return fast(term_of(name), far.z, dense(far.y)).value; };
  EXPECT_NEAR(value("total_variation"), 1.0, 1e-5);
  EXPECT_NEAR(value("jsd"), std::log(2.0), 1e-4);
  EXPECT_NEAR(value("skew_forward_kl"), -std::log(0.1), 1e-4);
  EXPECT_NEAR(value("skew_reverse_kl"), -std::log(0.1), 1e-4);
}

// Vocabularies of other sizes, and probabilities that have no partner.
TEST(RowLosses, SortedDistanceAgreesWithItsDefinition) {
  for (const auto& [n, m] : {std::pair<int64_t, int64_t>{1, 5}, {5, 1}, {17, 300}, {300, 17}, {257, 257}, {4097, 999}})
    for (const double spread : {1.0, 20.0})
      for (const double t : {1.0, 2.5}) {
        const Floats z = Rows(n, spread, 3).z, y = Rows(m, spread, 4).y;
        const RowTarget target{.teacher = y.data(), .teacher_size = m};
        const LossTerm term = term_of("uld", t);
        const Outcome got = fast(term, z, target, 0.5);
        const Exact expected = exact(term, z, target, 0.5);
        EXPECT_NEAR(got.value, expected.value, 1e-5 * t * t) << n << " " << m;
        for (size_t i = 0; i < z.size(); ++i)
          ASSERT_NEAR(got.gradient[i], expected.gradient[i], 2e-6 * t) << n << " " << i;
        if (n > 16 && n >= m) {  // against more tokens all of the student's may be too likely
          EXPECT_GT(total(expected.gradient), 1e-3) << n << " " << m;
        }
      }
}

TEST(RowLosses, GradientOfSortedDistanceIsADifference) {
  const Rows rows(40, 6.0, 6);
  const Floats y(rows.y.begin(), rows.y.begin() + 31);
  const RowTarget target{.teacher = y.data(), .teacher_size = 31};
  const LossTerm term = term_of("uld", 1.5);
  const Exact at = exact(term, rows.z, target);
  for (size_t i = 0; i < 40; ++i) {
    Floats up = rows.z, down = rows.z;
    up[i] += 1e-3f, down[i] -= 1e-3f;
    const double step = static_cast<double>(up[i]) - static_cast<double>(down[i]);
    const double difference = (exact(term, up, target).value - exact(term, down, target).value) / step;
    EXPECT_NEAR(at.gradient[i], difference, 1e-5) << i;
  }
}

TEST(RowLosses, AChunkPassesOnItsSlope) {
  const Rows rows(300, 8.0, 6);
  const RowTarget target{.token = 7, .chunk = {0.25, -1.5}};
  const Outcome got = fast(term_of("aligned_likelihood"), rows.z, target, 0.5);
  const Exact text = exact(term_of("cross_entropy"), rows.z, target, 0.5 * 1.5);
  EXPECT_EQ(got.value, 0.25);
  for (size_t i = 0; i < 300; ++i) EXPECT_NEAR(got.gradient[i], text.gradient[i], 1e-6);
}

TEST(RowLosses, NaNIsNoLossOfZero) {
  const Floats broken{1, std::nanf(""), 0.5, 0};
  const std::vector<int64_t> ids{0, 1};
  const Floats log_probs{-0.5f, -1.5f};
  for (const LossKind& kind : loss_kinds_of_one_tokenizer()) {
    const LossTerm term = term_of(kind.name);
    EXPECT_TRUE(std::isnan(fast(term, broken, dense(kTeacher)).value)) << kind.name;
    if (!kind.needs_teacher) continue;
    EXPECT_TRUE(std::isnan(fast(term, kStudent, dense(broken)).value)) << kind.name;
    EXPECT_TRUE(std::isnan(fast(term, broken, {.top = {ids.data(), log_probs.data(), 2}}).value)) << kind.name;
  }
  EXPECT_TRUE(std::isnan(fast(term_of("uld"), broken, dense(kTeacher)).value));
  EXPECT_TRUE(std::isnan(fast(term_of("uld"), kStudent, dense(broken)).value));
  EXPECT_TRUE(std::isnan(fast(term_of("aligned_likelihood"), kStudent, {.chunk = {std::nan(""), 1.0}}).value));
}

}  // namespace
}  // namespace attar
