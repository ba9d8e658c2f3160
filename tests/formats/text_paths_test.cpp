// What a text argument names.
#include "runtime/formats/text_paths.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "runtime/base/atomic_file.h"
#include "runtime/formats/text_file.h"
#include "tests/formats/tiny_files.h"

namespace attar {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

class TextPaths : public ::testing::Test {
 protected:
  TextPaths() {
    for (const char* name : {"b.txt", "a.jsonl", "sub/c.txt", "sub/deep/d.txt.gz", "readme.md", ".hidden.txt",
                             ".git/e.txt", "sub-2/f.txt", "empty/readme.md", "x[1].txt", "x1.txt"}) {
      fs::create_directories(fs::path(folder_ / name).parent_path());
      write_file_atomically(folder_ / name, "text\n");
    }
  }
  // Of an argument in the folder, without the folder's own name.
  Names of(const std::string& given) const {
    Names names = text_paths(folder_ / given);
    for (std::string& name : names) name = name.substr(folder_.path().size() + 1);
    return names;
  }
  TestFolder folder_{"text_paths_test"};
};

TEST_F(TextPaths, AFolderIsAllTextsInItAndBelowInOneOrder) {
  EXPECT_EQ(of("."), (Names{"./a.jsonl", "./b.txt", "./sub/c.txt", "./sub/deep/d.txt.gz", "./sub-2/f.txt", "./x1.txt",
                            "./x[1].txt"}));
  EXPECT_EQ(of("sub/"), (Names{"sub/c.txt", "sub/deep/d.txt.gz"}));
}

TEST_F(TextPaths, APatternIsWhatMatches) {
  EXPECT_EQ(of("*.txt"), (Names{"b.txt", "x1.txt", "x[1].txt"}));
  EXPECT_EQ(of("sub*/*.txt"), (Names{"sub-2/f.txt", "sub/c.txt"}));
  EXPECT_EQ(of("**/*.txt*"), (Names{"b.txt", "sub-2/f.txt", "sub/c.txt", "sub/deep/d.txt.gz", "x1.txt", "x[1].txt"}));
  EXPECT_EQ(of("su?"), (Names{"sub/c.txt", "sub/deep/d.txt.gz"})) << "a folder that matches";
  EXPECT_EQ(of("**"), of("**/*")) << "each once";
  EXPECT_EQ(of("x[1].txt"), Names{"x[1].txt"}) << "a file of that very name comes first";
  EXPECT_EQ(of("x[0-9].txt"), Names{"x1.txt"});
}

TEST_F(TextPaths, AFolderThatHoldsItselfEnds) {
  fs::create_directory_symlink("..", folder_ / "sub/up");
  fs::create_directory_symlink("sub-2", folder_ / "linked");
  EXPECT_EQ(of("sub-2"), Names{"sub-2/f.txt"});
  EXPECT_EQ(of("linked"), Names{"linked/f.txt"});
  EXPECT_EQ(of(".").size(), 7u + 1u) << "what is linked, once; sub/up is left out";
}

TEST_F(TextPaths, WhatCannotBeLookedAtIsNoFolder) {
  fs::create_symlink("loop", folder_ / "sub/loop");
  EXPECT_EQ(of("sub"), (Names{"sub/c.txt", "sub/deep/d.txt.gz"}));
  EXPECT_EQ(of("sub/**/*.txt"), Names{"sub/c.txt"});
  fs::create_directory(folder_ / "rings");
  fs::create_symlink("ring.txt", folder_ / "rings/ring.txt");
  const std::string ring = error_of([&] { read_all_documents({folder_ / "rings"}); });
  EXPECT_NE(ring.find("ring.txt: cannot be opened"), std::string::npos)
      << "a text that cannot be read is said: " << ring;
  const std::string letters(300, 'a');  // a text in place of its file
  EXPECT_NE(error_of([&] { of(letters); }).find("does not exist"), std::string::npos);
  EXPECT_NE(error_of([&] { of(letters + "/what?"); }).find("matches no text"), std::string::npos);
}

TEST_F(TextPaths, WhatIsNotThereIsSaidWithWhatWasLookedFor) {
  EXPECT_EQ(error_of([&] { of("empty"); }),
            folder_ / "empty: is a folder without texts (expected .txt or .jsonl files, also .gz, in it or below)");
  EXPECT_EQ(error_of([&] { of("*.text"); }),
            folder_ / "*.text: matches no text (expected a pattern of .txt or .jsonl files, also .gz)");
  const std::string near = error_of([&] { of("bb.txt"); });
  EXPECT_NE(near.find("does not exist"), std::string::npos) << near;
  EXPECT_NE(near.find("did you mean " + (folder_ / "b.txt") + "?"), std::string::npos) << near;
}

TEST_F(TextPaths, DocumentsOfSeveralArgumentsComeInTheirOrder) {
  write_file_atomically(folder_ / "sub/c.txt", "c\n");
  write_file_atomically(folder_ / "sub-2/f.txt", "f\n");
  const std::vector<Document> all = read_all_documents({folder_ / "sub-2", folder_ / "sub/*.txt", folder_ / "sub-2"});
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].text + all[1].text + all[2].text, "fcf");
}

}  // namespace
}  // namespace attar
