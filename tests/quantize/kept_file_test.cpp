#include "compress/kept/kept_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "compress/precision.h"
#include "runtime/base/input_file.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

const std::vector<std::byte> kBytes{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{250}};

KeptFile file() {
  return {.kind = "codes",
          .identity = {{"model", std::string(64, 'a')}, {"target_size", "60MB"}},
          .json = "{\"blk.0\":[0.125,0.25]}",
          .tensors = {{"blk.1", TensorType::I8, {4}, kBytes}, {"blk.0", TensorType::I8, {2, 2}, kBytes}}};
}

void write(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// What read_kept says of a file with these bytes; "" where it takes it.
std::string refusal(const std::string& path, const std::string& bytes) {
  write(path, bytes);
  try {
    read_kept(path, "codes");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Input);
    return error.what();
  }
  return {};
}

TEST(KeptFile, GivesBackWhatItWasGiven) {
  const TestFolder folder("kept");
  write_kept(folder / "a.safetensors", file());
  const KeptFile read = read_kept(folder / "a.safetensors", "codes");
  EXPECT_EQ(read.identity, file().identity);
  EXPECT_EQ(read.json, file().json);
  ASSERT_EQ(read.tensors.size(), 2u);
  EXPECT_EQ(read.tensors[0].name, "blk.0");
  EXPECT_EQ(read.tensors[0].shape, (std::vector<int64_t>{2, 2}));
  std::vector<std::byte> buffer;
  const auto bytes = read.tensors[1].bytes.read(buffer);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), kBytes.begin(), kBytes.end()));
  EXPECT_THROW(read_kept(folder / "a.safetensors", "sensitivity"), Error);
}

// A bit of each byte but the blanks behind the header, and every length.
TEST(KeptFile, EveryByteCounts) {
  const TestFolder folder("kept");
  write_kept(folder / "a.safetensors", file());
  const std::string whole = read_file(folder / "a.safetensors"), path = folder / "b.safetensors";
  ASSERT_EQ(refusal(path, whole), "");
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string changed = whole;
    changed[i] = static_cast<char>(changed[i] ^ (1 << i % 8));
    EXPECT_TRUE(whole[i] == ' ' || !refusal(path, changed).empty()) << "byte " << i;
    EXPECT_NE(refusal(path, whole.substr(0, i)), "") << i;
  }
}

TEST(KeptFile, AnotherVersionIsSaid) {
  const TestFolder folder("kept");
  write_kept(folder / "a.safetensors", file());
  std::string bytes = read_file(folder / "a.safetensors");
  const std::string key = "\"version\":\"";
  bytes[bytes.find(key) + key.size()] = '9';
  const std::string said = refusal(folder / "b.safetensors", bytes);
  EXPECT_NE(said.find("another version of Attar"), std::string::npos) << said;
  EXPECT_NE(said.find("delete it"), std::string::npos) << said;
}

// A processor that multiplies bf16 gives other bits than one that does not, though their f32 products be alike.
TEST(KeptFile, OfAProgramIsWhatItMultiplies) {
  const std::string products = find_precision("auto") == Precision::Bf16 ? "bf16" : "fp32";
  const Identity identity = program_identity();
  EXPECT_EQ(std::count(identity.begin(), identity.end(), std::pair<std::string, std::string>("products", products)), 1);
}

TEST(KeptFile, DifferencesAreNamed) {
  const Identity a = file().identity;
  Identity b = a;
  EXPECT_EQ(differences(a, b), "");
  EXPECT_EQ(identity_hash(a), identity_hash(b));
  b[0].second[7] = 'b', b[1].second = "50MB", b.emplace_back("text", "x");
  EXPECT_EQ(differences(a, b), "model, target_size (60MB, not 50MB), text");
  EXPECT_EQ(differences(b, a), "model, target_size (50MB, not 60MB), text");
  EXPECT_NE(identity_hash(a), identity_hash(b));
}

}  // namespace
}  // namespace attar
