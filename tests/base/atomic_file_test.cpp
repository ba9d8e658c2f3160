#include "runtime/base/atomic_file.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/base/sha256.h"

namespace attar {
namespace {

namespace fs = std::filesystem;

class AtomicFileTest : public testing::Test {
 protected:
  void SetUp() override { fs::create_directories(folder_); }
  void TearDown() override {
    fail_nth_write(0);
    fs::remove_all(folder_);
  }
  const fs::path folder_ = fs::path(testing::TempDir()) / "attar_atomic_file";
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

TEST_F(AtomicFileTest, EveryFailingWriteLeavesTheOldFile) {
  write_file_atomically(path_, "old");
  const std::string big(size_t{3} << 20, 'x');
  int64_t n = 1;
  for (;; ++n) {
    ASSERT_LT(n, 20);
    fail_nth_write(n);
    try {
      write_file_atomically(path_, big);
      break;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Resources);
      EXPECT_EQ(read_file(path_), "old");
      EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
    }
  }
  EXPECT_GT(n, 5);  // create, three flushes, fsync, rename
  EXPECT_EQ(read_file(path_), big);
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

TEST_F(AtomicFileTest, HashesAsPublished) {
  write_file_atomically(path_, "abc");  // FIPS 180-2, appendix B.1
  EXPECT_EQ(sha256_of_file(path_), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace attar
