#include "runtime/text/embed.h"

#include <gtest/gtest.h>

#include <cfenv>
#include <cmath>
#include <limits>

#include "runtime/base/error.h"
#include "tests/runtime/tiny_model.h"

namespace attar::runtime {
namespace {

using Vector = std::vector<float>;
using Texts = std::vector<std::vector<int32_t>>;

class Embed : public ::testing::Test {
 protected:
  // The states of every token, one at a time.
  std::vector<Vector> states(const std::vector<int32_t>& tokens) {
    KvCache cache(model_);
    std::vector<Vector> all;
    for (const int32_t token : tokens) {
      const Row row{&cache, token, true};
      forward(model_, {&row, 1}, work_);
      const auto state = work_.hidden(0);
      all.emplace_back(state.begin(), state.end());
    }
    return all;
  }
  Vector vector_of(const std::vector<int32_t>& tokens, const EmbedOptions& options) {
    return embed(model_, Texts{tokens}, options, work_);
  }
  static std::vector<int32_t> text(size_t n) {
    std::vector<int32_t> tokens(n);
    for (size_t i = 0; i < n; ++i) tokens[i] = static_cast<int32_t>((i * i + 3 * n) % 32);
    return tokens;
  }

  ThreadPool pool_{2};
  ModelConfig config_ = [] {
    ModelConfig config = tiny_config({});
    config.context_length = 2048;
    return config;
  }();
  Model model_ = Model::load(tiny_model(config_, {}), {.numerics = Numerics::Fp32}, pool_);
  Workspace work_{model_, pool_};
};

TEST_F(Embed, IsTheMeanOfTheStatesOrTheLast) {
  for (const size_t n : {size_t{1}, size_t{7}, size_t{600}}) {
    const std::vector<Vector> all = states(text(n));
    Vector mean(all[0].size());
    for (size_t c = 0; c < mean.size(); ++c) {
      double sum = 0.0;
      for (const Vector& state : all) sum += static_cast<double>(state[c]);
      mean[c] = static_cast<float>(sum / static_cast<double>(n));
    }
    EXPECT_EQ(vector_of(text(n), {.length = Length::Own}), mean) << n;
    EXPECT_EQ(vector_of(text(n), {.pooling = Pooling::Last, .length = Length::Own}), all.back()) << n;
  }
}

TEST_F(Embed, OfLengthOne) {
  const Vector own = vector_of(text(9), {.length = Length::Own}), one = vector_of(text(9), {});
  double squares = 0.0, own_squares = 0.0;
  for (const float value : one) squares += static_cast<double>(value) * static_cast<double>(value);
  for (const float value : own) own_squares += static_cast<double>(value) * static_cast<double>(value);
  EXPECT_NEAR(squares, 1.0, 1e-6);
  for (size_t c = 0; c < own.size(); ++c)  // floats of about 0.1
    EXPECT_NEAR(static_cast<double>(one[c]), static_cast<double>(own[c]) / std::sqrt(own_squares), 1e-7);
}

// Texts that end within, at and behind the end of a pass of 512 rows.
TEST_F(Embed, CompanyChangesNothing) {
  const Texts texts{text(5), text(507), text(1), text(1030), text(512), text(3)};
  for (const Pooling pooling : {Pooling::Mean, Pooling::Last}) {
    int64_t done = 0, total = 0;
    const Progress progress = [&](const Event& event) {
      EXPECT_GT(event.done, done);
      done = event.done, total = event.total;
      return Flow::GoOn;
    };
    const Vector together = embed(model_, texts, {.pooling = pooling}, work_, progress);
    EXPECT_EQ(done, 5 + 507 + 1 + 1030 + 512 + 3);
    EXPECT_EQ(total, done);
    const auto width = static_cast<size_t>(config_.width);
    for (size_t i = 0; i < texts.size(); ++i)
      EXPECT_EQ(Vector(together.begin() + static_cast<std::ptrdiff_t>(i * width),
                       together.begin() + static_cast<std::ptrdiff_t>((i + 1) * width)),
                vector_of(texts[i], {.pooling = pooling}))
          << i;
  }
}

TEST_F(Embed, TheHostsRoundingChangesNothing) {
  const Vector expected = vector_of(text(600), {});
  ASSERT_EQ(std::fesetround(FE_UPWARD), 0);
  const Vector upward = vector_of(text(600), {});
  EXPECT_EQ(std::fegetround(), FE_UPWARD);
  ASSERT_EQ(std::fesetround(FE_TONEAREST), 0);
  EXPECT_EQ(upward, expected);
}

TEST_F(Embed, RefusesWhatIsNoText) {
  EXPECT_TRUE(embed(model_, {}, {}, work_).empty());
  EXPECT_THROW(embed(model_, Texts{text(3), {}}, {}, work_), Error);
  EXPECT_THROW(vector_of(text(2049), {}), Error);
  EXPECT_THROW(vector_of({32}, {}), Error);
  EXPECT_THROW(pooling_of("max"), Error);
  const auto stop = [](const Event&) { return Flow::Stop; };
  EXPECT_THROW(embed(model_, Texts{text(600)}, {}, work_, stop), Error);
}

TEST_F(Embed, StatesThatAreNoNumbersAreNamed) {
  ModelFile::Parts parts;
  const ModelFile file = tiny_model(config_, {});
  parts.config = file.config();
  parts.tokenizer = file.tokenizer();
  parts.layout = file.layout();
  std::vector<float> huge(static_cast<size_t>(config_.width), std::numeric_limits<float>::max());
  for (const TensorSpec& spec : tensor_specs(config_)) parts.tensors[spec.name] = file.tensor(spec.name);
  parts.tensors["output_norm.weight"] = {TensorType::F32, {config_.width}, std::as_bytes(std::span(huge))};
  const Model model = Model::load(ModelFile(std::move(parts)), {.numerics = Numerics::Fp32}, pool_);
  Workspace work(model, pool_);
  try {
    embed(model, Texts{text(40)}, {}, work);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("not finite"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace attar::runtime
