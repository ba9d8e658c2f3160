#include "compress/dataset/signal_store.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "compress/dataset/signal_shards.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "tests/base/failing_writes.h"
#include "tests/compress/stored_data.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

constexpr int64_t kStoreVocabulary = 40, kStoreWidth = 70;  // two groups of a state

// Documents of two tokens to eight, of which every sixth teaches nothing.
TokenDataset short_texts(int documents) {
  TokenDataset data;
  data.tokenizer_hash = "abc";
  for (int d = 0; d < documents; ++d) {
    TokenDocument document;
    for (int i = 0; i < 2 + d % 7; ++i) document.tokens.push_back((d * 7 + i * 3) % static_cast<int>(kStoreVocabulary));
    document.in_loss.assign(document.tokens.size(), d % 6 == 5 ? 0 : 1);
    document.in_loss[0] = 0;
    data.documents.push_back(std::move(document));
  }
  return data;
}
TokenDataset short_texts(SignalKind kind, int documents) {
  return signalled_by(kind, short_texts(documents), kStoreVocabulary, kStoreWidth);
}

class SignalStoreTest : public testing::Test {
 protected:
  void TearDown() override { fail_nth_write(0); }
  std::string shard(int n) const { return path_ + "-" + std::to_string(n) + ".h5"; }
  SignalShards shards_of(const TokenDataset& like) const {
    return SignalShards(path_, like, kStoreVocabulary, {.tokens = 40});
  }
  static std::string flipped(std::string bytes) {
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 4);
    return bytes;
  }
  // What reading the document says; "" where it can be read.
  static std::string complaint(const TokenDataset& data, size_t document) {
    try {
      with_signal(data, data.documents[document]);
      return "";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Input);
      return error.what();
    }
  }
  const TestFolder own_{"signal_store"};
  const std::string folder_ = own_ / "cache", path_ = folder_ + "/signal-1";
};

TEST_F(SignalStoreTest, GivesEachDocumentItsOwnInAnyOrder) {
  for (const SignalKind kind : kSignalKinds) {
    const TokenDataset data = short_texts(kind, 60), stored = on_disk(data, path_, kStoreVocabulary);
    EXPECT_TRUE(std::filesystem::exists(shard(3)));
    expect_same_signals(stored, data, name_of(kind));
    for (size_t i = 0; i < 60; ++i) {
      const size_t d = 37 * i % 60;
      expect_same_signal(with_signal(stored, stored.documents[d]), data.documents[d], name_of(kind));
    }
    EXPECT_FALSE(stored.documents[5].has_signal()) << "it teaches nothing";
    EXPECT_EQ(stored.documents_without_signal(), 0);
    std::filesystem::remove_all(folder_);
  }
}

// Files that were let go are opened again, and checked again where they are others then.
TEST_F(SignalStoreTest, MayHaveMoreFilesThanAreOpenAtOnce) {
  const TokenDataset data = short_texts(SignalKind::TopK, 150);
  SignalShards shards = shards_of(data);
  for (const TokenDocument& document : data.documents) shards.add(document), shards.keep();
  shards.finish();
  EXPECT_TRUE(std::filesystem::exists(shard(149)));
  const auto open_shards = [] {
    size_t count = 0;
    std::error_code gone;  // that of the iterator
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
      count += std::filesystem::read_symlink(entry, gone).string().find("signal-1-") != std::string::npos ? 1 : 0;
    return count;
  };
  const TokenDataset stored = on_disk(data, shards);
  EXPECT_EQ(open_shards(), 0u);
  for (size_t d = 150; d-- > 0;)
    expect_same_signal(with_signal(stored, stored.documents[d]), data.documents[d], "back");
  EXPECT_EQ(open_shards(), 64u);
  for (int round = 0; round < 2; ++round) expect_same_signals(stored, data, "in order");
  EXPECT_EQ(open_shards(), 64u);
  const std::string whole = read_file(shard(0));
  write_file_atomically(shard(0), flipped(whole));
  EXPECT_NE(complaint(stored, 0).find("signal-1-0.h5: is damaged at its checksum"), std::string::npos);
  write_file_atomically(shard(0), whole);
  EXPECT_EQ(complaint(stored, 0), "");
}

