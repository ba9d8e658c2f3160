#include "recipes/data/teacher_writes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "recipes/data/kept_documents.h"
#include "runtime/base/error.h"
#include "runtime/base/host/thread_pool.h"
#include "tests/runtime/spoken_model.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

using Ids = std::vector<int32_t>;

enum : int32_t { kUser = 3, kX, kY, kEndOfTurn, kAssistant, kP, kQ, kEndOfAnswer };

// A teacher that likes to count: <u> x y <e> <a> p q <f>.
TokenizerData chat_tokenizer() {
  TokenizerData data = runtime::spoken_tokenizer({"<u>", "x", "y", "<e>", "<a>", "p", "q", "<f>"});
  for (const int32_t id : {kUser, kEndOfTurn, kAssistant, kEndOfAnswer})
    data.tokens[static_cast<size_t>(id)].kind = TokenKind::Control;
  data.eot = kEndOfTurn;
  data.end_of_generation = {kEndOfAnswer};
  data.chat_template =
      "{% for m in messages %}<u>{{ m.content }}<e>{% endfor %}{% if add_generation_prompt %}<a>{% endif %}";
  return data;
}

class TeacherWritesTest : public testing::Test {
 protected:
  TokenDataset write(const TeacherWrites& options, int threads = 1, const std::vector<Document>& prompts = {},
                     double strength = 3.0, const Progress& progress = {}, const std::string& steps = {}) {
    ThreadPool pool(threads);
    const runtime::Model model = runtime::Model::load(runtime::successor_model(chat_tokenizer(), strength), {}, pool);
    runtime::Workspace work(model, pool);
    return write_with_teacher(model, {.documents = prompts}, options, 7, 1, work, progress, {.path = steps});
  }
  static TeacherWrites chat(int64_t tokens, double temperature) {
    TeacherWrites options;
    options.tokens = tokens, options.temperature = temperature, options.signal_top_k = 2, options.max_tokens = 12;
    return options;
  }
};

TEST_F(TeacherWritesTest, WithoutPromptsItWritesTheUserTurnAndThenTheAnswerThatIsLearned) {
  const TokenDataset data = write(chat(6, 0.0));
  ASSERT_EQ(data.documents.size(), 2u);
  for (const TokenDocument& document : data.documents) {
    EXPECT_EQ(document.tokens, (Ids{kUser, kX, kY, kEndOfTurn, kAssistant, kP, kQ, kEndOfAnswer}));
    EXPECT_EQ(document.in_loss, (std::vector<uint8_t>{0, 0, 0, 0, 0, 1, 1, 1}));
    ASSERT_EQ(document.signal_ids.size(), 16u);
    EXPECT_EQ(document.signal_ids[8], -1) << "no signal for what the template wrote";
    EXPECT_EQ(document.signal_ids[10], kP);
    EXPECT_EQ(document.signal_ids[14], kEndOfAnswer);
  }
}

TEST_F(TeacherWritesTest, AnswersFollowTheTemplateWhateverTheUserTurnIs) {
  const TokenDataset data = write(chat(400, 1.0));
  EXPECT_GE(data.loss_token_count(), 400);
  std::set<Ids> turns;
  for (const TokenDocument& document : data.documents) {
    const auto answer = std::find(document.tokens.begin(), document.tokens.end(), kAssistant);
    ASSERT_NE(answer, document.tokens.end());
    const auto at = static_cast<size_t>(answer - document.tokens.begin());
    EXPECT_EQ(document.tokens[at - 1], kEndOfTurn);
    EXPECT_GE(at, 3u) << "an empty turn is none";
    for (size_t i = 0; i < document.tokens.size(); ++i) EXPECT_EQ(document.in_loss[i], i > at ? 1 : 0);
    turns.insert({document.tokens.begin(), answer});
  }
  EXPECT_GT(turns.size(), 5u);
}

