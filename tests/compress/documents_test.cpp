// From texts to tokens to learn from, cut and packed.
#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include "tests/compress/sample_dataset.h"

namespace attar {
namespace {

// The token that ends the turn is learned, the line break that the template puts after it is not.
TEST(ChatDocuments, OnlyWhatTheAssistantSaysAndItsEndAreInTheLoss) {
  TokenizerData data;
  data.kind = TokenizerKind::Spm;
  for (const char* text : {"<unk>", "<s>", "<a>", "<u>", "<e>", "\n", "x", "y"})
    data.tokens.push_back({text, 0.0f, text[0] == '<' ? TokenKind::Control : TokenKind::Normal});
  data.tokens[0].kind = TokenKind::Unknown;
  data.unknown = 0, data.bos = 1, data.eot = data.eos = 4;
  data.chat_template =
      "{% for m in messages %}{% if m.role == 'user' %}<u>{% else %}<a>{% endif %}{{ m.content }}<e>{{ '\n' }}"
      "{% endfor %}{% if add_generation_prompt %}<a>{% endif %}";
  Document document;
  document.messages = {{"user", "x"}, {"assistant", "y"}, {"user", "y"}, {"assistant", "xy"}};
  const TokenDataset dataset = tokenize_documents({document}, Tokenizer(data));
  EXPECT_EQ(dataset.documents[0].tokens, (std::vector<int32_t>{3, 6, 4, 5, 2, 7, 4, 5, 3, 7, 4, 5, 2, 6, 7, 4, 5}));
  EXPECT_EQ(dataset.documents[0].in_loss, (std::vector<uint8_t>{0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0}));
  EXPECT_TRUE(dataset.documents[0].weights.empty());
  document.weights = {1.0f, 0.5f, 1.0f, 2.0f};
  TokenDocument weighed = tokenize_documents({document}, Tokenizer(data)).documents[0];
  EXPECT_EQ(weighed.in_loss, dataset.documents[0].in_loss);
  EXPECT_EQ(weighed.weights, (std::vector<float>{0, 0, 0, 0, 0, 0.5f, 0.5f, 0, 0, 0, 0, 0, 0, 2.0f, 2.0f, 2.0f, 0}));
  document.weights = {1.0f, 0.0f, 1.0f, 2.0f};
  weighed = tokenize_documents({document}, Tokenizer(data)).documents[0];
  EXPECT_EQ(weighed.in_loss, (std::vector<uint8_t>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0}));
  document.weights.pop_back();  // of a message that was added
  weighed = tokenize_documents({document}, Tokenizer(data)).documents[0];
  EXPECT_EQ(weighed.weights[13], 1.0f);
}

// BOS in front, EOS behind: what is learned is to go on and to end.
TEST(PlainDocuments, EndWithEos) {
  TokenizerData data;
  data.kind = TokenizerKind::Spm;
  for (const char* text : {"<unk>", "<s>", "</s>", "x"})
    data.tokens.push_back({text, 0.0f, text[0] == '<' ? TokenKind::Control : TokenKind::Normal});
  data.tokens[0].kind = TokenKind::Unknown;
  data.unknown = 0, data.bos = 1, data.eos = 2, data.add_bos = true;
  using Ids = std::vector<int32_t>;
  const auto tokens = [&](const TextDataOptions& options) {
    return tokenize_documents({{.text = "xx"}}, Tokenizer(data), options).documents[0];
  };
  EXPECT_EQ(tokens({}).tokens, (Ids{1, 3, 3, 2}));
  EXPECT_EQ(tokens({}).in_loss, (std::vector<uint8_t>{0, 1, 1, 1}));
  EXPECT_EQ(tokens({.end_of_text = false}).tokens, (Ids{1, 3, 3}));
  const auto weighed = [&](float weight) {
    return tokenize_documents({{.text = "xx", .weights = {weight}}}, Tokenizer(data)).documents[0];
  };
  EXPECT_EQ(weighed(0.5f).weights, (std::vector<float>{0.0f, 0.5f, 0.5f, 0.5f}));
  EXPECT_EQ(weighed(0.0f).in_loss, (std::vector<uint8_t>{0, 0, 0, 0}));
  data.add_bos = false;  // one token, which nothing predicts
  const std::vector<Document> alone{{.text = "x", .weights = {0.5f}}};
  EXPECT_TRUE(tokenize_documents(alone, Tokenizer(data), {.end_of_text = false}).documents[0].weights.empty())
      << "as a file gives it back";
  data.add_bos = true;
  data.add_eos = true;
  EXPECT_EQ(tokens({}).tokens, (Ids{1, 3, 3, 2})) << "once, not twice";
  data.add_eos = false, data.eos = -1;
  EXPECT_EQ(tokens({}).tokens, (Ids{1, 3, 3})) << "a tokenizer may have none";
}

TEST(CutDocuments, EachPartBeginsWithBos) {
  TokenDataset data = sample();
  data.documents.push_back({{1, 4, 5, 6, 7, 8}, {0, 1, 1, 0, 1, 1}, {}, {}});
  using Ids = std::vector<int32_t>;
  const auto tokens = [&](int64_t max_tokens) {
    std::vector<Ids> out;
    for (const TokenDocument& document : cut_documents(data, max_tokens).documents) out.push_back(document.tokens);
    return out;
  };
  EXPECT_EQ(tokens(2), (std::vector<Ids>{{1, 2}, {3}, {9, 8}, {1, 4}, {5, 6}, {7, 8}})) << "a tokenizer without BOS";
  data.bos = 1;
  EXPECT_EQ(tokens(3), (std::vector<Ids>{{1, 2, 3}, {9, 8}, {1, 4, 5}, {1, 6, 7}, {1, 8}}));
  EXPECT_EQ(tokens(6), tokens(100)) << "nothing is too long";
  const TokenDataset cut = cut_documents(data, 2);
  EXPECT_EQ(cut.bos, 1);
  EXPECT_EQ(cut.documents[1].tokens, (Ids{1, 3}));
  EXPECT_EQ(cut.documents[1].in_loss, (std::vector<uint8_t>{0, 1})) << "BOS now predicts it";
  EXPECT_EQ(cut.documents[1].signal_ids, (Ids{-1, -1, 7, -1})) << "the signal stays with its token";
  EXPECT_EQ(cut.documents[1].signal_log_probs, (std::vector<float>{-HUGE_VALF, -HUGE_VALF, -0.1f, -3.0f}));
  const std::vector<TokenBatch> batches = batches_in_order(data, 3, 100);
  ASSERT_EQ(batches.size(), 1u);
  EXPECT_EQ(batches[0].lengths, (std::vector<int64_t>{3, 2, 3, 3, 2})) << "calibration windows";
  EXPECT_EQ(batches[0].tokens[8].item<int64_t>(), 1);
}

// As a file gives it back: what teaches nothing has no weights there.
TEST(CutDocuments, APartThatTeachesNothingHasNoWeights) {
  TokenDataset data = sample().without_documents();
  data.documents.push_back({{1, 4, 5, 6}, {0, 0, 1, 1}, {}, {}});
  data.documents.back().weights = {0.0f, 0.0f, 0.5f, 0.5f};
  const TokenDataset cut = cut_documents(data, 2);
  EXPECT_TRUE(cut.documents.at(0).weights.empty());
  EXPECT_EQ(cut.documents.at(1).weights, (std::vector<float>{0.5f, 0.5f}));
}

TEST(Pack, IsAFunctionOfSeedAndEpochAndLosesNothing) {
  TokenDataset data;
  for (int d = 0; d < 30; ++d) {
    TokenDocument document;
    document.tokens.assign(static_cast<size_t>(3 + d), d);
    document.in_loss.assign(document.tokens.size(), 1);
    data.documents.push_back(std::move(document));
  }
  const auto order = [&](uint64_t seed, int64_t epoch) {
    std::vector<int64_t> out;
    int64_t tokens = 0;
    for (const auto& batch : pack(data, 16, 40, seed, epoch)) {
      int64_t held = 0, predicted = 0;
      for (const Piece& piece : batch)
        held += piece.length, predicted += piece.length - 1, out.push_back(piece.document * 100 + piece.begin);
      EXPECT_LE(predicted, 40);
      tokens += held;
    }
    EXPECT_GE(tokens, data.token_count() - 30);  // a rest of one token predicts nothing and is left out
    return out;
  };
  EXPECT_EQ(order(1, 0), order(1, 0));
  EXPECT_NE(order(1, 0), order(1, 1));
  EXPECT_NE(order(1, 0), order(2, 0));
}

// 256 predictions ask for 257 tokens: two such documents are a step of 512, one for each of two threads.
TEST(Pack, CountsWhatIsPredicted) {
  TokenDataset data;
  data.documents.resize(4);
  for (TokenDocument& document : data.documents) document.tokens.assign(257, 1), document.in_loss.assign(257, 1);
  EXPECT_EQ(pack(data, 512, 512, 1, 0).size(), 2u);
}

}  // namespace
}  // namespace attar
