// Runs attar-run on tiny models that the fixture writes.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "runtime/base/atomic_file.h"
#include "runtime/base/input_file.h"
#include "runtime/formats/tokenizer/files/gguf_tokenizer.h"
#include "tests/formats/tiny_files.h"
#include "tests/runtime/spoken_model.h"

namespace attar {

using Json = nlohmann::json;

struct CliRun {
  int code = -1;
  std::string out, err;
};

class Cli : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TestFolder("cli_test");
    model(1).write(path("teacher.gguf"));
    model(2).write(path("student.gguf"));
    write_file_atomically(path("text.txt"), "the cat sat on the mat\n<|endoftext|>\na bat\n");
    write_file_atomically(path("chat.jsonl"), "{\"messages\": [{\"role\": \"user\", \"content\": \"the cat\"}]}\n");
  }
  static void TearDownTestSuite() { delete folder_; }

  static std::string path(const std::string& name) { return *folder_ / name; }

  // 32 tokens: three special ones, the space, "th", 24 letters, a byte, two words.
  static GgufParts model(uint64_t seed) {
    std::vector<std::string> texts{"\u2581", "th", "he", "<0x41>"};
    for (char c = 'a'; c <= 'y'; ++c) texts.emplace_back(1, c);
    TokenizerData tokenizer = runtime::spoken_tokenizer(texts);
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }} {% endfor %}";
    ModelConfig config = tiny(Family::Llama);
    config.vocab_size = static_cast<int64_t>(tokenizer.tokens.size());
    config.context_length = 256;
    GgufParts parts = llama_gguf(config, random_weights(config, seed));
    std::erase_if(parts.entries, [](const GgufEntry& e) { return e.key.rfind("tokenizer.", 0) == 0; });
    for (GgufEntry& entry : gguf_tokenizer_entries(tokenizer)) parts.entries.push_back(std::move(entry));
    return parts;
  }

  static CliRun run(const std::string& arguments, const std::string& prefix = "") {
    const std::string command =
        prefix + ATTAR_BIN_DIR "/attar-run " + arguments + " >" + path("out") + " 2>" + path("err");
    const int status = std::system(("cd " + folder_->path() + " && " + command).c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status), read_file(path("out")),
            read_file(path("err"))};
  }
  static Json json(const std::string& arguments) {
    const CliRun ran = run(arguments);
    EXPECT_EQ(ran.code, 0) << arguments << "\n" << ran.err;
    return Json::parse(ran.out, nullptr, false);
  }

 private:
  static inline TestFolder* folder_ = nullptr;
};

}  // namespace attar
