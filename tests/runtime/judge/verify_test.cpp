// verify() against the definitions written the plain way, in double, on whole windows.
#include "runtime/judge/verify.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "runtime/base/error.h"
#include "runtime/base/sha256.h"
#include "runtime/judge/statistics/standard_error.h"
#include "tests/runtime/spoken_model.h"
#include "tests/runtime/tiny_model.h"
#include "tests/test_folder.h"

namespace attar::runtime {
namespace {

constexpr int32_t kTh = 4, kB = 6;  // the tokens "th" and "b"

// 32 tokens: three special ones, the space, "th", and the letters but z... in this order.
TokenizerData letters() {
  std::vector<std::string> texts{"\u2581", "th"};
  for (char c = 'a'; c <= 'y'; ++c) texts.emplace_back(1, c);
  texts.emplace_back("he");
  texts.emplace_back("<0x62>");  // b as a byte
  return spoken_tokenizer(texts);
}

ModelFile speaker(uint64_t seed) {
  const TinyOptions options{.tied = false, .seed = seed};
  return with_tokenizer(tiny_model(tiny_config(options), options), letters());
}

std::vector<Document> texts() {
  return {{.text = "the cat that sat on the mat saw a bat and a moth then left"},
          {.text = "o"},
          {.text = "more of the other"}};
}

struct Expected {
  std::vector<double> kl;
  std::vector<size_t> window_ends;
  double teacher_nll = 0, student_nll = 0, top1 = 0, top5 = 0, dropped = 0;
  int64_t windows = 0, skipped = 0;
};

std::vector<double> log_softmax(const std::vector<double>& logits) {
  double sum = 0.0;
  for (const double x : logits) sum += std::exp(x);
  std::vector<double> out;
  for (const double x : logits) out.push_back(x - std::log(sum));
  return out;
}

std::vector<size_t> five(const std::vector<double>& row) {
  std::vector<size_t> order(row.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return row[a] > row[b]; });
  order.resize(5);
  return order;
}

void add_position(std::vector<double> teacher, const std::vector<double>& student_logits, size_t teacher_next,
                  size_t student_next, int32_t dropped_id, Expected& out) {
  teacher = log_softmax(teacher);
  const std::vector<double> student = log_softmax(student_logits);
  out.teacher_nll -= teacher[teacher_next];
  out.student_nll -= student[student_next];
  if (dropped_id >= 0) {
    const double mass = std::exp(teacher[static_cast<size_t>(dropped_id)]);
    out.dropped += mass;
    teacher.erase(teacher.begin() + dropped_id);
    for (double& x : teacher) x -= std::log(1.0 - mass);
  }
  double kl = 0.0;
  for (size_t i = 0; i < teacher.size(); ++i) kl += std::exp(teacher[i]) * (teacher[i] - student[i]);
  out.kl.push_back(kl);
  const std::vector<size_t> a = five(teacher), b = five(student);
  out.top1 += a[0] == b[0];
  for (const size_t id : a) out.top5 += 0.2 * static_cast<double>(std::count(b.begin(), b.end(), id));
}

// Windows of `context` tokens, BOS first. Vocabularies are the same.
Expected expected_same(const ModelFile& teacher, const ModelFile& student, size_t context) {
  const Tokenizer tokenizer(teacher.tokenizer());
  Expected out;
  for (const Document& document : texts()) {
    const std::vector<int32_t> all = tokenizer.encode(document.text, {.add_special = false});
    for (size_t at = 0; at < all.size(); at += context - 1) {
      std::vector<int32_t> window{1};
      for (size_t i = at; i < std::min(at + context - 1, all.size()); ++i) window.push_back(all[i]);
      const auto p = forward_reference(teacher, window), q = forward_reference(student, window);
      for (size_t i = 0; i + 1 < window.size(); ++i)
        add_position(p[i], q[i], static_cast<size_t>(window[i + 1]), static_cast<size_t>(window[i + 1]), -1, out);
      ++out.windows;
      out.window_ends.push_back(out.kl.size());
    }
  }
  return out;
}

void expect_fidelity(const Fidelity& got, const Expected& expected, double tolerance) {
  const auto n = static_cast<double>(expected.kl.size());
  std::vector<double> sorted = expected.kl;
  std::sort(sorted.begin(), sorted.end());
  const double mean = std::accumulate(sorted.begin(), sorted.end(), 0.0) / n;
  EXPECT_NEAR(got.kl.mean, mean, tolerance * mean);
  EXPECT_NEAR(got.kl.max, sorted.back(), tolerance * sorted.back());
  EXPECT_NEAR(got.kl.p50, sorted[static_cast<size_t>(0.5 * (n - 1))], tolerance * mean);
  EXPECT_NEAR(got.kl.stderr_, window_standard_error(expected.kl, expected.window_ends), tolerance * mean);
  EXPECT_NEAR(got.top1_agreement, expected.top1 / n, 1e-12);
  EXPECT_NEAR(got.top5_overlap, expected.top5 / n, 1e-12);
  EXPECT_NEAR(got.dropped_mass, expected.dropped / n, 1e-6);
  const double teacher = std::exp(expected.teacher_nll / n), student = std::exp(expected.student_nll / n);
  EXPECT_NEAR(got.perplexity.teacher, teacher, tolerance * teacher);
  EXPECT_NEAR(got.perplexity.student, student, tolerance * student);
  EXPECT_NEAR(got.perplexity.ratio, student / teacher, tolerance * student / teacher);
}

VerifyResults run(const ModelFile& teacher, const ModelFile& student, VerifyOptions options, int n_threads = 2) {
  ThreadPool pool(n_threads);
  return verify(teacher, student, texts(), options, pool);
}

TEST(Verify, EqualsTheDefinitions) {
  const ModelFile teacher = speaker(1), student = speaker(2);
  for (const int64_t context : {9, 512}) {
    const VerifyResults got = run(teacher, student, {.context = context, .numerics = "fp32"});
    const Expected expected = expected_same(teacher, student, static_cast<size_t>(context));
    ASSERT_TRUE(got.fp32);
    EXPECT_FALSE(got.deployed);
    EXPECT_EQ(got.windows, expected.windows);
    EXPECT_EQ(got.scored_tokens, static_cast<int64_t>(expected.kl.size()));
    EXPECT_EQ(got.skipped_tokens, 0);
    expect_fidelity(*got.fp32, expected, 1e-4);  // f32 forward passes against double ones
    double bytes = 0.0;
    for (const Document& document : texts()) bytes += static_cast<double>(document.text.size());
    EXPECT_NEAR(got.fp32->bits_per_byte.student, expected.student_nll / std::log(2.0) / bytes, 1e-4);
  }
  Sha256 hash;
  for (const Document& document : texts()) hash.add(document.text).add("\n<|endoftext|>\n");
  EXPECT_EQ(run(teacher, student, {.numerics = "fp32"}).text_sha256, hash.hex());
}

TEST(Verify, OfOneWindowNoStandardErrorIsKnown) {
  ThreadPool pool(2);
  const VerifyResults got =
      verify(speaker(1), speaker(2), {{.text = "the cat that sat on the mat"}}, {.numerics = "fp32"}, pool);
  EXPECT_EQ(got.windows, 1);
  EXPECT_GT(got.fp32->kl.mean, 0.0);
  EXPECT_TRUE(std::isnan(got.fp32->kl.stderr_) && std::isnan(got.fp32->top1_stderr));
}

TEST(Verify, AModelIsItsOwnEqualAndThreadsChangeNothing) {
  const ModelFile teacher = speaker(1), student = speaker(2);
  const VerifyResults same = run(teacher, teacher, {.numerics = "both"});
  for (const Fidelity& f : {*same.fp32, *same.deployed}) {
    EXPECT_EQ(f.kl.max, 0.0);
    EXPECT_EQ(f.top1_agreement, 1.0);
    EXPECT_NEAR(f.top5_overlap, 1.0, 1e-12);
    EXPECT_EQ(f.perplexity.ratio, 1.0);
  }
  const VerifyResults one = run(teacher, student, {.context = 16}, 1),
                      three = run(teacher, student, {.context = 16}, 3);
  EXPECT_EQ(one.fp32->kl_values, three.fp32->kl_values);
  EXPECT_EQ(one.deployed->kl_values, three.deployed->kl_values);
  EXPECT_EQ(one.deployed->bits_per_byte.student, three.deployed->bits_per_byte.student);
}

// Without "th" the student reads two letters for it; without "b" it reads the byte, another token of the same length.
class Trimmed : public ::testing::TestWithParam<int32_t> {};

TEST_P(Trimmed, TheTeacherIsRestrictedToTheStudentsVocabulary) {
  const int32_t dropped = GetParam();
  const ModelFile teacher = speaker(1), student = without_token(speaker(2), dropped);
  const VerifyResults got = run(teacher, student, {.numerics = "fp32"});
  // The plain way: both texts as characters; a position counts where both stand at the same place and the next token
  // has the same text.
  const Tokenizer a(teacher.tokenizer()), b(student.tokenizer());
  const auto text = [](const Tokenizer& tokenizer, int32_t id) {
    return tokenizer.data().tokens[static_cast<size_t>(id)].text;
  };
  Expected expected;
  int64_t teacher_positions = 0;
  for (const Document& document : texts()) {
    std::vector<int32_t> p{1}, q{1};
    for (const int32_t id : a.encode(document.text, {.add_special = false})) p.push_back(id);
    for (const int32_t id : b.encode(document.text, {.add_special = false})) q.push_back(id);
    const auto teacher_logits = forward_reference(teacher, p), student_logits = forward_reference(student, q);
    teacher_positions += static_cast<int64_t>(p.size()) - 1;
    std::string said_p, said_q;
    size_t j = 0;
    for (size_t i = 0; i + 1 < p.size(); said_p += a.token_bytes(p[++i])) {
      while (said_q.size() < said_p.size()) said_q += b.token_bytes(q[++j]);
      if (said_q.size() != said_p.size() || text(a, p[i + 1]) != text(b, q[j + 1])) continue;
      add_position(teacher_logits[i], student_logits[j], static_cast<size_t>(p[i + 1]), static_cast<size_t>(q[j + 1]),
                   dropped, expected);
    }
    expected.window_ends.push_back(expected.kl.size());
  }
  EXPECT_EQ(got.scored_tokens, static_cast<int64_t>(expected.kl.size()));
  EXPECT_EQ(got.skipped_tokens, teacher_positions - got.scored_tokens);
  EXPECT_GE(got.skipped_tokens, 1);
  EXPECT_GT(got.fp32->dropped_mass, 0.0);
  expect_fidelity(*got.fp32, expected, 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Verify, Trimmed, ::testing::Values(kTh, kB));

TEST(Verify, ScoresNoMoreThanAsked) {
  const ModelFile teacher = speaker(1), student = speaker(2);
  const VerifyResults got = run(teacher, student, {.context = 16, .max_tokens = 21, .numerics = "fp32"});
  EXPECT_EQ(got.scored_tokens, 21);
  EXPECT_EQ(got.windows, 2);
}

TEST(Verify, RefusesWhatCannotBeCompared) {
  const ModelFile teacher = speaker(1);
  TokenizerData other = letters();
  other.tokens[5].text = "Q";
  EXPECT_NE(std::string(), [&] {
    try {
      run(teacher, with_tokenizer(speaker(2), other), {});
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  }());
  EXPECT_THROW(run(teacher, teacher, {.context = 100000}), Error);
  for (const int64_t context : {1, 0, -1}) EXPECT_THROW(run(teacher, teacher, {.context = context}), Error) << context;
  EXPECT_THROW(run(teacher, teacher, {.context = 16, .task_items = -1}), Error);
  ThreadPool pool(1);
  EXPECT_THROW(verify(teacher, teacher, {}, {}, pool), Error);
  EXPECT_THROW(verify(teacher, teacher, texts(), {}, pool, [](const Event&) { return Flow::Stop; }), Error);
}

TEST(Verify, RefusesLogitsThatAreNotFinite) {
  ThreadPool pool(2);
  const ModelFile sound = successor_model(letters(), 5.0), broken = successor_model(letters(), 1e39);
  for (const char* numerics : {"fp32", "deployed"}) {
    VerifyOptions options;
    options.context = 16, options.numerics = numerics;
    for (const auto& [teacher, student] : {std::pair(sound, broken), std::pair(broken, sound)}) {
      try {
        verify(teacher, student, texts(), options, pool);
        FAIL() << "no error";
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::Input);
        EXPECT_NE(std::string(error.what()).find("logits are not finite"), std::string::npos) << error.what();
      }
    }
  }
}

TEST(Verify, AsksWithinAWindow) {
  ThreadPool pool(1);
  std::string text;
  for (int i = 0; i < 30; ++i) text += "the cat sat ";
  const ModelFile model = successor_model(letters(), 5.0, 1024);
  VerifyOptions options;
  options.context = 1024, options.numerics = "fp32";
  std::vector<int64_t> done;
  const Progress record = [&](const Event& event) {
    done.push_back(event.done);
    return Flow::GoOn;
  };
  const VerifyResults results = verify(model, model, {{.text = text}}, options, pool, record);
  EXPECT_EQ(results.windows, 1);
  EXPECT_GE(done.size(), 5u) << "every 64 tokens";
  EXPECT_TRUE(std::is_sorted(done.begin(), done.end()));
}

// Stopped at each event in turn, and gone on with.
TEST(Verify, GoesOnBehindItsLastWindow) {
  const TestFolder folder("scored");
  const ModelFile teacher = speaker(1), student = speaker(2);
  ThreadPool pool(2);
  VerifyOptions options;
  options.context = 8;
  const VerifyResults whole = verify(teacher, student, texts(), options, pool);
  int stops = 0, gone_on = 0;
  for (bool stopped = true; stopped;) {
    const std::string kept = folder / std::to_string(++stops);
    int events = 0, left = 0;
    const Progress stop = [&](const Event&) { return ++events == stops ? Flow::Stop : Flow::GoOn; };
    const Progress count = [&](const Event&) { return ++left, Flow::GoOn; };
    try {
      verify(teacher, student, texts(), options, pool, stop, kept);
      stopped = false;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Interrupted);
    }
    const VerifyResults again = verify(teacher, student, texts(), options, pool, count, kept);
    gone_on += left < stops ? 1 : 0;
    EXPECT_EQ(again.windows, whole.windows);
    EXPECT_EQ(again.scored_tokens, whole.scored_tokens);
    for (const auto mode : {&VerifyResults::fp32, &VerifyResults::deployed}) {
      const Fidelity &a = *(again.*mode), &b = *(whole.*mode);
      EXPECT_EQ(a.kl_values, b.kl_values);
      EXPECT_EQ(a.kl.stderr_, b.kl.stderr_);
      EXPECT_EQ(a.perplexity.student, b.perplexity.student);
      EXPECT_EQ(a.bits_per_byte.teacher, b.bits_per_byte.teacher);
      EXPECT_EQ(a.top1_agreement, b.top1_agreement);
      EXPECT_EQ(a.top5_overlap, b.top5_overlap);
    }
  }
  EXPECT_GT(stops, 8);
  EXPECT_GT(gone_on, 3) << "some windows are not scored again";
  EXPECT_THROW(verify(teacher, speaker(3), texts(), options, pool, {}, folder / "1"), Error) << "of another student";
}

}  // namespace
}  // namespace attar::runtime
