// What a file gives back, to the bit; and what it must be to be taken.
#include "runtime/text/session_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>

#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/base/random.h"
#include "runtime/model/identity.h"
#include "runtime/model/kv_bytes.h"
#include "tests/runtime/kernels/kernel_tables.h"
#include "tests/runtime/tiny_model.h"
#include "tests/test_folder.h"

namespace attar::runtime {
namespace {

class SessionFile : public ::testing::Test {
 protected:
  static ModelFile file(Family family = Family::Llama, uint64_t seed = 1) {
    const TinyOptions options{.family = family, .matrix_type = TensorType::Q8_0, .seed = seed};
    ModelConfig config = tiny_config(options);
    config.context_length = 1024;
    if (family == Family::Gemma3) config.sliding_window = 100;
    return tiny_model(config, options);
  }
  static std::vector<int32_t> tokens(int64_t n, uint64_t seed = 5) {
    const CounterRandom random(seed);
    std::vector<int32_t> out;
    for (uint64_t i = 0; i < static_cast<uint64_t>(n); ++i) out.push_back(static_cast<int32_t>(random.below(i, 32)));
    return out;
  }
  // Reads `text`; -> the logits behind its last token.
  std::vector<float> read(const Model& model, Conversation& said, const std::vector<int32_t>& text) {
    Workspace work(model, pool_);
    const size_t held = said.begin(text);
    std::vector<Row> rows;
    for (size_t i = held; i < text.size(); ++i) rows.push_back({&said.cache(), text[i], i + 1 == text.size()});
    forward(model, rows, work);
    said.hold(text, {});
    return {work.logits(0).begin(), work.logits(0).end()};
  }
  std::string path() const { return folder_ / "session"; }
  std::string why_not(const Model& model, Conversation& said) {
    try {
      restore_session(path(), model, said, pool_);
      return "nothing";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Input);
      EXPECT_EQ(error.parts().where, path());
      return error.parts().what;
    }
  }

