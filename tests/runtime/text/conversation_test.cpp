#include "runtime/text/conversation.h"

#include <gtest/gtest.h>

#include "runtime/text/generate.h"
#include "tests/runtime/tiny_model.h"

namespace attar::runtime {
namespace {

class ConversationTest : public ::testing::Test {
 protected:
  static std::vector<int32_t> text(size_t n) {
    std::vector<int32_t> tokens(n);
    for (size_t i = 0; i < n; ++i) tokens[i] = static_cast<int32_t>((7 * i + i / 5) % 32);
    return tokens;
  }
  static GenerateOptions six_tokens() {
    GenerateOptions options;
    options.max_tokens = 6;
    return options;
  }
  std::vector<int32_t> goes_on(Conversation& said, const std::vector<int32_t>& prompt) {
    said.begin(prompt);
    while (said.read_pass(prompt, work_)) {
    }
    const Generated out = generate(model_, said.cache(), prompt, six_tokens(), work_);
    said.hold(prompt, out.tokens);
    return out.tokens;
  }

  ThreadPool pool_{2};
  ModelConfig config_ = [] {
    ModelConfig config = tiny_config({});
    config.context_length = 4096;
    return config;
  }();
  Model model_ = Model::load(tiny_model(config_, {}), {}, pool_);
  Workspace work_{model_, pool_};
};

TEST_F(ConversationTest, ReadsWhatIsNew) {
  Conversation said(model_);
  std::vector<int32_t> prompt = text(1200);
  EXPECT_EQ(said.begin(prompt), 0u);
  EXPECT_TRUE(said.read_pass(prompt, work_));
  EXPECT_EQ(said.tokens().size(), 512u);
  EXPECT_TRUE(said.read_pass(prompt, work_));
  EXPECT_FALSE(said.read_pass(prompt, work_)) << "what is left is read where the text begins";
  EXPECT_EQ(std::vector<int32_t>(said.tokens().begin(), said.tokens().end()), text(1024));

  const std::vector<int32_t> tokens = goes_on(said, prompt);
  Conversation fresh(model_);
  EXPECT_EQ(goes_on(fresh, prompt), tokens);
  prompt.insert(prompt.end(), tokens.begin(), tokens.end());
  prompt.push_back(3);
  const size_t held = said.tokens().size();
  EXPECT_GE(held, 1205u);
  EXPECT_EQ(said.begin(prompt), held);
  prompt[100] = (prompt[100] + 1) % 32;
  EXPECT_EQ(said.begin(prompt), 100u);
  EXPECT_EQ(said.cache().length_tokens(), 100);
  EXPECT_EQ(said.begin(text(3)), 2u) << "the last token is left to read";
  EXPECT_EQ(said.begin({}), 0u);
}

TEST_F(ConversationTest, KnowsNoMoreThanItWasTold) {
  Conversation said(model_);
  const std::vector<int32_t> prompt = text(20);
  const Generated out = generate(model_, said.cache(), prompt, six_tokens(), work_);
  ASSERT_GT(said.cache().length_tokens(), 22);
  said.hold(prompt, std::vector{out.tokens[0], out.tokens[1]});
  EXPECT_EQ(said.tokens().size(), 22u);
  EXPECT_EQ(said.cache().length_tokens(), 22);
}

}  // namespace
}  // namespace attar::runtime
