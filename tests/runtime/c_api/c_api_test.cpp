// libattar_runtime as other programs meet it: C programs that check what its header promises, and the examples, which
// are compiled here as a stranger would. On tiny models that the test writes.
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "runtime/base/atomic_file.h"
#include "runtime/base/input_file.h"
#include "tests/runtime/cli_fixture.h"

namespace attar {
namespace {

class CApi : public Cli {
 protected:
  static void SetUpTestSuite() {
    Cli::SetUpTestSuite();
    GgufParts parts = model(1);
    parts.value("llama.context_length") = GgufValue::u32(4096);
    parts.value("tokenizer.chat_template") = GgufValue::string(
        "{% for m in messages %}{{ m.content }} {% endfor %}{% if add_generation_prompt %}answer{% endif %}");
    parts.write(path("model.gguf"));
    GgufParts noted = llama_gguf(tiny(Family::Llama), random_weights(tiny(Family::Llama), 1));
    noted.erase("tokenizer.ggml.pre");
    noted.write(path("noted.gguf"));
    std::filesystem::create_directory(path("include"));
    std::filesystem::create_directory_symlink(ATTAR_SOURCE_DIR "/runtime", path("include/attar"));
  }

  // -> exit code; what it says goes to "out" and "err"
  static int shell(const std::string& command) {
    const int status = std::system(("cd " + path("") + " && " + command + " >out 2>err").c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
  }
  static std::string said() { return read_file(path("out")) + read_file(path("err")); }
  static void check(const std::string& program, const std::string& arguments) {
    EXPECT_EQ(shell(ATTAR_BIN_DIR "/c_api_" + program + " " + arguments), 0) << said();
  }
  static void compile(const std::string& command, const std::string& source, const std::string& program) {
    ASSERT_EQ(shell(command +
                    " -Wall -Wextra -Wpedantic -Werror -Iinclude -I" ATTAR_SOURCE_DIR " " ATTAR_SOURCE_DIR
                    "/tests/runtime/c_api/" +
                    source + " -o " + program +
                    " -L" ATTAR_BIN_DIR "/../lib -lattar_runtime -Wl,-rpath," ATTAR_BIN_DIR "/../lib"),
              0)
        << said();
  }
};

TEST_F(CApi, SingleCalls) {
  check("contract", "model.gguf noted.gguf");
}

TEST_F(CApi, ManyTextsAtOnce) {
  check("engines", "model.gguf");
}

TEST_F(CApi, SessionsShareAModel) {
  check("sessions", "model.gguf session");
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

TEST_F(CApi, MemoryThatRunsOutAndComesBack) {
  check("resources", "model.gguf");
}

TEST_F(CApi, TheWrapperForCxx) {
  compile("c++ -std=c++17", "wrapper.cpp", "wrapper");
  EXPECT_EQ(shell("./wrapper model.gguf"), 0) << said();
}

TEST_F(CApi, AChat) {
  compile("cc -std=c11", "examples/chat.c", "chat");
  EXPECT_EQ(shell("printf 'the cat\\na bat\\n' | ./chat model.gguf 'the mat'"), 0) << said();
  const std::string err = read_file(path("err"));
  EXPECT_EQ(std::count(err.begin(), err.end(), '\n'), 2) << err;
  EXPECT_NE(err.find("of the prompt's"), std::string::npos);
  EXPECT_EQ(err.find("were known\n", err.find(" 0 were known\n")), err.find(" 0 were known\n") + 3) << err;
  EXPECT_EQ(shell("./chat nowhere.gguf"), 1);
  EXPECT_NE(read_file(path("err")).find("chat: nowhere.gguf: does not exist"), std::string::npos) << said();
}

TEST_F(CApi, Embeddings) {
  compile("cc -std=c11", "examples/embed.c", "embed");
  EXPECT_EQ(shell("./embed model.gguf 'the cat' 'the cat' 'a bat'"), 0) << said();
  double same = 0.0, other = 0.0;
  ASSERT_EQ(std::sscanf(read_file(path("out")).c_str(), "%lf the cat %lf", &same, &other), 2) << said();
  EXPECT_NEAR(same, 1.0, 1e-5);
  EXPECT_LT(other, 0.999);
}

TEST_F(CApi, ABatch) {
  compile("cc -std=c11", "examples/batch.c", "batch");
  EXPECT_EQ(shell("printf 'the cat\\na bat\\nthe mat\\n' | ./batch model.gguf"), 0) << said();
  const std::string out = read_file(path("out"));
  EXPECT_EQ(out.rfind("the cat", 0), 0u) << out;
  EXPECT_NE(out.find("\na bat"), std::string::npos);
  const Json alone = json("generate model.gguf 'a bat' -n 24 --temperature 0 --json");
  EXPECT_NE(out.find("\na bat" + alone["text"].get<std::string>() + "\n"), std::string::npos) << out << alone;
}

TEST_F(CApi, AnEngine) {
  compile("cc -std=c11", "examples/engine.c", "engine");
  EXPECT_EQ(shell("./engine model.gguf 'the cat' 'a bat' 'the mat'"), 0) << said();
  std::istringstream lines(read_file(path("out")));
  std::string bat;
  int done = 0;
  for (std::string line; std::getline(lines, line);) {
    done += line.find(": is done, 24 tokens") != std::string::npos ? 1 : 0;
    if (line.rfind("a bat |", 0) == 0) bat += line.substr(7, line.size() - 8);
  }
  EXPECT_EQ(done, 3) << said();
  EXPECT_EQ(bat, json("generate model.gguf 'a bat' -n 24 --temperature 0 --json")["text"].get<std::string>());
}

#endif

}  // namespace
}  // namespace attar
