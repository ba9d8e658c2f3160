#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>

#include "compress/dataset/dataset_file.h"
#include "compress/signal/sampled_signal.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "tests/base/failing_writes.h"
#include "tests/compress/sample_dataset.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

namespace fs = std::filesystem;

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
  TokenDataset data = sample();
  data.origin = {"of a teacher", "of a text", ""};
  write_dataset(path_, data);
  const TokenDataset back = read_dataset(path_, "abc", kVocabulary);
  EXPECT_EQ(back.origin, data.origin);
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
  data.signal_numerics = kTrainingNumerics;
  write_dataset(path_, data);
  const TokenDataset back = read_dataset(path_, "abc", kVocabulary);
  EXPECT_EQ(back.signal_numerics, "training");
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

}  // namespace
}  // namespace attar
