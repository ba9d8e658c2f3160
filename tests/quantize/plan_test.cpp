#include <gtest/gtest.h>

#include <set>

#include "quantize/quantize.h"
#include "runtime/base/error.h"
#include "tests/quantize/smollm2_config.h"

namespace attar {
namespace {

double plan_megabytes(const std::string& to) {
  QuantizeOptions options;
  options.to = to;
  return static_cast<double>(plan_quantization(smollm2(), options, {}).tensor_bytes()) * 1e-6;
}

// Files that llama-quantize wrote of this model, less the 1.785664 MB that are not tensors.
TEST(Plan, ReproducesTheStockSizes) {
  EXPECT_NEAR(plan_megabytes("Q4_K_M"), 105.454336 - 1.785664, 0.001);
  EXPECT_NEAR(plan_megabytes("Q4_K_S"), 102.039808 - 1.785664, 0.001);
  EXPECT_NEAR(plan_megabytes("Q5_K_M"), 112.103680 - 1.785664, 0.001);
  EXPECT_NEAR(plan_megabytes("MOSTLY_Q4_0"), 91.892992 - 1.785664, 0.001);
  EXPECT_NEAR(plan_megabytes("MOSTLY_IQ4_NL"), 91.727104 - 1.785664, 0.001);
  EXPECT_NEAR(plan_megabytes("Q6_K"), 138.383104 - 1.785664, 0.001);
  EXPECT_NEAR(plan_megabytes("Q8_0"), 144.811264 - 1.785664, 0.001);
  QuantizeOptions options;
  options.to = "Q4_K_M";
  EXPECT_EQ(plan_quantization(smollm2(), options, {}).fallbacks.size(),
            180u);  // tensors whose 576 columns do not divide
}

std::map<std::string, TensorType> types_of(const QuantizePlan& plan) {
  std::map<std::string, TensorType> types;
  for (const PlannedTensor& planned : plan.tensors) types[planned.spec.name] = planned.type;
  return types;
}

// llama_tensor_get_type: with an importance matrix the first eighth of ffn_down gets an offset beside its scale.
TEST(Plan, FirstDownProjectionsOfTheOldTypesUnderImportance) {
  for (const auto& [to, base, first] : {std::tuple("MOSTLY_Q4_0", TensorType::Q4_0, TensorType::Q4_1),
                                        std::tuple("MOSTLY_Q5_0", TensorType::Q5_0, TensorType::Q5_1)})
    for (const bool importance : {true, false}) {
      QuantizeOptions options;
      options.to = to, options.importance = importance;
      const auto types = types_of(plan_quantization(smollm2(), options, {}));
      EXPECT_EQ(types.at("blk.2.ffn_down.weight"), importance ? first : base) << to;
      EXPECT_EQ(types.at("blk.3.ffn_down.weight"), base) << to;
      EXPECT_EQ(types.at("blk.0.ffn_up.weight"), base) << to;
    }
}

// Q4_K wants rows of 256: 576 do not divide, so a kept role falls back as it does under --to, and says so.
TEST(Plan, AKeptTypeThatDoesNotDivideFallsBackUnderATargetSize) {
  QuantizeOptions options;
  options.target_size = "110MB", options.keep = {{"query", "Q4_K"}};
  const QuantizePlan plan = plan_quantization(smollm2(), options, {});
  EXPECT_EQ(types_of(plan).at("blk.7.attn_q.weight"), TensorType::Q5_0);
  EXPECT_EQ(plan.fallbacks.size(), 30u);
  EXPECT_LE(plan.tensor_bytes(), 110'000'000u);
}

TEST(Plan, QueryKeyAndValueOfOneTensorShareAType) {
  const PlanTarget fused{.fused_qkv = true};
  const auto alike = [](const QuantizePlan& plan) {
    const auto types = types_of(plan);
    return types.at("blk.0.attn_q.weight") == types.at("blk.0.attn_v.weight") &&
           types.at("blk.0.attn_q.weight") == types.at("blk.0.attn_k.weight");
  };
  bool apart = false;
  for (uint64_t megabytes = 76; megabytes < 150; megabytes += 2) {
    QuantizeOptions options;
    options.target_size = std::to_string(megabytes) + "MB";
    EXPECT_TRUE(alike(plan_quantization(smollm2(), options, fused))) << megabytes;
    apart = apart || !alike(plan_quantization(smollm2(), options, {}));
  }
  EXPECT_TRUE(apart) << "the sizes show nothing when none parts them without the rule";
  for (const char* preset : {"Q4_K_S", "Q4_K_M", "Q5_K_M", "Q3_K_M", "Q3_K_L", "MOSTLY_Q2_K", "MOSTLY_IQ4_NL",
                             "MOSTLY_Q4_0", "IQ3_M", "IQ3_XS", "MOSTLY_IQ2_S"}) {
    QuantizeOptions options;
    options.to = preset;
    EXPECT_TRUE(alike(plan_quantization(smollm2(), options, fused))) << preset;
  }
  QuantizeOptions options;
  options.to = "Q8_0", options.keep = {{"value", "F16"}};
  EXPECT_THROW(plan_quantization(smollm2(), options, fused), Error);
  EXPECT_NO_THROW(plan_quantization(smollm2(), options, {}));
}

TEST(Plan, NeverExceedsTheTargetAndRefusesTheImpossible) {
  QuantizeOptions options;
  for (const uint64_t megabytes : {80, 90, 110, 140, 300}) {
    options.target_size = std::to_string(megabytes) + "MB";
    const uint64_t fixed = 1'700'000;
    EXPECT_LE(plan_quantization(smollm2(), options, {.fixed_bytes = fixed}).tensor_bytes() + fixed,
              megabytes * 1'000'000);
  }
  options.target_size = "10MB";
  EXPECT_THROW(plan_quantization(smollm2(), options, {}), Error);
  options = {};
  options.to = "Q8_K";  // read, never written
  EXPECT_THROW(plan_quantization(smollm2(), options, {}), Error);
  options.to = "Q4_0", options.keep = {{"embeding", "Q8_0"}};
  EXPECT_THROW(plan_quantization(smollm2(), options, {}), Error);
}

// A tied model's head is its embedding: what is to be kept of an output would be kept of nothing.
TEST(Plan, AKeptRoleThatTheModelHasNotIsRefused) {
  QuantizeOptions options;
  options.keep = {{"output", "Q8_0"}};
  for (const bool sized : {false, true}) {
    options.to = sized ? std::nullopt : std::optional<std::string>("Q4_0");
    options.target_size = sized ? std::optional<std::string>("110MB") : std::nullopt;
    ModelConfig config = smollm2();
    try {
      plan_quantization(config, options, {});
      ADD_FAILURE() << sized;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Usage);
      EXPECT_NE(std::string(error.what()).find("output=Q8_0"), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("keep embedding"), std::string::npos) << error.what();
    }
    config.tied_embeddings = false;
    EXPECT_EQ(types_of(plan_quantization(config, options, {})).at("output.weight"), TensorType::Q8_0);
  }
}

TEST(Plan, ABudgetIsUsed) {
  for (const double bits : {3.5, 4.25, 5.0, 6.3, 8.0}) {
    QuantizeOptions options;
    options.target_bpw = bits;
    const QuantizePlan plan = plan_quantization(smollm2(), options, {.fixed_bytes = 1'700'000});
    EXPECT_LE(plan.tensor_bytes() + 1'700'000, *plan.budget_bytes) << bits;
    EXPECT_GE(static_cast<double>(plan.tensor_bytes() + 1'700'000), 0.995 * static_cast<double>(*plan.budget_bytes))
        << bits;
    EXPECT_TRUE(plan.fallbacks.empty()) << bits;
  }
}

TEST(Plan, ACompatibleFileHasNoNewerTypes) {
  for (const auto& [compat, newest] : {std::pair("2024", 2024), std::pair("2025", 2025), std::pair("2026", 2026)}) {
    QuantizeOptions options;
    options.target_size = "58MB", options.compat = compat;
    if (newest < 2026) {  // four bits are the fewest that 576 columns take
      EXPECT_THROW(plan_quantization(smollm2(), options, {}), Error) << compat;
      options.target_size = "80MB";
    }
    const auto types = types_of(plan_quantization(smollm2(), options, {}));
    const bool two_bits =
        std::any_of(types.begin(), types.end(), [](const auto& type) { return type.second == TensorType::Q2_0; });
    EXPECT_EQ(two_bits, newest == 2026) << compat;
  }
}

TEST(Plan, CodebooksAreChosenOnRequestAlone) {
  for (const bool lattice : {false, true}) {
    QuantizeOptions options;
    options.target_bpw = 3.6, options.lattice = lattice;  // `down` alone divides by 256
    const auto types = types_of(plan_quantization(smollm2(), options, {}));
    const bool chosen = std::any_of(types.begin(), types.end(),
                                    [](const auto& type) { return format_of(type.second).lattice != nullptr; });
    EXPECT_EQ(chosen, lattice);
  }
}

TEST(Plan, FallbacksMayBeRefused) {
  QuantizeOptions options;
  options.to = "Q4_K", options.fallback = false;
  EXPECT_THROW(plan_quantization(smollm2(), options, {}), Error);
  options.to = "IQ4_NL";
  EXPECT_NO_THROW(plan_quantization(smollm2(), options, {}));
}

TEST(Plan, ALossIsMetWithTheFewestBytes) {
  uint64_t last = UINT64_MAX;
  for (const double kl : {0.01, 0.03, 0.1, 0.3}) {
    QuantizeOptions options;
    options.max_kl = kl;
    const uint64_t bytes = plan_quantization(smollm2(), options, {}).tensor_bytes();
    EXPECT_LT(bytes, last) << kl;
    last = bytes;
  }
}

TEST(Plan, ALossIsNamedAsItWasGiven) {
  QuantizeOptions options;
  options.max_kl = 0.3;
  EXPECT_EQ(plan_quantization(smollm2(), options, {}).name, "KL divergence 0.3");
  options.max_kl = 1e-7;  // less than F16 loses
  try {
    plan_quantization(smollm2(), options, {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("1e-07"), std::string::npos) << error.what();
  }
}

// Not what llama.cpp takes the name for (Q4_K: Q4_K_M), and no mix: every matrix that can hold it, the head included.
TEST(Plan, ATypesNameIsThatTypeEverywhere) {
  struct Row {
    const char* name;
    TensorType type, fallback;  // at 576 columns
    int64_t file_type;          // enum llama_ftype
  };
  for (const Row& row : {Row{"F32", TensorType::F32, TensorType::F32, 0},
                         Row{"F16", TensorType::F16, TensorType::F16, 1},
                         Row{"Q4_0", TensorType::Q4_0, TensorType::Q4_0, 2},
                         Row{"Q4_1", TensorType::Q4_1, TensorType::Q4_1, 3},
                         Row{"Q8_0", TensorType::Q8_0, TensorType::Q8_0, 7},
                         Row{"Q5_0", TensorType::Q5_0, TensorType::Q5_0, 8},
                         Row{"Q5_1", TensorType::Q5_1, TensorType::Q5_1, 9},
                         Row{"Q4_K", TensorType::Q4_K, TensorType::Q5_0, 14},
                         Row{"q5_k", TensorType::Q5_K, TensorType::Q5_1, 16},
                         Row{"Q6_K", TensorType::Q6_K, TensorType::Q8_0, 18},
                         Row{"Q2_K", TensorType::Q2_K, TensorType::Q4_0, 21},
                         Row{"Q3_K", TensorType::Q3_K, TensorType::Q4_0, 11},
                         Row{"TQ1_0", TensorType::TQ1_0, TensorType::Q4_0, 36},
                         Row{"TQ2_0", TensorType::TQ2_0, TensorType::Q4_0, 37},
                         Row{"IQ4_XS", TensorType::IQ4_XS, TensorType::IQ4_NL, 30},
                         Row{"IQ3_S", TensorType::IQ3_S, TensorType::IQ4_NL, 26},
                         Row{"IQ3_XXS", TensorType::IQ3_XXS, TensorType::IQ4_NL, 23},
                         Row{"IQ2_S", TensorType::IQ2_S, TensorType::IQ4_NL, 28},
                         Row{"IQ2_XS", TensorType::IQ2_XS, TensorType::IQ4_NL, 20},
                         Row{"IQ2_XXS", TensorType::IQ2_XXS, TensorType::IQ4_NL, 19},
                         Row{"IQ1_M", TensorType::IQ1_M, TensorType::IQ4_NL, 31},
                         Row{"IQ1_S", TensorType::IQ1_S, TensorType::IQ4_NL, 24},
                         Row{"MXFP4", TensorType::MXFP4, TensorType::MXFP4, 38},
                         Row{"NVFP4", TensorType::NVFP4, TensorType::NVFP4, 39},
                         Row{"Q1_0", TensorType::Q1_0, TensorType::Q2_0, 40},
                         Row{"Q2_0", TensorType::Q2_0, TensorType::Q2_0, 41},
                         Row{"IQ4_NL", TensorType::IQ4_NL, TensorType::IQ4_NL, 25},
                         Row{"BF16", TensorType::BF16, TensorType::BF16, 32}})
    for (const bool importance : {true, false}) {
      QuantizeOptions options;
      options.to = row.name, options.importance = importance;
      const QuantizePlan plan = plan_quantization(smollm2(), options, {});
      EXPECT_EQ(plan.file_type, row.file_type) << row.name;
      size_t fallbacks = 0;
      for (const PlannedTensor& planned : plan.tensors) {
        const bool fits = planned.spec.shape.back() % format_of(row.type).block_size == 0;
        const TensorType expected = !planned.spec.is_matrix() ? TensorType::F32 : fits ? row.type : row.fallback;
        EXPECT_EQ(planned.type, expected) << row.name << " " << planned.spec.name;
        fallbacks += planned.spec.is_matrix() && !fits ? 1 : 0;
      }
      EXPECT_EQ(plan.fallbacks.size(), fallbacks) << row.name;
    }
}

// Each preset has llama.cpp's number, with and without the prefix of its enumeration, and each type that is written a
// row.
TEST(Plan, PresetsMayBearTheirWholeName) {
  for (const auto& [name, file_type] :
       {std::pair("Q3_K_M", 12), std::pair("Q3_K_L", 13), std::pair("Q2_K_S", 21), std::pair("Q4_K_S", 14),
        std::pair("Q4_K_M", 15), std::pair("Q5_K_S", 16), std::pair("Q5_K_M", 17), std::pair("IQ3_XS", 22),
        std::pair("IQ3_M", 27), std::pair("IQ2_M", 29)}) {
    QuantizeOptions options;
    options.to = name;
    const QuantizePlan plan = plan_quantization(smollm2(), options, {});
    options.to = std::string("mostly_") + name;
    const QuantizePlan whole = plan_quantization(smollm2(), options, {});
    EXPECT_EQ(types_of(plan), types_of(whole)) << name;
    EXPECT_EQ(plan.file_type, file_type) << name;
    EXPECT_EQ(whole.file_type, file_type) << name;
    EXPECT_GT(std::set<TensorType>({types_of(plan).at("blk.0.ffn_down.weight"),
                                    types_of(plan).at("blk.9.ffn_down.weight"), types_of(plan).at("token_embd.weight")})
                  .size(),
              1u)
        << name << " mixes";
  }
  for (const QuantFormat& format : quant_formats()) {
    QuantizeOptions options;
    options.to = format.name;
    const std::vector<FieldProblem> problems = check_quantize_options(options);
    EXPECT_EQ(problems.empty(), format.written) << format.name;
    const bool said = !problems.empty() && problems[0].expected.find("has no encoder") != std::string::npos;
    EXPECT_EQ(said, !format.written && format.holds_weights()) << format.name;
  }
}

}  // namespace
}  // namespace attar
