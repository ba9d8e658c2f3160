#include "compress/checkpoint.h"

#include <gtest/gtest.h>

#include "tests/test_folder.h"

namespace attar {
namespace {

TEST(CheckpointFolder, KeepsTheModelsName) {
  const TestFolder own("checkpoint");
  const std::string folder = own / "final";
  ModelConfig config;
  config.vocab_size = 260, config.width = 8, config.context_length = 16;
  config.layers = {{LayerKind::FullAttention, 2, 1, 4, 8}};
  TokenizerData data;
  for (int i = 0; i < 260; ++i) data.tokens.push_back({"t" + std::to_string(i), 0.0f, TokenKind::Normal});
  const Provenance provenance{.name = "tiny: \"the\" teacher",
                              .license = "apache-2.0",
                              .license_link = "",
                              .base_models = {"Org/First", "Org/Second"},
                              .author = ""};
  write_checkpoint(folder, CausalLM::random(config, 1), data, provenance, {}, "{}");
  const Provenance back = ModelFile::open(folder).provenance();
  EXPECT_EQ(back.name, provenance.name);
  EXPECT_EQ(back.license, provenance.license);
  EXPECT_EQ(back.base_models, provenance.base_models);
}

}  // namespace
}  // namespace attar
