#include "runtime/base/atomic_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/base/sha256.h"
#include "tests/base/failing_writes.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

namespace fs = std::filesystem;

class AtomicFileTest : public testing::Test {
 protected:
  void TearDown() override { fail_nth_write(0); }
  const TestFolder own_{"atomic_file"};
  const fs::path folder_ = own_.path();
  const std::string path_ = (folder_ / "file").string();
};

TEST_F(AtomicFileTest, AppearsOnCommitOnly) {
  {
    AtomicFile file(path_);
    file.write("lost");
  }
  EXPECT_TRUE(fs::is_empty(folder_));
  write_file_atomically(path_, "kept");
  EXPECT_EQ(read_file(path_), "kept");
}

TEST_F(AtomicFileTest, AnErrorNamesTheFileThatWasAskedFor) {
  write_file_atomically(path_, "a file");
  const std::string below = path_ + "/below";
  try {
    write_file_atomically(below, "x");
    FAIL() << "written below a file";
  } catch (const Error& error) {
    EXPECT_EQ(error.parts().where, below);
    EXPECT_EQ(error.kind(), ErrorKind::Resources);
  }
}

TEST_F(AtomicFileTest, TwoWritersOfOneFileDoNotMeet) {
  AtomicFile first(path_), second(path_);
  first.write("first");
  second.write("second, and longer");
  second.commit();
  EXPECT_EQ(read_file(path_), "second, and longer");
  first.commit();
  EXPECT_EQ(read_file(path_), "first");
}

TEST_F(AtomicFileTest, SweepsWhatACrashLeft) {
  fs::create_directories(folder_ / "step-2.tmp-7/inner");
  fs::create_directories(folder_ / "kept/best.old-7");
  for (const char* name : {"notes", "kept/data.h5", "kept/data.h5.tmp-7"}) write_file_atomically(folder_ / name, "x");
  sweep_asides(folder_, {"step-", "best."});
  EXPECT_FALSE(fs::exists(folder_ / "step-2.tmp-7") || fs::exists(folder_ / "kept/best.old-7"));
  EXPECT_TRUE(fs::exists(folder_ / "kept/data.h5.tmp-7"));
  sweep_asides(folder_);
  EXPECT_TRUE(fs::exists(folder_ / "notes") && fs::exists(folder_ / "kept/data.h5"));
  EXPECT_FALSE(fs::exists(folder_ / "kept/data.h5.tmp-7"));
  sweep_asides(folder_ / "gone");
}

// The message of what `write` throws when the n-th call fails; "" when there are fewer.
std::string message_of_failure(int64_t n, const std::function<void()>& write) {
  fail_nth_write(n);
  try {
    write();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Resources);
    return error.what();
  }
  return "";
}

int64_t entries_of(const fs::path& folder) {
  return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
}

// Create, three flushes, fsync, rename: the old file stays, and the message may say so. After the rename the new one is
// there.
TEST_F(AtomicFileTest, EveryFailingWriteLeavesAWholeFile) {
  const std::string big(size_t{3} << 20, 'x');
  int64_t n = 1;
  for (bool renamed = false;; ++n) {
    ASSERT_LT(n, 20);
    fail_nth_write(0);
    write_file_atomically(path_, "old");
    const std::string message = message_of_failure(n, [&] { write_file_atomically(path_, big); });
    if (message.empty()) break;
    renamed = read_file(path_) == big;
    EXPECT_EQ(read_file(path_), renamed ? big : "old");
    EXPECT_EQ(message.find("nothing was overwritten") == std::string::npos, renamed) << message;
    EXPECT_EQ(renamed, n == 7) << n;
    EXPECT_EQ(entries_of(folder_), 1);
  }
  EXPECT_EQ(n, 8);
  EXPECT_EQ(read_file(path_), big);
}

TEST_F(AtomicFileTest, EveryFailingWriteLeavesAWholeFolder) {
  const auto put = [&](const std::string& text) {
    const std::string aside = aside_path(path_);
    fs::create_directories(aside);
    std::ofstream(aside + "/a") << text;
    std::ofstream(aside + "/b") << text;
    publish(aside, path_);
  };
  int64_t n = 1;
  for (;; ++n) {
    ASSERT_LT(n, 20);
    fail_nth_write(0);
    fs::remove_all(aside_path(path_));  // what the caller clears away
    put("old");
    const std::string message = message_of_failure(n + 2, [&] { put("new"); });  // after the two writes
    if (message.empty()) break;
    EXPECT_EQ(read_file(path_ + "/a"), read_file(path_ + "/b")) << n;
    EXPECT_EQ(message.find("was written") != std::string::npos, read_file(path_ + "/a") == "new") << message;
  }
  EXPECT_EQ(n, 6);  // fsync of two files and their folder, the change of places, the name's fsync
  EXPECT_EQ(read_file(path_ + "/a"), "new");
  EXPECT_EQ(entries_of(folder_), 1);
}

TEST_F(AtomicFileTest, AFolderThatCannotBeReadTakesAFile) {
  constexpr uid_t kNobody = 65534;
  const bool root = ::geteuid() == 0;  // who may read everything: somebody else tries
  fs::permissions(folder_, fs::perms::owner_write | fs::perms::owner_exec);
  ASSERT_TRUE(!root || (::chown(folder_.c_str(), kNobody, kNobody) == 0 && ::seteuid(kNobody) == 0));
  EXPECT_NO_THROW(write_file_atomically(path_, "kept"));
  ASSERT_TRUE(!root || ::seteuid(0) == 0);
  fs::permissions(folder_, fs::perms::owner_all);
  EXPECT_EQ(read_file(path_), "kept");
}

TEST_F(AtomicFileTest, AFolderIsPublishedUnderANameThatEndsInASlash) {
  const std::string named = path_ + "/";
  for (const char* text : {"first", "second"}) {  // new, then in the place of another
    const std::string aside = aside_path(named);
    fs::create_directories(aside);
    write_file_atomically(aside + "/file", text);
    publish(aside, named);
    EXPECT_EQ(read_file(path_ + "/file"), text);
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
  }
}

TEST_F(AtomicFileTest, AFolderGoesWhole) {
  const std::string file = path_ + "/inner/file";
  write_file_atomically(file, "kept");
  fail_nth_write(1);
  EXPECT_THROW(remove_folder(path_), Error);
  EXPECT_EQ(read_file(file), "kept");
  remove_folder(path_ + "/");
  EXPECT_TRUE(fs::is_empty(folder_));
  EXPECT_THROW(remove_folder(path_), Error);
}

TEST_F(AtomicFileTest, HashesAsPublished) {
  write_file_atomically(path_, "abc");  // FIPS 180-2, appendix B.1
  EXPECT_EQ(sha256_of_file(path_), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace attar
