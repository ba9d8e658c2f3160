#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>

#include "compress/checkpoint.h"
#include "compress/signal/sampled_signal.h"
#include "compress/token_dataset.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "tests/base/failing_writes.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

namespace fs = std::filesystem;

TokenDataset sample() {
  TokenDataset data;
  data.tokenizer_hash = "abc";
  data.signal_k = 2;
  data.signal_numerics = "fp32";
  data.documents.push_back(
      {{1, 2, 3}, {0, 1, 1}, {-1, -1, 5, 6, 7, -1}, {-HUGE_VALF, -HUGE_VALF, -0.5f, -1.5f, -0.1f, -3.0f}});
  data.documents.push_back({{9, 8}, {0, 1}, {}, {}});
  return data;
}

constexpr int64_t kVocabulary = 10;  // of sample()

// Rows of one sure token each, ids of four bits.
TokenDataset sampled_sample() {
  TokenDataset data;
  data.tokenizer_hash = "abc";
  data.signal_numerics = "fp32";
  data.sampled = {.samples = 8, .id_bits = 4};
  data.documents.push_back({{1, 2, 3}, {0, 1, 1}, {}, {}});
  data.documents.push_back({{9, 8}, {0, 1}, {}, {}});
  std::vector<uint8_t>& rows = data.documents[0].sampled_signal;
  encode_row({}, 4, rows);
  encode_row({.exact = {{5, 10}}, .drawn = {{2, 1}, {7, 3}}, .entropy = 1.0}, 4, rows);
  encode_row({.exact = {{9, 0}}}, 4, rows);
  return data;
}

class DatasetTest : public testing::Test {
 protected:
  void TearDown() override { fail_nth_write(0); }
  void expect_each_damages(const TokenDataset& whole, const std::vector<std::function<void(TokenDataset&)>>& changes) {
    for (size_t i = 0; i < changes.size(); ++i) {
      TokenDataset data = whole;
      changes[i](data);
      write_dataset(path_, data);
      try {
        read_dataset(path_, "abc", kVocabulary);
        ADD_FAILURE() << "change " << i;
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::Input) << i;
        EXPECT_NE(std::string(error.what()).find("damaged"), std::string::npos) << error.what();
      }
    }
  }
  const TestFolder own_{"dataset"};
  const std::string folder_ = own_ / "data";
  const std::string path_ = folder_ + "/data.h5";
};

TEST_F(DatasetTest, ComesBackAsItWas) {
  write_dataset(path_, sample());
  const TokenDataset back = read_dataset(path_, "abc", kVocabulary);
  ASSERT_EQ(back.documents.size(), 2u);
  EXPECT_EQ(back.signal_k, 2);
  EXPECT_EQ(back.signal_numerics, "fp32");
  for (size_t d = 0; d < 2; ++d) {
    EXPECT_EQ(back.documents[d].tokens, sample().documents[d].tokens);
    EXPECT_EQ(back.documents[d].in_loss, sample().documents[d].in_loss);
    EXPECT_EQ(back.documents[d].signal_ids, sample().documents[d].signal_ids);
    EXPECT_EQ(back.documents[d].signal_log_probs, sample().documents[d].signal_log_probs);
  }
  EXPECT_THROW(read_dataset(path_, "another", kVocabulary), Error);
}

TEST_F(DatasetTest, WeightsComeBackAndStayWithTheirTokens) {
  TokenDataset data = sample();
  data.documents[0].weights = {0.0f, 2.0f, 0.5f};
  write_dataset(path_, data);
  const TokenDataset back = read_dataset(path_, "abc", kVocabulary);
  EXPECT_TRUE(back.has_weights());
  EXPECT_EQ(back.documents[0].weights, data.documents[0].weights);
  EXPECT_TRUE(back.documents[1].weights.empty());
  data.bos = 1;  // cut into (1 2) and (bos 3)
  const TokenDataset cut = cut_documents(data, 2);
  EXPECT_EQ(cut.documents[0].weights, (std::vector<float>{0.0f, 2.0f}));
  EXPECT_EQ(cut.documents[1].weights, (std::vector<float>{0.0f, 0.5f}));
  expect_each_damages(data, {[](TokenDataset& d) { d.documents[0].weights[1] = -1.0f; },
                             [](TokenDataset& d) { d.documents[0].weights[1] = HUGE_VALF; },
                             [](TokenDataset& d) { d.documents[0].weights[1] = NAN; },
                             [](TokenDataset& d) { d.documents[0].weights.push_back(1.0f); }});
}