TEST_F(TeacherWritesTest, ThreadsAndLengthChangeNothing) {
  const TokenDataset data = write(chat(200, 1.0)), again = write(chat(200, 1.0), 2), fewer = write(chat(60, 1.0));
  ASSERT_EQ(again.documents.size(), data.documents.size());
  for (size_t i = 0; i < data.documents.size(); ++i) {
    EXPECT_EQ(again.documents[i].tokens, data.documents[i].tokens);
    EXPECT_EQ(again.documents[i].signal_log_probs, data.documents[i].signal_log_probs);
  }
  ASSERT_LT(fewer.documents.size(), data.documents.size());
  for (size_t i = 0; i < fewer.documents.size(); ++i) EXPECT_EQ(fewer.documents[i].tokens, data.documents[i].tokens);
}

TEST_F(TeacherWritesTest, GivenPromptsAreAnsweredInTurn) {
  std::vector<Document> prompts(2);
  prompts[0].messages = {{"user", "x"}};
  prompts[1].messages = {{"user", "y"}};
  const TokenDataset data = write(chat(9, 0.0), 1, prompts);
  ASSERT_EQ(data.documents.size(), 3u);
  EXPECT_EQ(data.documents[0].tokens, (Ids{kUser, kX, kEndOfTurn, kAssistant, kP, kQ, kEndOfAnswer}));
  EXPECT_EQ(data.documents[1].tokens[1], kY);
  EXPECT_EQ(data.documents[2].tokens, data.documents[0].tokens);
}

TEST_F(TeacherWritesTest, ATeacherThatEndsNoUserTurnIsSaid) {
  TeacherWrites options = chat(6, 0.0);
  options.max_tokens = 2;  // x y, and no room for the end
  EXPECT_THROW(write(options), Error);
}

// One prompt a token asked for would be more than any machine holds.
TEST_F(TeacherWritesTest, BeginsAtOnceHoweverMuchIsAsked) {
  for (const char* prompt : {"chat", "none"}) {
    TeacherWrites options = chat(int64_t{1} << 50, 1.0);
    options.prompt = prompt;
    int events = 0;
    const auto stop = [&](const Event&) { return ++events == 3 ? Flow::Stop : Flow::GoOn; };
    try {
      write(options, 1, {}, 3.0, stop);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Interrupted);
    }
  }
}

// Stopped twice, at each event in turn, and gone on with: what was delivered is not written again.
TEST_F(TeacherWritesTest, GoesOnBehindWhatIsWritten) {
  for (const char* prompt : {"chat", "none"}) {
    TeacherWrites options = chat(150, 1.0);
    options.prompt = prompt;
    int events = 0;
    const Progress count = [&](const Event&) { return ++events, Flow::GoOn; };
    const TokenDataset whole = write(options, 1, {}, 3.0, count);
    const int all = events;
    int fewer = 0;
    for (int stop = 1; stop < all; stop += 5) {
      const TestFolder folder("writes");
      for (const int after : {stop, stop / 2 + 1}) {
        events = 0;
        const Progress stopping = [&](const Event&) { return ++events == after ? Flow::Stop : Flow::GoOn; };
        try {
          write(options, 1, {}, 3.0, stopping, folder / "train-0");
        } catch (const Error& error) {
          EXPECT_EQ(error.kind(), ErrorKind::Interrupted);
        }
      }
      events = 0;
      const TokenDataset again = write(options, 2, {}, 3.0, count, folder / "train-0");
      fewer += events < all ? 1 : 0;
      ASSERT_EQ(again.documents.size(), whole.documents.size()) << prompt << " stopped at " << stop;
      for (size_t i = 0; i < whole.documents.size(); ++i) {
        EXPECT_EQ(again.documents[i].tokens, whole.documents[i].tokens) << prompt << " stopped at " << stop;
        EXPECT_EQ(again.documents[i].signal_log_probs, whole.documents[i].signal_log_probs);
      }
      remove_kept_documents(folder / "train-0");
      EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
    }
    EXPECT_GT(fewer, 0) << prompt;
  }
}

}  // namespace
}  // namespace attar
