#include "prune/layer_choice.h"

#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "runtime/base/error.h"
#include "tests/compress/uneven_model.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

using Layers = std::vector<int64_t>;

ModelConfig deep_config(Family family, size_t n_layers) {
  ModelConfig config = uneven_config(family, true);
  config.layers.assign(n_layers, {LayerKind::FullAttention, 4, 2, 6, 37});
  if (family != Family::Gemma3) return config;
  config.sliding_window = 16;
  for (size_t i = 0; i < n_layers; ++i)
    if (i % 6 != 5) config.layers[i].kind = LayerKind::SlidingAttention;
  return config;
}

PruneOptions uniform(int64_t drop_layers) {
  PruneOptions options;
  options.drop_layers = drop_layers, options.layer_choice = kUniform;
  return options;
}
PruneOptions listed(const Layers& layers, int64_t drop_layers = 0) {
  PruneOptions options;
  options.keep_layers = layers, options.drop_layers = drop_layers;
  return options;
}

// DistilBERT's own script takes these six of BERT's twelve.
TEST(LayerChoice, EvenlySpacedAsDistilBertWas) {
  EXPECT_EQ(evenly_spaced(12, 6), (Layers{0, 2, 4, 7, 9, 11}));
  EXPECT_EQ(evenly_spaced(6, 3), (Layers{0, 3, 5}));
  EXPECT_EQ(evenly_spaced(5, 5), (Layers{0, 1, 2, 3, 4}));
  EXPECT_EQ(evenly_spaced(9, 2), (Layers{0, 8}));
  for (int64_t n = 2; n <= 40; ++n)
    for (int64_t count = 2; count <= n; ++count) {
      const Layers places = evenly_spaced(n, count);
      ASSERT_EQ(static_cast<int64_t>(places.size()), count);
      EXPECT_EQ(places.front(), 0);
      EXPECT_EQ(places.back(), n - 1);
      const int64_t least = (n - 1) / (count - 1);
      for (size_t i = 1; i < places.size(); ++i) {
        EXPECT_GE(places[i] - places[i - 1], least) << n << " " << count;
        EXPECT_LE(places[i] - places[i - 1], least + 1) << n << " " << count;
      }
    }
}

TEST(LayerChoice, GemmaKeepsItsFirstAndLastPatternAndWhatIsBehind) {
  const Layers of_18 = *chosen_layers(deep_config(Family::Gemma3, 18), uniform(6));
  EXPECT_EQ(of_18, (Layers{0, 1, 2, 3, 4, 5, 12, 13, 14, 15, 16, 17}));
  const Layers of_26 = *chosen_layers(deep_config(Family::Gemma3, 26), uniform(12));
  EXPECT_EQ(of_26, (Layers{0, 1, 2, 3, 4, 5, 18, 19, 20, 21, 22, 23, 24, 25}));
  EXPECT_FALSE(chosen_layers(deep_config(Family::Llama, 6), PruneOptions()));
}

// No text is asked: there is none.
TEST(LayerChoice, WhatStaysIsUnchangedAndInOrder) {
  const c10::NoGradGuard no_grad;
  const CausalLM before = CausalLM::random(deep_config(Family::Llama, 6), 2);
  const struct {
    PruneOptions options;
    Layers kept, removed;
    const char* note;
  } cases[] = {
      {uniform(3), {0, 3, 5}, {1, 2, 4}, "kept layers 0, 3 and 5 of 6: evenly spaced, from the first to the last"},
      {listed({2}), {2}, {0, 1, 3, 4, 5}, "kept layer 2 of 6: those that were listed"},
      {listed({1, 2, 3, 5}, 2), {1, 2, 3, 5}, {0, 4}, "kept layers 1, 2, 3 and 5 of 6: those that were listed"},
  };
  for (const auto& [options, kept, removed, note] : cases) {
    EXPECT_FALSE(asks_the_text(options));
    CausalLM model = before.clone();
    TokenizerData tokenizer;
    const PruneResult result = prune(model, tokenizer, TokenDataset(), options, 1);
    EXPECT_EQ(result.kept_layers, kept);
    EXPECT_EQ(result.removed_layers, removed);
    EXPECT_EQ(result.notes, std::vector<std::string>{note});
    EXPECT_TRUE(model.config == pruned_shape(before.config, options));
    EXPECT_EQ(result.parameters_after, model.config.parameter_count());
    EXPECT_EQ(model.parameters.size(), tensor_specs(model.config).size());
    for (const TensorSpec& spec : tensor_specs(model.config)) {
      const bool in_layer = spec.layer >= 0;
      const int64_t was = in_layer ? kept[static_cast<size_t>(spec.layer)] : 0;
      EXPECT_TRUE(model.parameter(spec.name).equal(before.parameter(tensor_name(was, spec.role)))) << spec.name;
    }
  }
}

