#include "recipes/data/answer_document.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "recipes/endpoint/endpoint.h"
#include "runtime/base/error.h"
#include "tests/runtime/spoken_model.h"

namespace attar {
namespace {

using Ids = std::vector<int32_t>;
using Marks = std::vector<uint8_t>;

namespace id {
enum : int32_t { kBos = 1, kEos, kUser, kEnd, kAssistant, kA, kB, kAB, kC, kD };
}

TokenizerData two_sided_tokenizer() {
  TokenizerData data = runtime::spoken_tokenizer({"<u>", "<e>", "<a>", "a", "b", "ab", "c", "d", "<0x61>"});
  for (const int32_t one : {id::kUser, id::kEnd, id::kAssistant})
    data.tokens[static_cast<size_t>(one)].kind = TokenKind::Control;
  data.eot = id::kEnd;
  data.chat_template =
      "{% for m in messages %}{{ '<a>' if m.role == 'assistant' else '<u>' }}{{ m.content | trim }}<e>{% endfor %}"
      "{% if add_generation_prompt %}<a>{% endif %}";
  return data;
}

AnswerToken said(const std::string& text, double probability = 0.5, std::vector<TokenChance> others = {}) {
  return {{text, std::log(probability)}, std::move(others)};
}

class AnswerDocumentTest : public testing::Test {
 protected:
  TokenDocument document(const Answer& answer, int64_t k = 3, const Document& prompt = {.messages = {{"user", "c"}}}) {
    return answer_document(prompt, answer, tokenizer_, reader_, tokens_, k);
  }
  // The first id of the signal at each token.
  static Ids firsts(const TokenDocument& document, size_t k = 3) {
    Ids ids;
    for (size_t at = 0; at < document.signal_ids.size(); at += k) ids.push_back(document.signal_ids[at]);
    return ids;
  }