TEST_F(SignalStoreTest, CutsAsInMemory) {
  for (const SignalKind kind : kSignalKinds) {
    TokenDataset data = short_texts(kind, 60);
    data.bos = 1;
    const TokenDataset stored = on_disk(data, path_, kStoreVocabulary);
    for (const int64_t most : {2, 3, 5}) {
      const TokenDataset cut = cut_documents(stored, most);
      expect_same_signals(cut, cut_documents(data, most), name_of(kind));
      expect_same_signals(cut_documents(cut, 2), cut_documents(cut_documents(data, most), 2), "cut twice");
    }
    std::filesystem::remove_all(folder_);
  }
}

TEST_F(SignalStoreTest, LoadsThePiecesOfABatch) {
  const TokenDataset data = short_texts(SignalKind::Sampled, 30), stored = on_disk(data, path_, kStoreVocabulary);
  const std::vector<Piece> pieces{{20, 0, 8}, {3, 1, 4}, {20, 2, 3}};
  const LoadedPieces there = loaded(stored, pieces);
  ASSERT_EQ(there.data.documents.size(), 3u);
  EXPECT_TRUE(there.data.store == nullptr);
  EXPECT_EQ(there.data.sampled, data.sampled);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(there.pieces[i].document, static_cast<int64_t>(i));
    EXPECT_EQ(there.pieces[i].begin, pieces[i].begin);
    EXPECT_EQ(there.pieces[i].length, pieces[i].length);
    expect_same_signal(there.data.documents[i], data.documents[static_cast<size_t>(pieces[i].document)], "piece");
  }
}

TEST_F(SignalStoreTest, ADataSetOfOneFileLeavesItsSignalsThere) {
  for (const SignalKind kind : kSignalKinds) {
    const TokenDataset data = short_texts(kind, 30);
    write_dataset(path_ + ".h5", data);
    const TokenDataset stored = open_dataset(path_ + ".h5", "abc", kStoreVocabulary);
    EXPECT_EQ(stored.origin, data.origin);
    EXPECT_TRUE(stored.documents[0].signal_ids.empty() && stored.documents[0].sampled_signal.empty());
    expect_same_signals(stored, data, name_of(kind));
  }
  write_dataset(path_ + ".h5", short_texts(30));
  EXPECT_TRUE(open_dataset(path_ + ".h5", "abc", kStoreVocabulary).store == nullptr) << "it has none";
}

TEST_F(SignalStoreTest, ChecksAFileAtItsFirstTouch) {
  const TokenDataset data = short_texts(SignalKind::TopK, 40), stored = on_disk(data, path_, kStoreVocabulary);
  const std::string whole = read_file(shard(1)), first = read_file(shard(0));
  write_file_atomically(shard(1), flipped(whole));
  size_t second = 1;  // the first document of that file
  while (complaint(stored, second).empty()) ++second;
  ASSERT_LT(second, 20u);
  EXPECT_NE(complaint(stored, second).find("signal-1-1.h5: is damaged at its checksum"), std::string::npos);
  write_file_atomically(shard(1), first);
  EXPECT_NE(complaint(stored, second).find("is not the file that was written there"), std::string::npos)
      << complaint(stored, second);
  TokenDataset others = data;
  others.origin.teacher_hash = "another";
  on_disk(others, folder_ + "/signal-2", kStoreVocabulary);
  write_file_atomically(shard(1), read_file(folder_ + "/signal-2-1.h5"));
  EXPECT_NE(complaint(stored, second).find("was made of something else: teacher (another, not a teacher)"),
            std::string::npos)
      << complaint(stored, second);
  std::filesystem::remove(shard(1));
  EXPECT_NE(complaint(stored, second).find("cannot be opened"), std::string::npos);
  write_file_atomically(shard(1), whole);
  expect_same_signals(stored, data, "as it was");
}