TEST(LayerChoice, InfluenceSaysWhatStayedToo) {
  const c10::NoGradGuard no_grad;
  CausalLM model = CausalLM::random(deep_config(Family::Llama, 6), 2);
  TokenizerData tokenizer;
  PruneOptions options;
  options.drop_layers = 2;
  EXPECT_TRUE(asks_the_text(options));
  PruneResult result = prune(model, tokenizer, uneven_text(6, 40), options, 1);
  ASSERT_EQ(result.notes.size(), 1u);
  EXPECT_TRUE(result.notes[0].ends_with(" of 6: the others changed the hidden state least")) << result.notes[0];
  Layers all = result.kept_layers;
  EXPECT_TRUE(std::is_sorted(all.begin(), all.end()));
  all.insert(all.end(), result.removed_layers.begin(), result.removed_layers.end());
  std::sort(all.begin(), all.end());
  EXPECT_EQ(all, (Layers{0, 1, 2, 3, 4, 5}));
}

// The cuts behind the chosen layers are kept and taken.
TEST(LayerChoice, GoesOnBehindItsCuts) {
  const c10::NoGradGuard no_grad;
  const TestFolder folder("layer_choice");
  PruneOptions options = uniform(3);
  options.drop_ffn = 0.3, options.round_channels = 1;
  const auto pruned = [&](const std::string& steps) {
    CausalLM model = CausalLM::random(deep_config(Family::Llama, 6), 2);
    TokenizerData tokenizer;
    const PruneResult result = prune(model, tokenizer, uneven_text(6, 40), options, 1, {}, steps);
    EXPECT_EQ(result.kept_layers, (Layers{0, 3, 5}));
    return std::pair(std::move(model), result.notes);
  };
  const auto [whole, notes] = pruned("");
  for (const char* run : {"first", "second, from what the first has kept"}) {
    const auto [again, same_notes] = pruned(folder / "steps");
    EXPECT_EQ(same_notes, notes) << run;
    for (const auto& [name, tensor] : whole.parameters) EXPECT_TRUE(tensor.equal(again.parameter(name))) << run << name;
  }
}

// What an impossible choice is told: the key, and what would be right.
std::string refusal(Family family, size_t n_layers, const PruneOptions& options) {
  try {
    pruned_shape(deep_config(family, n_layers), options);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Usage) << error.what();
    return error.parts().where + ": " + error.parts().expected;
  }
  return "nothing";
}

TEST(LayerChoice, RefusesWhatCannotGoOrStay) {
  EXPECT_EQ(refusal(Family::Llama, 6, listed({0, 6})), "prune.keep_layers: 0 to 5");
  EXPECT_EQ(refusal(Family::Llama, 6, listed({0, 2, 5}, 2)), "prune.drop_layers: 3, or no drop_layers beside it");
  EXPECT_EQ(refusal(Family::Llama, 6, listed({0, 2, 5}, 3)), "nothing");
  EXPECT_EQ(refusal(Family::Llama, 6, uniform(5)), "prune.drop_layers: at most 4");
  EXPECT_EQ(refusal(Family::Llama, 6, uniform(4)), "nothing");
  EXPECT_EQ(refusal(Family::Gemma3, 18, uniform(4)), "prune.drop_layers: a multiple of 6");
  EXPECT_EQ(refusal(Family::Gemma3, 18, uniform(12)), "prune.drop_layers: at most 6");
  EXPECT_EQ(refusal(Family::Gemma3, 18, listed({0, 1, 2, 9, 10, 17})), "nothing");
  EXPECT_EQ(refusal(Family::Gemma3, 18, listed({0, 1, 5})), "prune.keep_layers: a local layer in place 2");
  EXPECT_EQ(refusal(Family::Gemma3, 18, listed({0, 1, 2, 3, 4, 6})), "prune.keep_layers: a global layer in place 5");
}

}  // namespace
}  // namespace attar