// Of three dims a token.
TokenDataset hidden_sample() {
  TokenDataset data;
  data.tokenizer_hash = "abc";
  data.signal_numerics = "fp32";
  data.hidden_width = 3;
  data.documents.push_back({{1, 2, 3}, {0, 1, 1}, {}, {}});
  data.documents.push_back({{9, 8}, {0, 1}, {}, {}});
  append_no_state(3, data.documents[0].hidden);
  append_state(std::vector{1.0f, -127.0f, 0.4f}, data.documents[0].hidden);
  append_state(std::vector{0.0f, 0.5f, -0.25f}, data.documents[0].hidden);
  return data;
}

TEST_F(DatasetTest, HiddenStatesComeBackAndStayWithTheirTokens) {
  TokenDataset data = hidden_sample();
  write_dataset(path_, data);
  const TokenDataset back = read_dataset(path_, "abc", kVocabulary);
  EXPECT_EQ(back.hidden_width, 3);
  EXPECT_EQ(back.documents[0].hidden.codes, (std::vector<int8_t>{0, 0, 0, 1, -127, 0, 0, 127, -64}));
  EXPECT_EQ(back.documents[0].hidden.scales, data.documents[0].hidden.scales);
  EXPECT_TRUE(back.documents[0].has_signal());
  EXPECT_TRUE(back.documents[1].lacks_signal());
  data.bos = 1;  // cut into (1 2) and (bos 3)
  const TokenDataset cut = cut_documents(data, 2);
  EXPECT_EQ(cut.hidden_width, 3);
  EXPECT_EQ(cut.documents[0].hidden.codes, (std::vector<int8_t>{0, 0, 0, 1, -127, 0}));
  EXPECT_EQ(cut.documents[1].hidden.codes, (std::vector<int8_t>{0, 0, 0, 0, 127, -64}));
  EXPECT_FALSE(has_state(cut.documents[1].hidden, 0, 3));
  EXPECT_TRUE(has_state(cut.documents[1].hidden, 1, 3));
  expect_each_damages(data, {[](TokenDataset& d) { d.documents[0].hidden.codes.pop_back(); },
                             [](TokenDataset& d) { d.documents[0].hidden.scales.push_back(1.0f); },
                             [](TokenDataset& d) { d.documents[0].hidden.scales[1] = NAN; },
                             [](TokenDataset& d) { d.documents[0].hidden.scales[1] = -1.0f; },
                             [](TokenDataset& d) { d.hidden_width = 2; },
                             [](TokenDataset& d) { append_no_state(3, d.documents[1].hidden); }});
}

// Each value within half a step of its group's largest.
TEST(HiddenStates, AreWithinHalfAStep) {
  for (const int64_t width : {1, 63, 64, 65, 576}) {
    std::vector<float> state, back(static_cast<size_t>(width));
    for (int64_t i = 0; i < width; ++i) state.push_back(std::sin(static_cast<float>(i)) * (i % 64 == 7 ? 90.0f : 1.0f));
    HiddenStates kept;
    append_state(state, kept);
    const HiddenStates once = kept;
    append_state(once, 0, width, kept);
    EXPECT_EQ(std::ssize(kept.codes) + 4 * std::ssize(kept.scales), 2 * hidden_bytes(width));
    decode_state(kept, 1, back);
    for (int64_t i = 0; i < width; ++i) {
      const size_t at = static_cast<size_t>(i);
      EXPECT_NEAR(back[at], state[at], 0.5001f * kept.scales[at / 64]) << width << " " << i;
    }
  }
}

TEST_F(DatasetTest, ASampledSignalComesBackAndStaysWithItsToken) {
  TokenDataset data = sampled_sample();
  write_dataset(path_, data);
  const TokenDataset back = read_dataset(path_, "abc", kVocabulary);
  EXPECT_EQ(back.sampled, data.sampled);
  EXPECT_EQ(back.documents[0].sampled_signal, data.documents[0].sampled_signal);
  EXPECT_TRUE(back.documents[0].has_signal());
  EXPECT_TRUE(back.documents[1].lacks_signal());
  data.bos = 1;  // cut into (1 2) and (bos 3)
  const TokenDataset cut = cut_documents(data, 2);
  ASSERT_EQ(cut.documents.size(), 3u);
  EXPECT_EQ(cut.sampled, data.sampled);
  const std::vector<SampledRow> first = decode_rows(cut.documents[0].sampled_signal, 4, 0, 2),
                                second = decode_rows(cut.documents[1].sampled_signal, 4, 0, 2);
  EXPECT_TRUE(first[0].empty() && second[0].empty());
  EXPECT_EQ(first[1].exact[0].id, 5);
  EXPECT_EQ(second[1].exact[0].id, 9);
}