// Trainings last for days; a backup that sets times back, or who gives others the right to read, ends none.
TEST_F(SignalStoreTest, AnOpenFileThatIsTouchedIsCheckedAgain) {
  const TokenDataset data = short_texts(SignalKind::TopK, 20);
  const TokenDataset in_shards = on_disk(data, path_, kStoreVocabulary);
  write_dataset(path_ + ".h5", data);
  const TokenDataset in_one = open_dataset(path_ + ".h5", "abc", kStoreVocabulary);
  const std::vector<std::pair<std::string, const TokenDataset*>> files{{shard(0), &in_shards},
                                                                       {path_ + ".h5", &in_one}};
  for (const auto& [path, stored] : files) {
    EXPECT_EQ(complaint(*stored, 0), "");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // so that the change time is another
    std::filesystem::permissions(path, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    expect_same_signal(with_signal(*stored, stored->documents[0]), data.documents[0], path);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    std::ofstream(path, std::ios::app) << "!";
    EXPECT_NE(complaint(*stored, 0).find("is damaged at its checksum"), std::string::npos) << complaint(*stored, 0);
  }
}

TEST_F(SignalStoreTest, ABrokenMakingGoesOnBehindItsLastShard) {
  const TokenDataset data = short_texts(SignalKind::Hidden, 60);
  const std::string hash = on_disk(data, folder_ + "/whole", kStoreVocabulary).store->hash();
  {
    SignalShards broken = shards_of(data);
    for (size_t d = 0; d < 20; ++d) broken.add(data.documents[d]);
    broken.keep();
    EXPECT_EQ(broken.documents(), 20);
    broken.add(data.documents[20]);  // lost
  }
  SignalShards again = shards_of(data);
  EXPECT_EQ(again.documents(), 20);
  EXPECT_FALSE(again.whole());
  for (size_t d = 20; d < 60; ++d) again.add(data.documents[d]);
  again.finish();
  EXPECT_TRUE(shards_of(data).whole());
  EXPECT_EQ(shards_of(data).store()->hash(), hash) << "however it is cut into files";
  EXPECT_EQ(shards_of(data).documents(), 60);

  std::filesystem::remove(shard(1));  // what a message tells people to do
  SignalShards without = shards_of(data);
  EXPECT_FALSE(without.whole());
  for (size_t d = static_cast<size_t>(without.documents()); d < 60; ++d) without.add(data.documents[d]);
  without.finish();
  EXPECT_EQ(shards_of(data).store()->hash(), hash);
}

TEST_F(SignalStoreTest, AMakingOfSomethingElseIsRefused) {
  const TokenDataset data = short_texts(SignalKind::TopK, 20);
  on_disk(data, path_, kStoreVocabulary);
  const std::vector<std::pair<std::string, std::function<void(TokenDataset&)>>> others{
      {"teacher", [](TokenDataset& d) { d.origin.teacher_hash = "another"; }},
      {"text", [](TokenDataset& d) { d.origin.text_hash = "another"; }},
      {"options", [](TokenDataset& d) { d.origin.made_by = "another"; }},
      {"signal (top 3, not top 4)", [](TokenDataset& d) { d.signal_k = 4; }},
      {"tokenizer", [](TokenDataset& d) { d.tokenizer_hash = "another"; }}};
  for (const auto& [named, change] : others) {
    TokenDataset other = data;
    change(other);
    try {
      shards_of(other);
      ADD_FAILURE() << named;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Input);
      EXPECT_NE(std::string(error.what()).find(named), std::string::npos) << error.what();
    }
  }
}

// It is told apart from one of something else, and is as good as none: its shards are made anew, to the same bytes.
TEST_F(SignalStoreTest, ADamagedIndexCountsForNothing) {
  const TokenDataset data = short_texts(SignalKind::TopK, 20);
  on_disk(data, path_, kStoreVocabulary);
  const std::string index = path_ + ".json", whole = read_file(index);
  const auto expect_damaged = [&](const std::string& content, const std::string& where) {
    std::ofstream(index, std::ios::binary) << content;
    const SignalShards shards = shards_of(data);
    EXPECT_TRUE(shards.was_damaged()) << where;
    EXPECT_FALSE(shards.whole()) << where;
    EXPECT_EQ(shards.documents(), 0) << where;
  };
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string content = whole;
    content[i] = static_cast<char>(content[i] ^ (1 << (i % 8)));
    expect_damaged(content, "byte " + std::to_string(i));
  }
  for (size_t length = 0; length < whole.size(); ++length)
    expect_damaged(whole.substr(0, length), std::to_string(length) + " bytes");
  for (const char* damage : {"[]", "7", R"({"made_of": 7})"}) expect_damaged(damage, damage);
  expect_damaged(whole + whole, "twice");

  SignalShards again = shards_of(data);
  for (const TokenDocument& document : data.documents) again.add(document);
  again.finish();
  EXPECT_EQ(read_file(index), whole);
  EXPECT_FALSE(shards_of(data).was_damaged());
  EXPECT_TRUE(shards_of(data).whole());
  expect_same_signals(on_disk(data, shards_of(data)), data, "made anew");
}

