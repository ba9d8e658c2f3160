// A teacher's signal as the runtime makes it in f32, beside that of a training's passes: by hand, by LibTorch on the
// processor, and on a GPU where there is one.
#include "recipes/data/signal_capture.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "compress/signal/sampled_signal.h"
#include "distill/pass/device.h"
#include "runtime/base/error.h"
#include "tests/distill/tiny_training.h"
#include "tests/runtime/spoken_model.h"

namespace attar {
namespace {

constexpr int64_t kTopEntries = 9, kStateWidth = 32;
constexpr double kRounding = 1e-4;  // of a log-probability: f32 sums of 32 numbers, of logits up to 50

enum class SignalForm { TopK, Sample, States };
using Captured = std::vector<TokenDocument>;

// Its likeliest tokens are far apart. `spoilt`: what one of its weights is; `norm`: what those of the last norm are.
ModelFile asked_teacher(float spoilt = 0.5f, double norm = 6.0) {
  ModelConfig config = tiny_config(Family::Llama);
  config.width = kStateWidth;
  for (LayerConfig& layer : config.layers) layer.head_dim = 8;
  const auto model = std::make_shared<CausalLM>(CausalLM::random(config, 9));
  model->parameters.at(tensor_name(0, Role::OutputNorm)).mul_(norm);
  model->parameters.at(tensor_name(1, Role::Down)).mutable_data_ptr<float>()[7] = spoilt;
  std::vector<std::string> words;
  for (int64_t id = 3; id < config.vocab_size; ++id) words.push_back("w" + std::to_string(id));
  ModelFile::Parts parts;
  parts.config = config, parts.tokenizer = runtime::spoken_tokenizer(words);
  parts.source = "the teacher", parts.owner = model;
  for (const TensorSpec& spec : tensor_specs(config)) {
    const at::Tensor& values = model->parameter(spec.name);
    const std::span all(values.const_data_ptr<float>(), static_cast<size_t>(values.numel()));
    parts.tensors[spec.name] = {TensorType::F32, spec.shape, std::as_bytes(all)};
  }
  return ModelFile(std::move(parts));
}

// More than is read at once. One document teaches nothing, one is a token alone, one is learned in part.
TokenDataset asked_text(SignalForm form) {
  TokenDataset data = countable(220);
  std::fill(data.documents[3].in_loss.begin(), data.documents[3].in_loss.end(), uint8_t{0});
  data.documents[8] = {{5}, {1}, {}, {}};
  for (size_t t = 0; t < data.documents[10].tokens.size(); ++t) data.documents[10].in_loss[t] = t % 3 == 2 ? 1 : 0;
  if (form == SignalForm::TopK) data.signal_k = kTopEntries;
  if (form == SignalForm::Sample) data.sampled = {24, id_bits_of(300)};
  if (form == SignalForm::States) data.hidden_width = kStateWidth;
  return data;
}

Captured captured(const TokenDataset& data, const CaptureOptions& how, size_t first = 0) {
  Captured out;
  capture_signal(asked_teacher(), data, first, how, [&](TokenDocument one) { out.push_back(std::move(one)); });
  return out;
}

// log-probabilities (k) of a token; those of an id apart from its neighbours are of the same id.
void expect_like_top_k(const TokenDocument& a, const TokenDocument& b, int64_t& compared) {
  constexpr auto kEntries = static_cast<size_t>(kTopEntries);
  ASSERT_EQ(a.signal_ids.size(), b.signal_ids.size());
  for (size_t i = 0; i < a.signal_ids.size(); ++i) {
    const float p = a.signal_log_probs[i], q = b.signal_log_probs[i];
    ASSERT_EQ(a.signal_ids[i] < 0, b.signal_ids[i] < 0);
    if (a.signal_ids[i] < 0) {  // what was cut, or an entry that is not used
      EXPECT_NEAR(std::exp(p), std::exp(q), kRounding);
      continue;
    }
    EXPECT_NEAR(p, q, kRounding);
    const auto apart = [&](size_t j) { return std::abs(p - a.signal_log_probs[j]) > 10 * kRounding; };
    const size_t at = i % kEntries;
    if (at + 2 >= kEntries || !apart(i + 1) || (at > 0 && !apart(i - 1))) continue;  // nor the last one that is named
    EXPECT_EQ(a.signal_ids[i], b.signal_ids[i]);
    ++compared;
  }
}

// Rows of which rounding changed no code, and all.
struct RowCount {
  int64_t alike = 0, all = 0;
};
void count_rows(const TokenDocument& a, const TokenDocument& b, RowCount& rows) {
  const int id_bits = id_bits_of(300);
  const size_t tokens = a.tokens.size();
  const std::vector<SampledRow> ours = decode_rows(a.sampled_signal, id_bits, 0, tokens),
                                theirs = decode_rows(b.sampled_signal, id_bits, 0, tokens);
  for (size_t t = 0; t < tokens; ++t) {
    ASSERT_EQ(ours[t].empty(), theirs[t].empty());
    ASSERT_EQ(ours[t].empty(), t == 0 || a.in_loss[t] == 0);
    if (ours[t].empty()) continue;
    std::vector<uint8_t> row, other;
    encode_row(ours[t], id_bits, row), encode_row(theirs[t], id_bits, other);
    rows.all += 1, rows.alike += row == other ? 1 : 0;
    EXPECT_NEAR(ours[t].entropy, theirs[t].entropy, 0.02);  // a step is 1/64
  }
}

void expect_like_states(const TokenDocument& a, const TokenDocument& b) {
  std::vector<float> ours(kStateWidth), theirs(kStateWidth);
  for (size_t t = 0; t < a.tokens.size(); ++t) {
    ASSERT_EQ(has_state(a.hidden, t, kStateWidth), t > 0 && a.in_loss[t] != 0);
    ASSERT_EQ(has_state(a.hidden, t, kStateWidth), has_state(b.hidden, t, kStateWidth));
    if (!has_state(a.hidden, t, kStateWidth)) continue;
    decode_state(a.hidden, t, ours), decode_state(b.hidden, t, theirs);
    const auto dot = [](const std::vector<float>& x, const std::vector<float>& y) {
      return std::inner_product(x.begin(), x.end(), y.begin(), 0.0);
    };
    EXPECT_GT(dot(ours, theirs) / std::sqrt(dot(ours, ours) * dot(theirs, theirs)), 0.9999);
  }
}

// Of all tokens, or of those that a student has whose vocabulary is cut.
std::vector<std::vector<int32_t>> students_tokens() {
  std::vector<int32_t> some;
  for (int32_t id = 0; id < 300; id += 3) some.push_back(id);
  return {{}, some};
}

void expect_like_the_runtime(const PassPlace& place) {
  for (const SignalForm form : {SignalForm::TopK, SignalForm::Sample, SignalForm::States})
    for (const std::vector<int32_t>& kept : students_tokens()) {
      const TokenDataset data = asked_text(form);
      const Captured ours = captured(data, {.kept = kept, .numerics = kTrainingNumerics, .place = place, .threads = 2}),
                     theirs = captured(data, {.kept = kept, .numerics = "fp32", .threads = 2});
      ASSERT_EQ(ours.size(), data.documents.size());
      ASSERT_EQ(theirs.size(), data.documents.size());
      int64_t ids = 0, compared = 0;
      RowCount rows;
      for (size_t d = 0; d < ours.size(); ++d) {
        ASSERT_EQ(ours[d].tokens, data.documents[d].tokens);
        ASSERT_EQ(ours[d].has_signal(), theirs[d].has_signal()) << d;
        if (!ours[d].has_signal()) continue;
        ++compared;
        if (form == SignalForm::TopK) expect_like_top_k(ours[d], theirs[d], ids);
        if (form == SignalForm::Sample) count_rows(ours[d], theirs[d], rows);
        if (form == SignalForm::States) expect_like_states(ours[d], theirs[d]);
      }
      EXPECT_FALSE(ours[3].has_signal()) << "it teaches nothing";
      EXPECT_GT(compared, 200);
      if (form == SignalForm::TopK) {
        EXPECT_GT(ids, 1000);
      }
      if (form == SignalForm::Sample) {
        EXPECT_GT(rows.all, 1000);
      }
      EXPECT_GE(rows.alike, rows.all * 9 / 10);
    }
}

TEST(SignalCapture, OfATrainingsPassesIsThatOfTheRuntimeButForRounding) {
  expect_like_the_runtime({});
  expect_like_the_runtime({.device = c10::Device(c10::DeviceType::CPU)});
}

TEST(SignalCapture, OnAGpuIsThatOfTheRuntimeButForRounding) {
  if (!has_cuda()) GTEST_SKIP() << "LibTorch finds no GPU";
  expect_like_the_runtime({.device = pass_device("cuda")});
}

TEST(SignalCapture, DependsNeitherOnThreadsNorOnWhereItGoesOn) {
  for (const SignalForm form : {SignalForm::TopK, SignalForm::Sample, SignalForm::States})
    for (const PassPlace& place : {PassPlace{}, PassPlace{.precision = Precision::Bf16}}) {
      const TokenDataset data = asked_text(form);
      const auto ways = [&](int threads) {
        return CaptureOptions{.numerics = kTrainingNumerics, .place = place, .threads = threads};
      };
      const Captured whole = captured(data, ways(2));
      for (const size_t first : {size_t{0}, size_t{77}, data.documents.size()}) {
        const Captured rest = captured(data, ways(3), first);
        ASSERT_EQ(rest.size(), whole.size() - first);
        for (size_t d = 0; d < rest.size(); ++d) {
          EXPECT_EQ(rest[d].signal_ids, whole[first + d].signal_ids);
          EXPECT_EQ(rest[d].signal_log_probs, whole[first + d].signal_log_probs);
          EXPECT_EQ(rest[d].sampled_signal, whole[first + d].sampled_signal);
          EXPECT_EQ(rest[d].hidden.codes, whole[first + d].hidden.codes);
          EXPECT_EQ(rest[d].hidden.scales, whole[first + d].hidden.scales);
        }
      }
    }
}

TEST(SignalCapture, TellsHowFarItIsAndStopsWhenItIsAsked) {
  const TokenDataset data = asked_text(SignalForm::TopK);
  for (const char* numerics : {"fp32", kTrainingNumerics}) {
    int64_t last = 0;
    size_t handed_on = 0;
    const auto count = [&](const TokenDocument&) { ++handed_on; };
    const auto until = [&](int64_t most) {
      return [&last, most](const Event& event) {
        EXPECT_EQ(event.stage, "teacher signal");
        EXPECT_GE(event.done, last);
        last = event.done;
        return last < most ? Flow::GoOn : Flow::Stop;
      };
    };
    capture_signal(asked_teacher(), data, 0, {.numerics = numerics}, count, until(data.token_count() + 1));
    EXPECT_EQ(last, data.token_count());
    EXPECT_EQ(handed_on, data.documents.size());
    last = 0, handed_on = 0;
    try {
      capture_signal(asked_teacher(), data, 0, {.numerics = numerics}, count, until(1000));
      ADD_FAILURE() << numerics;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Interrupted);
    }
    EXPECT_GT(handed_on, 0u);
    EXPECT_LT(handed_on, data.documents.size());
  }
}

TEST(SignalCapture, NamesATeacherWhoseWeightsAreNoNumbers) {
  const ModelFile spoilt = asked_teacher(std::numeric_limits<float>::quiet_NaN());
  for (const char* numerics : {"fp32", kTrainingNumerics}) {
    try {
      capture_signal(spoilt, asked_text(SignalForm::States), 0, {.numerics = numerics}, [](const TokenDocument&) {});
      ADD_FAILURE() << numerics;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Input);
      EXPECT_NE(std::string(error.what()).find(tensor_name(1, Role::Down)), std::string::npos) << error.what();
    }
  }
}

// Weights that are numbers one by one can overflow together; the team's threads find out.
TEST(SignalCapture, NamesATeacherThatOverflows) {
  const ModelFile overflowing = asked_teacher(0.5f, 3e38);
  for (const char* numerics : {"fp32", kTrainingNumerics})
    for (const SignalForm form : {SignalForm::TopK, SignalForm::Sample, SignalForm::States}) {
      try {
        capture_signal(overflowing, asked_text(form), 0, {.numerics = numerics, .threads = 2},
                       [](const TokenDocument&) {});
        ADD_FAILURE() << numerics;
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::Input);
        EXPECT_NE(std::string(error.what()).find("not finite"), std::string::npos) << error.what();
      }
    }
}

}  // namespace
}  // namespace attar
