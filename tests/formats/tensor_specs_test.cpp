#include "runtime/formats/tensor_specs.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/formats/tiny_files.h"

namespace attar {
namespace {

const TensorSpec& by_role(const std::vector<TensorSpec>& specs, Role role, int64_t layer) {
  for (const TensorSpec& spec : specs)
    if (spec.role == role && spec.layer == layer) return spec;
  throw std::out_of_range(role_name(role));
}

TEST(TensorSpecs, NamesStandOnce) {
  for (const FamilyTraits& family : families()) {
    ModelConfig config = tiny(family.family);
    config.tied_embeddings = false;
    std::set<std::string> names, hf_names;
    for (const TensorSpec& spec : tensor_specs(config)) {
      EXPECT_TRUE(names.insert(spec.name).second) << spec.name;
      EXPECT_TRUE(hf_names.insert(spec.hf_name).second) << spec.hf_name;
    }
  }
}

TEST(TensorSpecs, EveryFamilyHasItsTensors) {
  const std::pair<Family, size_t> per_layer[] = {
      {Family::Llama, 9}, {Family::Qwen2, 12}, {Family::Qwen3, 11}, {Family::Gemma3, 13}};
  for (const auto& [family, count] : per_layer) {
    ModelConfig config = tiny(family);
    EXPECT_EQ(tensor_specs(config).size(), 2 + count * config.layers.size()) << traits(family).name;
    config.tied_embeddings = false;
    EXPECT_EQ(tensor_specs(config).back().name, "output.weight");
    EXPECT_EQ(tensor_specs(config).back().hf_name, "lm_head.weight");
  }
}

// The same Hugging Face name means the norm before the feed-forward part in llama, and the norm after attention in
// gemma3.
TEST(TensorSpecs, PostAttentionLayernormMeansTwoThings) {
  const auto llama = tensor_specs(tiny(Family::Llama)), gemma = tensor_specs(tiny(Family::Gemma3));
  EXPECT_EQ(by_role(llama, Role::FfnNorm, 2).hf_name, "model.layers.2.post_attention_layernorm.weight");
  EXPECT_EQ(by_role(llama, Role::FfnNorm, 2).name, "blk.2.ffn_norm.weight");
  EXPECT_EQ(by_role(gemma, Role::PostAttentionNorm, 2).hf_name, "model.layers.2.post_attention_layernorm.weight");
  EXPECT_EQ(by_role(gemma, Role::PostAttentionNorm, 2).name, "blk.2.post_attention_norm.weight");
  EXPECT_EQ(by_role(gemma, Role::FfnNorm, 2).hf_name, "model.layers.2.pre_feedforward_layernorm.weight");
  EXPECT_EQ(by_role(gemma, Role::PostFfnNorm, 2).name, "blk.2.post_ffw_norm.weight");
}

TEST(TensorSpecs, ShapesFollowTheLayer) {
  const auto specs = tensor_specs(tiny_uneven(Family::Qwen2));  // layer 1: H 2, K 1, D 8, F 12
  using Shape = std::vector<int64_t>;
  EXPECT_EQ(by_role(specs, Role::Query, 1).shape, (Shape{16, 16}));
  EXPECT_EQ(by_role(specs, Role::Query, 0).shape, (Shape{32, 16}));
  EXPECT_EQ(by_role(specs, Role::Key, 1).shape, (Shape{8, 16}));
  EXPECT_EQ(by_role(specs, Role::ValueBias, 1).shape, (Shape{8}));
  EXPECT_EQ(by_role(specs, Role::AttentionOutput, 1).shape, (Shape{16, 16}));
  EXPECT_EQ(by_role(specs, Role::Gate, 1).shape, (Shape{12, 16}));
  EXPECT_EQ(by_role(specs, Role::Down, 2).shape, (Shape{16, 28}));
  EXPECT_EQ(by_role(specs, Role::Embedding, -1).shape, (Shape{24, 16}));
}

TEST(TensorSpecs, RolesAreFoundByName) {
  for (const TensorSpec& spec : tensor_specs(tiny(Family::Gemma3))) {
    ASSERT_NE(find_role(role_name(spec.role)), nullptr);
    EXPECT_EQ(*find_role(role_name(spec.role)), spec.role);
    EXPECT_EQ(tensor_name(spec.layer, spec.role), spec.name);
    EXPECT_EQ(is_norm(spec.role), spec.name.find("norm") != std::string::npos) << spec.name;
  }
  EXPECT_EQ(find_role("no such role"), nullptr);
}

}  // namespace
}  // namespace attar
