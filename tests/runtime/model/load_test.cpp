// A model and its file: nothing of the file is needed once the model is loaded, and a file that is changed before that
// is an Error.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "runtime/base/error.h"
#include "runtime/model/model.h"
#include "tests/formats/tiny_files.h"

namespace attar::runtime {
namespace {

class Load : public ::testing::Test {
 protected:
  // A file of two layers, its head tied or not.
  std::string written(bool tied) {
    ModelConfig config = tiny(Family::Llama);
    config.tied_embeddings = tied;
    const std::string path = folder_ / (tied ? "tied.gguf" : "untied.gguf");
    llama_gguf(config, random_weights(config, 5)).write(path);
    return path;
  }

  std::vector<float> logits_of(const Model& model) {
    Workspace work(model, pool_);
    KvCache cache(model);
    std::vector<Row> rows;
    for (const int32_t token : {1, 3, 0, 2}) rows.push_back({&cache, token, true});
    forward(model, rows, work);
    std::vector<float> out;
    for (int64_t i = 0; i < 4; ++i) out.insert(out.end(), work.logits(i).begin(), work.logits(i).end());
    return out;
  }

  TestFolder folder_{"load_test"};
  ThreadPool pool_{2};
};

bool process_maps(const std::string& path) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);)
    if (line.find(path) != std::string::npos) return true;
  return false;
}

TEST_F(Load, TheFileIsNotNeededAfterwards) {
  for (const bool tied : {true, false})
    for (const Numerics numerics : {Numerics::Fp32, Numerics::Deployed}) {
      const std::string path = written(tied);
      const Model expected = Model::load(ModelFile::open(path), {numerics}, pool_);
      const Model model = Model::load(ModelFile::open(path), {numerics}, pool_);
      EXPECT_FALSE(process_maps(path));
      ASSERT_EQ(::truncate(path.c_str(), 100), 0);
      EXPECT_EQ(logits_of(model), logits_of(expected));
      EXPECT_EQ(model.source(), path);
      EXPECT_GT(model.file_bytes(), 100u);
      EXPECT_FALSE(model.tokenizer().decode(std::vector<int32_t>{4, 5}).empty());
    }
}

TEST_F(Load, TheVocabularyIsTheFilesOwn) {
  const ModelFile file = ModelFile::open(written(true));
  const Model model = Model::load(file, {}, pool_);
  EXPECT_EQ(&model.tokenizer().data(), &file.tokenizer());
  EXPECT_EQ(file.shared_tokenizer().use_count(), 2);  // it is not copied, and holds nothing else of the file
}

TEST_F(Load, AFileThatIsChangedBeforeIsAnError) {
  for (const bool cut : {true, false}) {
    const std::string path = written(true);
    const ModelFile file = ModelFile::open(path);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // file times tick
    if (cut) {
      ASSERT_EQ(::truncate(path.c_str(), 4096), 0);
    } else {
      std::fstream(path, std::ios::in | std::ios::out).seekp(-8, std::ios::end) << "damaged!";
    }
    try {
      Model::load(file, {}, pool_);
      FAIL() << "no Error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Input);
      EXPECT_EQ(error.parts().where, path);
    }
    EXPECT_THROW(file.content_hash(), Error);
    EXPECT_THROW(file.values(tensor_specs(file.config()).front()), Error);
  }
}

}  // namespace
}  // namespace attar::runtime
