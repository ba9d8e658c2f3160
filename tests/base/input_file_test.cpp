// InputFile and LazyBytes: what is read is what was there when the file was opened, or an Error.
#include "runtime/base/input_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <thread>
#include <vector>

#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/lazy_bytes.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

class InputFileTest : public ::testing::Test {
 protected:
  InputFileTest() { std::ofstream(path_) << "0123456789"; }

  static void let_the_clock_tick() { std::this_thread::sleep_for(std::chrono::milliseconds(20)); }

  static std::string text_of(const InputFile& file) {
    std::string text(file.size_bytes(), '\0');
    file.read(0, std::as_writable_bytes(std::span(text)));
    return text;
  }
  static std::string complaint(const InputFile& file) {
    try {
      return "read: " + text_of(file);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Input);
      return error.what();
    }
  }

  const TestFolder own_{"input_file"};
  const std::string folder_ = own_.path(), path_ = own_ / "file";
};

TEST_F(InputFileTest, AStampIsOfOneFileAndWhatWasWrittenToIt) {
  const std::string before = InputFile(path_).stamp();
  EXPECT_EQ(InputFile(path_).stamp(), before);
  let_the_clock_tick();
  std::ofstream(path_) << "0123456789";
  const std::string written = InputFile(path_).stamp();
  EXPECT_NE(written, before);
  write_file_atomically(path_, "0123456789");
  EXPECT_NE(InputFile(path_).stamp(), written);
}

TEST_F(InputFileTest, ReadsAnyPart) {
  const InputFile file(path_);
  EXPECT_EQ(file.path(), path_);
  EXPECT_EQ(file.size_bytes(), 10u);
  EXPECT_EQ(text_of(file), "0123456789");
  char part[3];
  file.read(6, std::as_writable_bytes(std::span(part)));
  EXPECT_EQ(std::string(part, 3), "678");
  std::string whole;
  InputFile(path_).visit([&](std::span<const std::byte> bytes) {
    whole.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  });
  EXPECT_EQ(whole, "0123456789");
}

TEST_F(InputFileTest, ADescriptorIsDuplicatedAndKeepsItsPlace) {
  const int descriptor = ::open(path_.c_str(), O_RDONLY);
  ASSERT_EQ(::lseek(descriptor, 7, SEEK_SET), 7);
  const InputFile file = InputFile::of_descriptor(descriptor, "given");
  EXPECT_EQ(::lseek(descriptor, 0, SEEK_CUR), 7);
  ASSERT_EQ(::close(descriptor), 0);
  EXPECT_EQ(file.path(), "given");
  EXPECT_EQ(text_of(file), "0123456789");
  let_the_clock_tick();
  std::ofstream(path_) << "0123456780";
  EXPECT_NE(complaint(file).find("given: was changed"), std::string::npos) << complaint(file);
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  for (const int wrong : {-1, ends[0]}) EXPECT_THROW(InputFile::of_descriptor(wrong, "given"), Error);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_F(InputFileTest, BytesInMemory) {
  const std::string bytes = "0123456789";
  const InputFile file = InputFile::of_memory(std::as_bytes(std::span(bytes)), "memory");
  EXPECT_EQ(file.size_bytes(), 10u);
  EXPECT_EQ(text_of(file), bytes);
  std::vector<std::byte> part(3), buffer;
  file.read(4, part);
  EXPECT_EQ(part[0], std::byte{'4'});
  EXPECT_EQ(LazyBytes(file, 2, 3).read(buffer)[1], std::byte{'3'});
}

TEST_F(InputFileTest, VisitsLargeFilesInParts) {
  std::string text;
  for (int i = 0; i < 300000; ++i) text += std::to_string(i);
  write_file_atomically(path_, text);
  std::string whole;
  int parts = 0;
  InputFile(path_).visit([&](std::span<const std::byte> bytes) {
    whole.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    ++parts;
  });
  EXPECT_EQ(whole, text);
  EXPECT_GT(parts, 1);
}

TEST_F(InputFileTest, MissingFileIsAnInputError) {
  try {
    InputFile("/nonexistent/file");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Input);
    EXPECT_STREQ(error.what(), "/nonexistent/file: cannot be opened: No such file or directory");
  }
  EXPECT_THROW(InputFile(folder_.c_str()), Error);
}

TEST_F(InputFileTest, AFileThatIsCutIsAnError) {
  const InputFile file(path_);
  ASSERT_EQ(::truncate(path_.c_str(), 4), 0);
  EXPECT_NE(complaint(file).find("was changed while it was in use"), std::string::npos);
}

TEST_F(InputFileTest, AFileThatIsWrittenToIsAnError) {
  for (const bool times_set_back : {false, true}) {
    const InputFile file(path_);
    struct stat before {};
    ASSERT_EQ(::stat(path_.c_str(), &before), 0);
    let_the_clock_tick();
    {
      std::fstream other(path_, std::ios::in | std::ios::out);
      other << "9";  // same length
    }
    const struct timespec times[] = {before.st_atim, before.st_mtim};
    if (times_set_back) {
      ASSERT_EQ(::utimensat(AT_FDCWD, path_.c_str(), times, 0), 0);
    }
    EXPECT_NE(complaint(file).find("was changed while it was in use"), std::string::npos) << times_set_back;
  }
}

TEST_F(InputFileTest, AFileThatIsReplacedOrRemovedIsStillTheOneThatWasOpened) {
  const InputFile file(path_);
  let_the_clock_tick();
  write_file_atomically(path_, "something else");
  EXPECT_EQ(complaint(file), "read: 0123456789");
  const InputFile other(path_);
  ::unlink(path_.c_str());
  EXPECT_EQ(complaint(other), "read: something else");
}

TEST_F(InputFileTest, LazyBytesAreReadWhenTheyAreAskedFor) {
  std::vector<std::byte> buffer;
  const auto text = [&](const LazyBytes& bytes) {
    const auto read = bytes.read(buffer);
    return std::string(reinterpret_cast<const char*>(read.data()), read.size());
  };
  const InputFile file(path_);
  const LazyBytes part(file, 2, 6);
  EXPECT_EQ(part.size(), 6u);
  EXPECT_EQ(text(part), "234567");
  EXPECT_EQ(text(part.subspan(1, 3)), "345");
  const std::vector<std::byte> memory{std::byte{'a'}, std::byte{'b'}, std::byte{'c'}};
  const LazyBytes held(memory);
  EXPECT_EQ(text(held.subspan(1, 2)), "bc");
  EXPECT_EQ(held.read(buffer).data(), memory.data());
  let_the_clock_tick();
  std::ofstream(path_, std::ios::app) << "!";
  EXPECT_THROW(part.read(buffer), Error);
}

}  // namespace
}  // namespace attar