  ThreadPool pool_{2};
  TestFolder folder_{"session_file_test"};
};

TEST_F(SessionFile, GoesOnAsIfUnbroken) {
  for (const Family family : {Family::Llama, Family::Gemma3})
    for (const LoadOptions& way : {LoadOptions{.numerics = Numerics::Fp32}, LoadOptions{.kv = KvFormat::F16},
                                   LoadOptions{.kv = KvFormat::Int8}, LoadOptions{.isa = Isa::Scalar}})
      for (const int64_t length : {1, 15, 16, 17, 255, 256, 257, 600}) {
        const Model model = Model::load(file(family), way, pool_), other = Model::load(file(family), way, pool_);
        const std::vector<int32_t> text = tokens(length);
        std::vector<int32_t> longer = text;
        for (const int32_t token : tokens(20, 9)) longer.push_back(token);
        Conversation said(model), restored(other);
        read(model, said, text);
        save_session(path(), model, said, "what was added", pool_);
        EXPECT_EQ(restore_session(path(), other, restored, pool_), "what was added");
        EXPECT_TRUE(std::equal(text.begin(), text.end(), restored.tokens().begin(), restored.tokens().end()));
        EXPECT_EQ(restored.cache().length_tokens(), length);
        EXPECT_TRUE(restored.cache().belongs_to(other));
        EXPECT_EQ(restored.begin(longer), static_cast<size_t>(length));
        EXPECT_EQ(read(other, restored, longer), read(model, said, longer)) << length;
        EXPECT_EQ(std::filesystem::file_size(path()),
                  16 + 64 + 16 + 4 * static_cast<uint64_t>(length) + 14 + kv_file_bytes(model, length) + 64);
      }
}

TEST_F(SessionFile, HoldsNothingThatWasForgotten) {
  const Model model = Model::load(file(), {}, pool_);
  Conversation said(model), never(model), empty(model);
  read(model, said, tokens(300));
  said.truncate(21);
  read(model, never, tokens(21));
  save_session(path(), model, said, "", pool_);
  const std::string forgotten = read_file(path());
  save_session(path(), model, never, "", pool_);
  EXPECT_EQ(read_file(path()), forgotten);
  save_session(path(), model, empty, "", pool_);
  EXPECT_EQ(restore_session(path(), model, said, pool_), "");
  EXPECT_TRUE(said.tokens().empty());
}

TEST_F(SessionFile, RefusesDamage) {
  const Model model = Model::load(file(), {}, pool_);
  Conversation said(model), kept(model);
  read(model, said, tokens(40));
  read(model, kept, tokens(7, 3));
  save_session(path(), model, said, "{}", pool_);
  const std::string whole = read_file(path());
  const CounterRandom random(8);
  const auto refused = [&](const std::string& bytes) {
    write_file_atomically(path(), bytes);
    const std::string why = why_not(model, kept);
    EXPECT_TRUE(std::equal(kept.tokens().begin(), kept.tokens().end(), tokens(7, 3).begin())) << "it is what it was";
    EXPECT_EQ(kept.cache().length_tokens(), 7);
    return why;
  };
  for (uint64_t i = 0; i < 300; ++i) {
    std::string flipped = whole;
    const size_t at = i < 200 ? i : random.below(2 * i, whole.size());
    flipped[at] = static_cast<char>(flipped[at] ^ (1 << random.below(2 * i + 1, 8)));
    EXPECT_NE(refused(flipped), "nothing") << "bit of byte " << at;
  }
  for (const size_t length :
       {size_t{0}, size_t{1}, size_t{16}, size_t{100}, size_t{300}, whole.size() - 65, whole.size() - 1})
    EXPECT_NE(refused(whole.substr(0, length)), "nothing") << length;
  EXPECT_NE(refused(whole + "x"), "nothing");
  EXPECT_NE(refused("").find("is no session"), std::string::npos);
  EXPECT_NE(refused(std::string(4096, 'x')).find("is no session"), std::string::npos);
  std::string last = whole;
  last[whole.size() / 2] = static_cast<char>(last[whole.size() / 2] ^ 1);
  EXPECT_NE(refused(last).find("damaged"), std::string::npos);
  std::filesystem::remove(path());
  EXPECT_NE(why_not(model, kept), "nothing");
  write_file_atomically(path(), whole);
  EXPECT_EQ(restore_session(path(), model, kept, pool_), "{}");
}

TEST_F(SessionFile, IsOfOneModelAndItsNumbers) {
  const Model model = Model::load(file(), {}, pool_);
  Conversation said(model);
  read(model, said, tokens(10));
  save_session(path(), model, said, "", pool_);
  const auto refused = [&](const ModelFile& of, const LoadOptions& way) {
    const Model other = Model::load(of, way, pool_);
    Conversation into(other);
    return why_not(other, into);
  };
  EXPECT_NE(refused(file(Family::Llama, 2), {}).find("another model"), std::string::npos);
  EXPECT_NE(refused(file(), {.numerics = Numerics::Fp32}).find("another model"), std::string::npos);
  EXPECT_NE(refused(file(), {.kv = KvFormat::Int8}).find("another model"), std::string::npos);
  EXPECT_NE(refused(file(), {.isa = Isa::Scalar}).find("another model"), std::string::npos);
  for (const Kernels* k : fast_kernels()) EXPECT_EQ(refused(file(), {.isa = k->isa}), "nothing") << "the same bits";
  ThreadPool one(1);
  const Model same = Model::load(file(), {}, one);
  EXPECT_EQ(identity_of(same, one), identity_of(model, pool_)) << "however many threads hash";
}

TEST_F(SessionFile, FailsWithoutATrace) {
  const Model model = Model::load(file(), {}, pool_);
  Conversation said(model);
  read(model, said, tokens(10));
  EXPECT_THROW(save_session("/proc/nowhere/session", model, said, "", pool_), Error);
  std::filesystem::create_directory(path());
  EXPECT_THROW(save_session(path(), model, said, "", pool_), Error);
  size_t entries = 0;
  for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(path()).parent_path()))
    entries += entry.exists() ? 1 : 0;
  EXPECT_EQ(entries, 1u) << "nothing is left aside";
}

}  // namespace
}  // namespace attar::runtime