  Tokenizer tokenizer_{two_sided_tokenizer()};
  TextReader reader_{tokenizer_};
  TokensByText tokens_{tokenizer_};
};

TEST_F(AnswerDocumentTest, WhereBothTokenizersAgreeThereIsASignal) {
  const TokenDocument all =
      document({.text = "cabd", .ended = true, .tokens = {said("c"), said("ab"), said("d"), said("<e>")}});
  EXPECT_EQ(all.tokens, (Ids{id::kUser, id::kC, id::kEnd, id::kAssistant, id::kC, id::kAB, id::kD, id::kEnd}));
  EXPECT_EQ(all.in_loss, (Marks{0, 0, 0, 0, 1, 1, 1, 1}));
  EXPECT_EQ(firsts(all), (Ids{-1, -1, -1, -1, id::kC, id::kAB, id::kD, id::kEnd}));
  EXPECT_EQ(signalled_tokens(all, 3), 4);

  const TokenDocument some =
      document({.text = "cabd", .ended = true, .tokens = {said("c"), said("a"), said("b"), said("d")}});
  EXPECT_EQ(some.tokens, all.tokens);
  EXPECT_EQ(firsts(some), (Ids{-1, -1, -1, -1, id::kC, -1, id::kD, -1}));

  // From a token that is not what the text says on nobody knows where the others stand.
  EXPECT_EQ(firsts(document({.text = "cabd", .ended = true, .tokens = {said("c"), said("b"), said("abd")}})),
            (Ids{-1, -1, -1, -1, id::kC, -1, -1, -1}));
  EXPECT_EQ(firsts(document({.text = "cabd", .ended = true})), Ids(8, -1));
  EXPECT_TRUE(document({.text = "cabd", .ended = true, .tokens = {said("c")}}, 0).signal_ids.empty());
}

TEST_F(AnswerDocumentTest, OthersAreTokensOfOursOrTheRestOfTheMass) {
  const std::vector<TokenChance> others{{"d", std::log(0.5)},  {"zz", std::log(0.2)}, {"a", std::log(0.1)},
                                        {"a", std::log(0.05)}, {"c", std::log(0.05)}, {"b", -9999.0}};
  const TokenDocument written = document({.text = "d", .ended = true, .tokens = {said("d", 0.5, others)}}, 4);
  const auto at = written.signal_ids.begin() + 4 * 4;
  EXPECT_EQ(Ids(at, at + 4), (Ids{id::kD, id::kA, id::kC, id::kB}));
  EXPECT_NEAR(std::exp(written.signal_log_probs[4 * 4 + 1]), 0.1, 1e-6);
  EXPECT_EQ(document({.text = "d", .ended = true, .tokens = {said("d", 0.5, others)}}, 2).signal_ids[4 * 2 + 1],
            id::kA);

  for (const double impossible : {1.2, std::nan("")})
    EXPECT_EQ(firsts(document({.text = "d", .ended = true, .tokens = {said("d", impossible)}}))[4], -1);
}

TEST_F(AnswerDocumentTest, WhatIsCutHasNoEnd) {
  const TokenDocument cut = document({.text = "cab", .ended = false, .tokens = {said("c"), said("ab")}});
  EXPECT_EQ(cut.tokens, (Ids{id::kUser, id::kC, id::kEnd, id::kAssistant, id::kC, id::kAB}));
  EXPECT_EQ(firsts(cut), (Ids{-1, -1, -1, -1, id::kC, id::kAB}));
  EXPECT_EQ(cut.in_loss.size(), 6u);
}

TEST_F(AnswerDocumentTest, OnlyTheAnswerIsLearnedAndWhatATemplateTrimsIsPassedOver) {
  const Document prompt{.messages = {{"user", "a"}, {"assistant", "b"}, {"user", "c"}}};
  const TokenDocument written =
      document({.text = "  d", .ended = true, .tokens = {said("  "), said("d"), said("<e>")}}, 3, prompt);
  EXPECT_EQ(written.tokens, (Ids{id::kUser, id::kA, id::kEnd, id::kAssistant, id::kB, id::kEnd, id::kUser, id::kC,
                                 id::kEnd, id::kAssistant, id::kD, id::kEnd}));
  EXPECT_EQ(written.in_loss, (Marks{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1}));
  EXPECT_EQ(firsts(written), (Ids{-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, id::kD, id::kEnd}));
}

TEST_F(AnswerDocumentTest, ATextGoesOnBehindItsBeginning) {
  const Document beginning{.text = "cd"};
  const TokenDocument whole = document({.text = "abc", .ended = true, .tokens = {said("ab"), said("c")}}, 3, beginning);
  EXPECT_EQ(whole.tokens, (Ids{id::kBos, id::kC, id::kD, id::kAB, id::kC, id::kEos}));
  EXPECT_EQ(whole.in_loss, (Marks{0, 0, 0, 1, 1, 1}));
  EXPECT_EQ(firsts(whole), (Ids{-1, -1, -1, id::kAB, id::kC, -1}));
  EXPECT_EQ(document({.text = "abc", .ended = false}, 0, beginning).tokens,
            (Ids{id::kBos, id::kC, id::kD, id::kAB, id::kC}));
}

TEST(AnswerTest, IsReadInBothForms) {
  const Answer chat = answer_of(
      R"({"message": {"content": "h\u00e9"}, "finish_reason": "stop", "logprobs": {"content": [
          {"token": "h", "logprob": -1, "bytes": null, "top_logprobs": [{"token": "x", "logprob": -2, "bytes": [104]}]},
          {"token": "\ufffd", "logprob": -3, "bytes": [195]}]}})",
      "here");
  EXPECT_TRUE(chat.ended);
  EXPECT_EQ(chat.text, "h\xc3\xa9");
  ASSERT_EQ(chat.tokens.size(), 2u);
  EXPECT_EQ(chat.tokens[0].said.bytes, "h");
  EXPECT_EQ(chat.tokens[0].likeliest.at(0).bytes, "h");
  EXPECT_EQ(chat.tokens[1].said.bytes, "\xc3");

  const Answer text = answer_of(R"({"text": "hi", "finish_reason": "length", "logprobs": {"tokens": ["h", "i"],
      "token_logprobs": [-1, -2], "top_logprobs": [{"h": -1, "x": -3}, null]}})",
                                "here");
  EXPECT_FALSE(text.ended);
  ASSERT_EQ(text.tokens.size(), 2u);
  EXPECT_EQ(text.tokens[0].likeliest.size(), 2u);
  EXPECT_EQ(text.tokens[1].said.log_prob, -2.0);

  EXPECT_EQ(answer_of(R"({"message": {"content": null}, "finish_reason": "tool_calls", "logprobs": null})", "").text,
            "");
  EXPECT_EQ(answer_of(R"({"message": {"content": [{"type": "text", "text": "a"}, {"text": "b"}]}})", "").text, "ab");
  for (const char* wrong : {"[]", "{}", "{", R"({"text": "a", "logprobs": {"content": [{"token": "a"}]}})"})
    EXPECT_THROW(answer_of(wrong, "here"), Error) << wrong;
}

TEST(RetryAfterTest, IsANumberOfSecondsOrADate) {
  constexpr std::time_t kNow = 1445412450;  // 30 s before the date below
  EXPECT_EQ(retry_after_s("7", kNow), 7.0);
  EXPECT_EQ(retry_after_s("0.5", kNow), 0.5);
  EXPECT_EQ(retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT", kNow), 30.0);
  for (const char* none : {"", "-3", "soon", "nan", "inf", "7 apples", "Wed, 21 Oct 2015 07:27:00 GMT"})
    EXPECT_EQ(retry_after_s(none, kNow), 0.0) << none;
}

}  // namespace
}  // namespace attar
