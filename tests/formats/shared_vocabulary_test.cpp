#include "runtime/formats/tokenizer/shared_vocabulary.h"

#include <gtest/gtest.h>

#include "runtime/base/error.h"
#include "tests/formats/tiny_tokenizers.h"

namespace attar {
namespace {

// What `distill` says of a student that reads other tokens than its teacher; "" for one that may learn.
std::string difference(const TokenizerData& teacher, const TokenizerData& student) {
  try {
    require_same_reading(Tokenizer(teacher), Tokenizer(student), "student");
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

void drop_last_merge(TokenizerData& data) {
  MergeTexts merges = texts_of(data.merges);
  merges.pop_back();
  data.merges = MergeList(merges);
}

TEST(SameReading, NamesWhatDiffers) {
  const TokenizerData teacher = byte_level({{"t", "h"}, {"th", "e"}, {"a", "n"}});
  EXPECT_EQ(difference(teacher, teacher), "");
  const auto changed = [&](auto&& change) {
    TokenizerData student = teacher;
    change(student);
    return difference(teacher, student);
  };
  const std::pair<const char*, std::string> differences[] = {
      {"another split", changed([](TokenizerData& d) { d.pre = "qwen2"; })},
      {"another normalizer", changed([](TokenizerData& d) { d.normalize_nfc = true; })},
      {"whole pieces", changed([](TokenizerData& d) { d.ignore_merges = true; })},
      {"another BOS in front", changed([](TokenizerData& d) { d.add_bos = true; })},
      {"another EOS", changed([](TokenizerData& d) { d.eos = -1; })},
      {"another kind of <|end|>", changed([](TokenizerData& d) { d.tokens[0].kind = TokenKind::UserDefined; })},
      {"another id of", changed([](TokenizerData& d) { std::swap(d.tokens[257], d.tokens[259]); })},
      {"another order of merges", changed([](TokenizerData& d) {
         MergeTexts merges = texts_of(d.merges);
         std::swap(merges[0], merges[2]);
         d.merges = MergeList(merges);
       })},
      {"another number of merges", changed(drop_last_merge)},
      {"is not part of the teacher's", changed([](TokenizerData& d) { d.tokens.push_back({"new"}); })},
  };
  for (const auto& [what, said] : differences) EXPECT_NE(said.find(what), std::string::npos) << what << ": " << said;
}

TEST(SameReading, ATrimmedTokenizerIsTheTeachers) {
  const TokenizerData teacher = byte_level({{"t", "h"}, {"th", "e"}, {"a", "n"}});
  TokenizerData student = teacher;
  student.tokens.pop_back(), drop_last_merge(student);
  EXPECT_EQ(difference(teacher, student), "");
  student.pre = "smollm";
  EXPECT_NE(difference(teacher, student).find("split"), std::string::npos) << "but only with the same rules";

  const TokenizerData pieces = sentence_pieces({" a", "a", "b", "ab", "ba"});
  TokenizerData fewer = pieces;
  fewer.tokens.erase(fewer.tokens.begin() + kFirstPiece);
  EXPECT_EQ(difference(pieces, fewer), "");
  for (Token& token : fewer.tokens) token.score *= 2.0f;
  EXPECT_EQ(difference(pieces, fewer), "") << "a Hugging Face directory keeps their order alone";
  std::swap(fewer.tokens[fewer.tokens.size() - 1].score, fewer.tokens[fewer.tokens.size() - 2].score);
  EXPECT_NE(difference(pieces, fewer).find("order of scores"), std::string::npos);
  fewer = pieces;
  fewer.add_space_prefix = false;
  EXPECT_NE(difference(pieces, fewer).find("space in front"), std::string::npos);
}

}  // namespace
}  // namespace attar
