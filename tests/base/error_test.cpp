// What other people's code throws, as Attar's own errors.
#include "runtime/base/error.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <new>
#include <system_error>

namespace attar {
namespace {

namespace fs = std::filesystem;

TEST(Errors, OtherPeoplesExceptionsHaveAKindAndOneLine) {
  const Error own = usage_error("--to", "is unknown");
  EXPECT_EQ(as_error(own).kind(), ErrorKind::Usage);
  EXPECT_STREQ(as_error(own).what(), own.what());
  EXPECT_EQ(as_error(std::bad_alloc()).kind(), ErrorKind::Resources);
  const std::system_error thread(std::make_error_code(std::errc::resource_unavailable_try_again));
  EXPECT_EQ(as_error(thread).kind(), ErrorKind::Resources);
  const Error other = as_error(std::runtime_error("one line\nand a backtrace"));
  EXPECT_EQ(other.kind(), ErrorKind::Failure);
  EXPECT_STREQ(other.what(), "one line");
}

TEST(Errors, WhatTheFileSystemRefusesIsSaidOfItsPath) {
  const std::string name(300, 'a');  // of a text that somebody took for a file
  try {
    static_cast<void>(fs::weakly_canonical(name + "/b"));
    FAIL() << "a name of 300 letters was taken";
  } catch (const std::exception& thrown) {
    const Error error = as_error(thrown);
    EXPECT_EQ(error.kind(), ErrorKind::Input);
    EXPECT_NE(std::string(error.what()).find(name), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("cannot be used: File name too long"), std::string::npos) << error.what();
    EXPECT_EQ(std::string(error.what()).find("filesystem error"), std::string::npos) << error.what();
  }
  const auto of = [](std::errc code) {
    return as_error(fs::filesystem_error("cannot do it", "a", std::make_error_code(code))).kind();
  };
  EXPECT_EQ(of(std::errc::permission_denied), ErrorKind::Input);
  EXPECT_EQ(of(std::errc::too_many_symbolic_link_levels), ErrorKind::Input);
  EXPECT_EQ(of(std::errc::no_space_on_device), ErrorKind::Resources);
  EXPECT_EQ(of(std::errc::too_many_files_open), ErrorKind::Resources);
}

}  // namespace
}  // namespace attar
