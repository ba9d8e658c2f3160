#include "recipes/data/kept_documents.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/error.h"
#include "tests/compress/sample_dataset.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

// What a broken run left is gone on with by the same making alone, and what differs is named.
TEST(KeptDocuments, AreTakenUpByTheSameMakingAlone) {
  const TestFolder folder("kept_documents");
  const TokenDataset made = sample();
  TokenDataset like = made.without_documents();
  like.origin = {"a teacher", "a text", "an option"};
  KeptDocuments written(folder / "train-0", like, 10);
  for (const TokenDocument& document : made.documents) written.add(document);
  written.keep("[7]");
  std::string state;
  EXPECT_EQ(KeptDocuments(folder / "train-0", like, 10).take(state).size(), 2u);
  EXPECT_EQ(state, "[7]");

  const std::vector<std::pair<std::string, std::function<void(TokenDataset&)>>> others{
      {"teacher (a teacher, not another)", [](TokenDataset& d) { d.origin.teacher_hash = "another"; }},
      {"text (a text, not another)", [](TokenDataset& d) { d.origin.text_hash = "another"; }},
      {"options (an option, not another)", [](TokenDataset& d) { d.origin.made_by = "another"; }},
      {"numerics (fp32, not deployed)", [](TokenDataset& d) { d.signal_numerics = "deployed"; }},
      {"signal (top 2, not top 3)", [](TokenDataset& d) { d.signal_k = 3; }},
      {"signal (top 2, not states of 3)", [](TokenDataset& d) { d.signal_k = 0, d.hidden_width = 3; }},
      {"signal (top 2, not 8 draws, 4 bits)", [](TokenDataset& d) {
         d.signal_k = 0, d.sampled = {8, 4};
       }}};
  for (const auto& [named, change] : others) {
    TokenDataset other = like;
    change(other);
    try {
      KeptDocuments(folder / "train-0", other, 10).take(state);
      ADD_FAILURE() << named;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Input) << named;
      EXPECT_NE(std::string(error.what()).find("was made of something else: " + named + "; delete"), std::string::npos)
          << error.what();
    }
  }
}

// Shards of a version that did not note it.
TEST(KeptDocuments, OfAnUnknownMakingAreRefused) {
  const TestFolder folder("kept_documents");
  TokenDataset like = sample().without_documents();
  KeptDocuments written(folder / "train-0", like, 10);
  written.add(sample().documents[0]);
  written.keep("{}");
  like.origin.teacher_hash = "a teacher";
  std::string state;
  try {
    KeptDocuments(folder / "train-0", like, 10).take(state);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("older version"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace attar
