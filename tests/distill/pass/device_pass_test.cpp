// The pass by LibTorch beside the one by hand: always on the processor, and on a GPU where there is one.
#include "distill/pass/device_pass.h"

#include <ATen/ops/equal.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "compress/shards.h"
#include "distill/pass/device.h"
#include "runtime/base/error.h"
#include "tests/compress/uneven_model.h"
#include "tests/distill/pass/compared_passes.h"
#include "tests/distill/tiny_training.h"

namespace attar {
namespace {

struct Passed {
  at::Tensor hidden;
  LayerTaps taps{};
  NamedTensors gradients{};
};

// What layers are asked to become, where they show something.
LayerTaps asked_of_layers(const LayerTaps& taps) {
  LayerTaps by;
  for (const auto& [layer, tap] : taps) {
    if (tap.hidden.defined()) by[layer].hidden = asked(tap.hidden);
    if (!tap.heads.query.defined()) continue;
    by[layer].heads = {asked(tap.heads.query), asked(tap.heads.key), asked(tap.heads.value)};
  }
  return by;
}

Passed passed_by_hand(const CausalLM& model, const TokenBatch& batch, const TapPlan& plan) {
  const OwnKernels own;
  const c10::NoGradGuard no_grad;
  Team team(2);
  const PassWeights weights(model, Precision::Fp32, team);
  TrainingPass pass(weights, team, Keeps::All, plan);
  Passed out{.hidden = pass.forward(batch)};
  for (const auto& [layer, tap] : pass.taps()) {  // whose memory is the pass's
    LayerTap& copy = out.taps[layer];
    if (tap.hidden.defined()) copy.hidden = tap.hidden.clone();
    if (tap.heads.query.defined())
      copy.heads = {tap.heads.query.clone(), tap.heads.key.clone(), tap.heads.value.clone()};
  }
  out.gradients = empty_gradients(model);
  pass.backward(asked(out.hidden), out.gradients, asked_of_layers(out.taps));
  return out;
}

struct Place {
  c10::Device device = c10::DeviceType::CPU;
  Keeps keeps = Keeps::All;
  Precision precision = Precision::Fp32;
};
Passed passed_on(const Place& place, const CausalLM& model, const TokenBatch& batch, const TapPlan& plan) {
  const OwnKernels own;
  const c10::NoGradGuard no_grad;
  DevicePass pass(model, place.precision, place.device, place.keeps, plan);
  const at::Tensor hidden = pass.forward(batch);
  Passed out{.hidden = hidden.to(at::kCPU), .taps = pass.taps()};
  NamedTensors there;
  for (const auto& [name, gradient] : empty_gradients(model)) there[name] = gradient.to(place.device);
  pass.backward(asked(hidden).to(place.device), there, asked_of_layers(out.taps));
  for (const auto& [name, gradient] : there) out.gradients[name] = gradient.to(at::kCPU);
  return out;
}

// 2e-5: both are in f32, each within 2e-5 of the same in double (training_pass_test).
void expect_alike(const Passed& got, const Passed& expected, const std::string& name, double tolerance = 2e-5) {
  EXPECT_LT(off(got.hidden, expected.hidden), tolerance) << name;
  ASSERT_EQ(got.gradients.size(), expected.gradients.size());
  for (const auto& [tensor, gradient] : expected.gradients)
    EXPECT_LT(off(got.gradients.at(tensor), gradient), tolerance) << name << ", " << tensor;
  ASSERT_EQ(got.taps.size(), expected.taps.size());
  for (const auto& [layer, tap] : expected.taps) {
    const LayerTap& own = got.taps.at(layer);
    ASSERT_EQ(own.hidden.defined(), tap.hidden.defined()) << name;
    ASSERT_EQ(own.heads.query.defined(), tap.heads.query.defined()) << name;
    if (tap.hidden.defined()) {
      EXPECT_LT(off(own.hidden, tap.hidden), tolerance) << name;
    }
    for (const auto head : {&HeadTap::query, &HeadTap::key, &HeadTap::value})
      if ((tap.heads.*head).defined()) {
        EXPECT_LT(off(own.heads.*head, tap.heads.*head), tolerance) << name;
      }
  }
}

const TapPlan kNoTaps{};

class DevicePassTest : public testing::TestWithParam<Family> {
 protected:
  // On a device, all kinds of passes beside the one by hand.
  static void expect_all_alike(c10::Device device, double tolerance) {
    const CausalLM tiny = uneven(tiny_config(GetParam()));
    const TokenBatch batch = some_tokens(countable(12), 12);
    const TapPlan plan{.hidden = {0, 1}, .heads = {1}};
    expect_alike(passed_on({.device = device}, tiny, batch, kNoTaps), passed_by_hand(tiny, batch, kNoTaps), "plain",
                 tolerance);
    const Passed shown = passed_by_hand(tiny, batch, plan);
    expect_alike(passed_on({.device = device}, tiny, batch, plan), shown, "taps", tolerance);
    expect_alike(passed_on({.device = device, .keeps = Keeps::Streams}, tiny, batch, plan), shown, "streams kept",
                 tolerance);
    for (const bool tied : {true, false}) {
      const CausalLM own_widths = uneven(uneven_config(GetParam(), tied));
      const TokenBatch text = some_tokens(uneven_text(5, 9), 5);
      expect_alike(passed_on({.device = device}, own_widths, text, kNoTaps), passed_by_hand(own_widths, text, kNoTaps),
                   tied ? "tied" : "a head apart", tolerance);
    }
  }
};

TEST_P(DevicePassTest, EqualsTheOneByHand) {
  expect_all_alike(c10::DeviceType::CPU, 2e-5);
}

// Its sums have an order of their own, in f32 all the same.
TEST_P(DevicePassTest, EqualsTheOneByHandOnAGpu) {
  if (!has_cuda()) GTEST_SKIP() << "LibTorch finds no GPU";
  expect_all_alike(*pass_device("cuda"), 1e-4);
}

TEST_P(DevicePassTest, GivesTheSameBitsEachTime) {
  const CausalLM model = uneven(tiny_config(GetParam()));
  const TokenBatch batch = some_tokens(countable(12), 12);
  std::vector<c10::Device> devices{c10::DeviceType::CPU};
  if (has_cuda()) devices.push_back(*pass_device("cuda"));
  for (const c10::Device& device : devices)
    for (const Precision precision : {Precision::Fp32, Precision::Bf16}) {
      const Place all{.device = device, .precision = precision};
      Place streams = all;
      streams.keeps = Keeps::Streams;
      const Passed one = passed_on(all, model, batch, kNoTaps);
      for (const Place& place : {all, streams}) {
        const Passed other = passed_on(place, model, batch, kNoTaps);
        EXPECT_TRUE(at::equal(one.hidden, other.hidden)) << device.str();
        for (const auto& [name, gradient] : one.gradients)
          EXPECT_TRUE(at::equal(gradient, other.gradients.at(name))) << device.str() << ", " << name;
      }
    }
}

// 5 %: what is between products is rounded to bf16 here too, where the pass by hand keeps f32.
TEST_P(DevicePassTest, Bf16IsNear) {
  const CausalLM model = uneven(tiny_config(GetParam()));
  const TokenBatch batch = some_tokens(countable(5), 5);
  const Passed exact = passed_by_hand(model, batch, kNoTaps);
  std::vector<c10::Device> devices{c10::DeviceType::CPU};
  if (has_cuda()) devices.push_back(*pass_device("cuda"));
  for (const c10::Device& device : devices) {
    const Passed got = passed_on({.device = device, .precision = Precision::Bf16}, model, batch, kNoTaps);
    EXPECT_LT(off(got.hidden, exact.hidden), 0.05) << device.str();
    EXPECT_GT(off(got.hidden, exact.hidden), 1e-5) << device.str() << ": it was f32";
    double wrong = 0.0, all = 0.0;
    for (const auto& [name, gradient] : exact.gradients) {
      ASSERT_EQ(got.gradients.at(name).scalar_type(), at::kFloat) << name;
      wrong += (got.gradients.at(name) - gradient).pow(2).sum().item<double>();
      all += gradient.pow(2).sum().item<double>();
    }
    EXPECT_LT(wrong, 0.05 * 0.05 * all) << device.str();
  }
}

// Nothing of a longer batch is left, gradients are added, nobody's is made who is not asked for, and a model that has
// changed is the one that is read after refresh().
TEST_P(DevicePassTest, LeavesNothingBehind) {
  const OwnKernels own;
  const c10::NoGradGuard no_grad;
  CausalLM model = uneven(tiny_config(GetParam()));
  const TokenDataset data = countable(20);
  DevicePass pass(model, Precision::Fp32, c10::DeviceType::CPU, Keeps::All);
  NamedTensors first = empty_gradients(model);
  pass.backward(asked(pass.forward(some_tokens(data, 20))), first);
  const std::string up = tensor_name(1, Role::Up), embedding = tensor_name(0, Role::Embedding);
  for (auto& [name, tensor] : model.parameters) tensor.mul_(1.01);
  pass.refresh();
  NamedTensors twice = empty_gradients(model);
  twice.erase(up), twice.erase(embedding);
  for (int i = 0; i < 2; ++i) pass.backward(asked(pass.forward(some_tokens(data, 3))), twice);
  const Passed alone = passed_by_hand(model, some_tokens(data, 3), kNoTaps);
  EXPECT_EQ(twice.size() + 2, alone.gradients.size());
  for (const auto& [name, gradient] : twice) EXPECT_LT(off(gradient, alone.gradients.at(name) * 2.0), 2e-5) << name;
  EXPECT_TRUE(at::equal(pass.head(), model.head()));
}

INSTANTIATE_TEST_SUITE_P(Families, DevicePassTest,
                         testing::Values(Family::Llama, Family::Qwen2, Family::Qwen3, Family::Gemma3));

TEST(Device, IsWhatIsHere) {
  EXPECT_EQ(device_here("cpu"), "cpu");
  EXPECT_FALSE(pass_device("cpu", 3));
  EXPECT_EQ(device_here("auto"), has_cuda() ? "cuda" : "cpu");
  EXPECT_EQ(pass_device("auto").has_value(), has_cuda());
  EXPECT_THROW(pass_device("gpu"), Error);
  EXPECT_EQ(precision_on({}, "auto"), find_precision("auto"));
  EXPECT_EQ(precision_on(c10::Device(c10::DeviceType::CUDA, 1), "auto"), Precision::Bf16);
  EXPECT_EQ(precision_on(c10::Device(c10::DeviceType::CUDA, 1), "fp32"), Precision::Fp32);
  EXPECT_EQ(precision_on(c10::Device(c10::DeviceType::CPU), "auto"), find_precision("auto"));
}

TEST(Device, AGpuThatIsNotHereIsSaid) {
  if (has_cuda()) GTEST_SKIP() << "there is one";
  try {
    device_here("cuda");
    FAIL() << "it was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Resources);
    for (const char* word : {"cuda is asked for", "LibTorch", "cpu or auto"})
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
  }
  EXPECT_THROW(pass_device("cuda"), Error);
}

}  // namespace
}  // namespace attar