// A disk that fails at each write in turn: the next making goes on, to the same signals.
TEST_F(SignalStoreTest, EveryFailingWriteLosesNothingThatIsThere) {
  const TokenDataset data = short_texts(SignalKind::Sampled, 20);
  const std::string hash = on_disk(data, folder_ + "/whole", kStoreVocabulary).store->hash();
  const auto make = [&] {
    SignalShards shards = shards_of(data);
    for (auto d = static_cast<size_t>(shards.documents()); d < 20; ++d) shards.add(data.documents[d]);
    shards.finish();
    return shards.store()->hash();
  };
  int64_t n = 1;
  for (;; ++n) {
    ASSERT_LT(n, 100);
    fail_nth_write(n);
    try {
      EXPECT_EQ(make(), hash);
      break;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Resources) << n;
      fail_nth_write(0);
      EXPECT_EQ(make(), hash) << n;
      for (int i = 0; std::filesystem::exists(shard(i)); ++i) std::filesystem::remove(shard(i));
      std::filesystem::remove(path_ + ".json");
    }
  }
  EXPECT_GT(n, 10);
}

// A shard in the place of one that was deleted may hold other documents, which the index of before does not know.
TEST_F(SignalStoreTest, AShardIsMadeAnewThoughTheDiskFails) {
  const TokenDataset data = short_texts(SignalKind::TopK, 20);
  const auto make = [&](size_t stopped_behind) {
    SignalShards shards = shards_of(data);
    for (auto d = static_cast<size_t>(shards.documents()); d < 20; ++d) {
      shards.add(data.documents[d]);
      if (d == stopped_behind) shards.keep();
    }
    shards.finish();
  };
  int64_t n = 1;
  for (bool failed = true; failed; ++n) {
    ASSERT_LT(n, 100);
    std::filesystem::remove_all(folder_);
    make(2);
    std::filesystem::remove(shard(0));
    failed = false;
    fail_nth_write(n);
    try {
      make(20);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Resources) << n;
      failed = true;
    }
    fail_nth_write(0);
    if (!shards_of(data).whole()) make(20);
    for (size_t d = 0; d < 20; ++d) ASSERT_EQ(complaint(on_disk(data, shards_of(data)), d), "") << n;
    expect_same_signals(on_disk(data, shards_of(data)), data, "failing write " + std::to_string(n));
  }
  EXPECT_GT(n, 10);
}

// 1,000 tokens at a time until they are a sixteenth of what is there, and no more than so many bytes.
TEST_F(SignalStoreTest, ShardsGrowWithWhatIsThere) {
  TokenDataset data = short_texts(SignalKind::TopK, 1);
  TokenDocument document = data.documents[0];  // of two tokens
  SignalShards shards(path_, data, kStoreVocabulary, {.tokens = 1000, .most_bytes = 30000});
  std::vector<int64_t> sizes;
  for (int64_t before = 0, n = 0; n < 40000; ++n) {
    shards.add(document);
    if (shards.documents() == before) continue;
    sizes.push_back(2 * (shards.documents() - before));
    before = shards.documents();
  }
  ASSERT_GT(sizes.size(), 30u);
  for (size_t i = 0; i < 16; ++i) EXPECT_EQ(sizes[i], 1000) << i;
  EXPECT_GT(sizes[20], 1100);
  for (const int64_t size : sizes) EXPECT_LE(size, 1250 + 2);  // 24 bytes a token
}

}  // namespace
}  // namespace attar