TEST_F(DatasetTest, SampledRowsThatCannotBeAreErrors) {
  const auto row = [](TokenDataset& d, const SampledRow& last) {
    d.documents[0].sampled_signal.resize(d.documents[0].sampled_signal.size() - 4);  // the last row
    encode_row(last, 4, d.documents[0].sampled_signal);
  };
  ASSERT_EQ(([] {
              std::vector<uint8_t> bytes;
              encode_row({.exact = {{9, 0}}}, 4, bytes);
              return bytes.size();
            }()),
            4u);
  const std::vector<std::function<void(TokenDataset&)>> changes{
      [&](TokenDataset& d) {
        row(d, {.exact = {{10, 0}}});
      },  // outside the vocabulary
      [&](TokenDataset& d) {
        row(d, {.exact = {{9, 0}, {9, 0}}});
      },  // twice
      [&](TokenDataset& d) {
        row(d, {.exact = {{9, 20}}, .drawn = {{9, 1}}});
      },  // twice
      [](TokenDataset& d) { d.documents[0].sampled_signal.pop_back(); },
      [](TokenDataset& d) { d.documents[0].sampled_signal.push_back(0); },
      [](TokenDataset& d) { d.sampled.id_bits = 32; }};
  expect_each_damages(sampled_sample(), changes);
}

TEST_F(DatasetTest, TheSameDataIsTheSameBytes) {
  write_dataset(path_, sample());
  const std::string first = read_file(path_);
  write_dataset(path_, sample());
  EXPECT_EQ(read_file(path_), first);
}

TEST_F(DatasetTest, DamageIsAnErrorAndNoCrash) {
  write_dataset(path_, sample());
  const std::string whole = read_file(path_);
  for (size_t cut = 0; cut < whole.size(); cut += 97) {
    write_file_atomically(path_, whole.substr(0, cut));
    EXPECT_THROW(read_dataset(path_, "abc", kVocabulary), Error) << cut;
  }
  write_file_atomically(path_, whole + '\0');
  EXPECT_THROW(read_dataset(path_, "abc", kVocabulary), Error);
}

// Values, HDF5's structure and what neither covers: the header, unused space.
TEST_F(DatasetTest, EveryFlippedBitIsAnError) {
  write_dataset(path_, sample());
  const std::string whole = read_file(path_);
  std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
  const auto put = [&](size_t at, char byte) { file.seekp(static_cast<std::streamoff>(at)).put(byte).flush(); };
  for (size_t at = 0; at < whole.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      put(at, static_cast<char>(whole[at] ^ (1 << bit)));
      ASSERT_THROW(read_dataset(path_, "abc", kVocabulary), Error) << at << " " << bit;
    }
    put(at, whole[at]);
  }
  EXPECT_NO_THROW(read_dataset(path_, "abc", kVocabulary));
}

// A file that is whole and right about its checksum, with numbers that nothing may be indexed with.
TEST_F(DatasetTest, NumbersThatCannotBeAreErrors) {
  const std::vector<std::function<void(TokenDataset&)>> changes{
      [](TokenDataset& d) { d.documents[0].tokens[1] = -1; },
      [](TokenDataset& d) { d.documents[1].tokens[0] = kVocabulary; },
      [](TokenDataset& d) { d.documents[0].in_loss[1] = 2; },
      [](TokenDataset& d) { d.documents[0].signal_ids[2] = kVocabulary; },
      [](TokenDataset& d) { d.documents[0].signal_ids[2] = -2; },
      [](TokenDataset& d) { d.documents[0].signal_ids[3] = 5; },  // twice in one row
      [](TokenDataset& d) { d.documents[0].signal_log_probs[2] = std::nanf(""); },
      [](TokenDataset& d) { d.documents[0].signal_log_probs[2] = 0.5f; },
      [](TokenDataset& d) { d.documents[0].signal_log_probs[3] = -0.5f; },  // with the other 1.2 in all
      [](TokenDataset& d) { d.signal_numerics = "int3"; }};
  expect_each_damages(sample(), changes);
}

TEST_F(DatasetTest, EveryFailingWriteLeavesNothingHalfDone) {
  int64_t n = 1;
  for (;; ++n) {
    ASSERT_LT(n, 50);
    fail_nth_write(n);
    try {
      write_dataset(path_, sample());
      break;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Resources);
      const bool written = std::string(error.what()).find("was written") != std::string::npos;
      EXPECT_EQ(fs::exists(path_), written) << error.what();
      fail_nth_write(0);
      EXPECT_TRUE(!written || read_dataset(path_, "abc", kVocabulary).documents.size() == 2);
      fs::remove_all(folder_);
    }
  }
  EXPECT_EQ(n, 6);  // create, write, fsync, rename, fsync of the name
  EXPECT_EQ(read_dataset(path_, "abc", kVocabulary).documents[0].tokens, sample().documents[0].tokens);
}

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
