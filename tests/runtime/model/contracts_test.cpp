// What a caller of the runtime must not do is an Error, in every build.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "runtime/base/error.h"
#include "runtime/judge/score.h"
#include "runtime/model/model.h"
#include "runtime/text/generate.h"
#include "tests/runtime/spoken_model.h"
#include "tests/runtime/tiny_model.h"

namespace attar::runtime {
namespace {

class Contracts : public ::testing::Test {
 protected:
  static Model load(Numerics numerics, ThreadPool& pool) {
    return Model::load(tiny_model(tiny_config({}), {}), {.numerics = numerics}, pool);
  }
  // What the call complains about; "" when it does not.
  template <class Call>
  static std::string refused(ErrorKind kind, Call call) {
    try {
      call();
      return "";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      return error.what();
    }
  }

  ThreadPool pool_{2};
  Model model_ = load(Numerics::Fp32, pool_), other_ = load(Numerics::Deployed, pool_);
  Workspace work_{model_, pool_};
};

TEST_F(Contracts, ACacheOfAnotherModel) {
  KvCache cache(other_), copy(cache);
  for (KvCache* wrong : {&cache, &copy}) {
    const Row row{wrong, 1, true};
    EXPECT_NE(refused(ErrorKind::Usage,
                      [&] {
                        forward(model_, {&row, 1}, work_);
                      })
                  .find("another model"),
              std::string::npos);
    EXPECT_EQ(wrong->length_tokens(), 0);
  }
  // The same file loaded again is another model too.
  const Model again = load(Numerics::Fp32, pool_);
  KvCache of_again(again);
  const Row row{&of_again, 1, true};
  EXPECT_NE(refused(ErrorKind::Usage, [&] { forward(model_, {&row, 1}, work_); }), "");
}

TEST_F(Contracts, AModelMayMove) {
  Model here = load(Numerics::Fp32, pool_);
  Workspace work(here, pool_);
  KvCache cache(here);
  const Model there = std::move(here);
  const Row row{&cache, 1, true};
  EXPECT_EQ(refused(ErrorKind::Usage, [&] { forward(there, {&row, 1}, work); }), "");
}

TEST_F(Contracts, AWorkspaceOfAnotherModel) {
  Workspace wrong(other_, pool_);
  KvCache cache(model_);
  const Row row{&cache, 1, true};
  EXPECT_NE(refused(ErrorKind::Usage, [&] { forward(model_, {&row, 1}, wrong); }).find("workspace"), std::string::npos);
}

TEST_F(Contracts, OneCacheInTwoPlaces) {
  KvCache a(model_), b(model_);
  const std::vector<Row> rows = {{&a, 1}, {&b, 2}, {&a, 3}};
  EXPECT_NE(refused(ErrorKind::Usage, [&] { forward(model_, rows, work_); }).find("stand together"), std::string::npos);
  std::vector<Row> far_apart(700, Row{&a, 1});  // in another pass
  far_apart.push_back({&b, 1});
  far_apart.push_back({&a, 1});
  EXPECT_NE(refused(ErrorKind::Usage, [&] { forward(model_, far_apart, work_); }), "");
  EXPECT_EQ(a.length_tokens(), 0);
}

TEST_F(Contracts, NoCache) {
  KvCache gone(model_);
  const KvCache taken(std::move(gone));
  for (KvCache* missing : {static_cast<KvCache*>(nullptr), &gone}) {
    const Row row{missing, 1, true};
    EXPECT_NE(refused(ErrorKind::Usage, [&] { forward(model_, {&row, 1}, work_); }), "");
  }
  EXPECT_EQ(gone.length_tokens(), 0);
}

TEST_F(Contracts, TokensOutsideTheVocabulary) {
  for (const int32_t wrong : {-1, 32, std::numeric_limits<int32_t>::max(), std::numeric_limits<int32_t>::min()}) {
    EXPECT_NE(refused(ErrorKind::Input, [&] { score_tokens(model_, std::vector<int32_t>{1, 2, wrong}, work_); }), "");
    EXPECT_NE(refused(ErrorKind::Input, [&] { score_tokens(model_, std::vector<int32_t>{wrong}, work_); }), "");
    KvCache cache(model_);
    const Row row{&cache, 1, true};
    forward(model_, {&row, 1}, work_);  // generate() takes the first token as held
    GenerateOptions options;
    options.sampling.repetition_penalty = 2.0;
    EXPECT_NE(refused(ErrorKind::Input,
                      [&] {
                        generate(model_, cache, std::vector<int32_t>{wrong, 2}, options, work_);
                      }),
              "");
    const std::vector<float> logits(32, 0.5f);
    EXPECT_NE(
        refused(ErrorKind::Input, [&] { sample(logits, 1.0, std::vector<int32_t>{wrong}, options.sampling, {}); }), "");
    EXPECT_NE(refused(ErrorKind::Input, [&] { sample(logits, std::nan(""), {}, options.sampling, {}); }), "");
  }
}

TEST_F(Contracts, LogitsThatWereNotAskedFor) {
  EXPECT_NE(refused(ErrorKind::Usage, [&] { work_.logits(0); }), "");
  KvCache cache(model_);
  const std::vector<Row> rows = {{&cache, 1, true}, {&cache, 2, false}, {&cache, 3, true}};
  forward(model_, rows, work_);
  EXPECT_EQ(work_.logits(1).size(), 32u);
  for (const int64_t wrong : {-1, 2}) {
    EXPECT_NE(refused(ErrorKind::Usage, [&] { work_.logits(wrong); }), "");
    EXPECT_NE(refused(ErrorKind::Usage, [&] { work_.hidden(wrong); }), "");
  }
  EXPECT_NE(refused(ErrorKind::Usage, [&] { work_.summed(0); }), "") << "logits alone";
  cache.truncate(0);
  forward(model_, rows, work_, {}, Answers::Summed);
  EXPECT_EQ(work_.summed(1).values.data(), work_.logits(1).data());
  EXPECT_NE(refused(ErrorKind::Usage, [&] { work_.summed(2); }), "");
  const Row bad{&cache, -1, true};
  EXPECT_THROW(forward(model_, {&bad, 1}, work_), Error);
  EXPECT_NE(refused(ErrorKind::Usage, [&] { work_.logits(0); }), "") << "a call that failed gave none";
  EXPECT_NE(refused(ErrorKind::Usage, [&] { work_.summed(0); }), "");
}

}  // namespace
}  // namespace attar::runtime
