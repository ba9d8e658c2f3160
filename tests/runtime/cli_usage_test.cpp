// attar-run when something is wrong, missing, too long or stopped.
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <tuple>

#include "tests/runtime/cli_fixture.h"

namespace attar {
namespace {

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST_F(Cli, LogitsThatAreNotFiniteAreNoResult) {
  GgufParts parts = model(1);
  for (float& value : parts.tensor("output_norm.weight").values) value = 3e38f;  // finite, and too much for a sum
  parts.write(path("overflows.gguf"));
  for (const char* arguments :
       {"score overflows.gguf --data text.txt", "score overflows.gguf --data text.txt --numerics deployed",
        "verify teacher.gguf overflows.gguf --data text.txt --no-bench --quiet",
        "verify overflows.gguf teacher.gguf --data text.txt --no-bench --quiet --numerics deployed",
        "generate overflows.gguf -p 'the cat' -n 3",
        "generate overflows.gguf -p 'the cat' -n 3 --temperature 0 --json"}) {
    const CliRun ran = run(arguments);
    EXPECT_EQ(ran.code, 3) << arguments;
    EXPECT_TRUE(ran.out.empty()) << ran.out;
    EXPECT_NE(ran.err.find("overflows.gguf: the model's logits are not finite"), std::string::npos) << ran.err;
  }
}

TEST_F(Cli, AFlagTakesSeveralValuesAndLeavesTheArguments) {
  const std::string two = "--data text.txt chat.jsonl";
  for (const std::string& arguments :
       {"tokenize teacher.gguf " + two, "tokenize " + two + " teacher.gguf", two + " tokenize teacher.gguf"}) {
    const CliRun ran = run(arguments + " --json");
    if (arguments[0] == '-') {
      EXPECT_EQ(ran.code, 2) << "a flag of a verb stands behind it";
      continue;
    }
    ASSERT_EQ(ran.code, 0) << arguments << ran.err;
    EXPECT_EQ(Json::parse(ran.out)["documents"].size(), 3u) << arguments;
  }
  const std::string quick = " --no-bench --numerics deployed --quiet --json";
  for (const std::string arguments :
       {"verify teacher.gguf student.gguf --data text.txt text.txt --gate kl=100 top1=0",
        "verify --data text.txt text.txt --gate kl=100 top1=0 teacher.gguf student.gguf",
        "verify teacher.gguf --gate kl=100 top1=0 --data text.txt text.txt student.gguf",
        "verify --gate kl=100 top1=0 teacher.gguf --data text.txt text.txt student.gguf",
        "verify --no-bench --data=text.txt text.txt --gate kl=100 top1=0 -- teacher.gguf student.gguf"}) {
    const std::string flags = arguments.find(" -- ") == std::string::npos ? quick : "";
    const CliRun ran = run(flags.empty() ? "--json --quiet " + arguments : arguments + flags);
    ASSERT_EQ(ran.code, 0) << arguments << ran.err;
    EXPECT_EQ(Json::parse(ran.out)["gates"].size(), 2u) << arguments;
  }
  EXPECT_EQ(json("bench -p 8 4 -n 2 -r 1 teacher.gguf --json")["rows"].size(), 3u);
  EXPECT_EQ(json("bench teacher.gguf -n 0 -r 1 -p 8 4 --json")["rows"].size(), 2u);
  EXPECT_EQ(run("generate --stop zz yy teacher.gguf 'the cat' -n 3").code, 0);
  EXPECT_EQ(run("generate teacher.gguf 'the cat' --stop zz yy -n 3").code, 0);
  EXPECT_EQ(run("generate --stop zz teacher.gguf -p 'the cat' -n 3").code, 0);
  EXPECT_EQ(run("generate --stop yy --stop zz teacher.gguf -p 'the cat' -n 3").code, 0);
  EXPECT_EQ(run("bench -p 8 -n 2 -r 1 teacher.gguf").code, 0);
  EXPECT_EQ(run("verify --gate top1=0 --data text.txt teacher.gguf student.gguf --no-bench").code, 0);
  EXPECT_EQ(json("tokenize --data text.txt --data text.txt teacher.gguf --json")["documents"].size(), 4u);
}

TEST_F(Cli, ATextMayBeginWithADash) {
  for (const char* text : {"'- the cat'", "'-- the cat'", "'--- the cat'", "'-\nthe cat'", "'-5 the cat'"}) {
    const CliRun ran = run(std::string("generate teacher.gguf ") + text + " -n 3 --temperature 0");
    EXPECT_EQ(ran.code, 0) << text << ran.err;
    EXPECT_EQ(ran.out, run(std::string("generate teacher.gguf -n 3 --temperature 0 -p ") + text).out) << text;
  }
  EXPECT_EQ(run("generate teacher.gguf 'the cat' -n 3 --stop '- he' '- th'").code, 0) << "in a list too";
}

TEST_F(Cli, AWrongNumberIsRefusedInOneShortLine) {
  const std::pair<const char*, const char*> wrong[] = {
      {"generate teacher.gguf -p x -n abc", "expected a whole number of at least 1, got abc"},
      {"generate teacher.gguf -p x -n 0", "expected a whole number of at least 1, got 0"},
      {"generate teacher.gguf -p x -n 1.5", "got 1.5"},
      {"generate teacher.gguf -p x --context -1", "at least 0, got -1"},
      {"generate teacher.gguf -p x --top-k 9223372036854775808", "got 9223372036854775808"},
      {"generate teacher.gguf -p x --temperature warm", "expected a number, got warm"},
      {"generate teacher.gguf -p x --temperature nan", "expected a number, got nan"},
      {"generate teacher.gguf -p x --seed 99999999999999999999", "--seed: expected a whole number of at least 0"},
      {"generate teacher.gguf -p x --threads 8193", "from 0 to 8192, got 8193"},
      {"bench teacher.gguf -t 8193", "from 0 to 8192, got 8193"},
      {"bench teacher.gguf -t -1", "from 0 to 8192, got -1"},
      {"bench teacher.gguf -d -7", "at least 0, got -7"},
      {"bench teacher.gguf -p 8,-4", "at least 0, got -4"},
      {"bench teacher.gguf -r 0", "at least 1, got 0"},
      {"bench teacher.gguf -p 200 -n 1 -d 0,100", "-d and -p"},
      {"bench teacher.gguf -p 1 -n 300", "-d and -n"},
      {"bench teacher.gguf -p 0 -n 0 --profile", "--profile: has nothing to look at"},
      {"verify teacher.gguf student.gguf --data text.txt --max-tokens -3", "--max-tokens"},
      {"verify teacher.gguf student.gguf --data text.txt --gate kl=1 --gate kl=2", "kl is given twice"},
      {"verify teacher.gguf student.gguf --data text.txt --gate kl=nan", "expected a number, got nan"},
      {"verify teacher.gguf student.gguf --data text.txt --gate kl", "expected NAME=VALUE, got kl"},
      {"--json", "a verb is missing"},
  };
  for (const auto& [arguments, message] : wrong) {
    const CliRun ran = run(arguments);
    EXPECT_EQ(ran.code, 2) << arguments;
    EXPECT_TRUE(ran.out.empty()) << ran.out;
    EXPECT_NE(ran.err.find(message), std::string::npos) << arguments << "\n" << ran.err;
    EXPECT_LT(ran.err.substr(0, ran.err.find('\n')).size(), 160u) << ran.err;
  }
}

TEST_F(Cli, ANameThatIsNearlyRightIsSaid) {
  std::filesystem::create_directories(path("texts/empty"));
  const std::tuple<int, const char*, const char*> wrong[] = {
      {2, "generat teacher.gguf x",
       "error: attar-run: has no verb generat; did you mean generate?\nRun 'attar-run --help'"},
      {2, "quantize teacher.gguf", "has no verb quantize; it is one of the toolkit: attar quantize"},
      {2, "perplexity teacher.gguf", "has no verb perplexity\nRun 'attar-run --help'"},
      {2, "generate teacher.gguf x --temprature 0",
       "error: attar-run generate: has no flag --temprature; did you mean --temperature?\nRun 'attar-run generate "
       "--help'"},
      {2, "generate teacher.gguf x --max-new-tokens 3", "did you mean --max-tokens?"},
      {2, "generate teacher.gguf x --max_tokens 3", "did you mean --max-tokens?"},
      {2, "generate teacher.gguf -prompt x", "has no flag -prompt; did you mean --prompt?"},
      {2, "score teacher.gguf --data --json",
       "error: attar-run score: --data is given no value; a text like that is written --data=--json\nRun "
       "'attar-run score --help'"},
      {2, "score teacher.gguf --data",
       "error: attar-run score: --data is given no value\nRun 'attar-run score --help'"},
      {2, "generate teacher.gguf -p -n 3", "error: attar-run generate: -p is given no value; "},
      {2, "generate teacher.gguf x -n 3 --max-tokens 4",
       "error: attar-run generate: --max-tokens is given twice\nRun 'attar-run generate --help'"},
      {2, "generate teacher.gguf", "error: PROMPT is required\nRun 'attar-run generate --help'"},
      {2, "verify teacher.gguf --data text.txt", "error: STUDENT is required\nRun 'attar-run verify --help'"},
      {2, "help generat", "did you mean generate?"},
      {2, "bench teacher.gguf --fp32", "--fp32: is called --numerics fp32 now\nRun 'attar-run bench --help'"},
      {3, "generate teachr.gguf x", "teachr.gguf: does not exist"},
      {3, "generate '' x", "error: the model: has no name\n"},
      {3, "generate teachr.gguf x", "did you mean teacher.gguf?"},
      {3, "generate HuggingFaceTB/SmolLM2-135M x", "as hf:HuggingFaceTB/SmolLM2-135M\n"},
      {3, "generate caf\u00e9.gguf x", "caf\u00e9.gguf: does not exist"},
      {3, "score teacher.gguf --data txt.txt", "did you mean text.txt?"},
      {3, "score teacher.gguf --data texts/empty", "texts/empty: is a folder without texts (expected .txt or .jsonl"},
      {3, "score teacher.gguf --data 'no*.txt'", "no*.txt: matches no text"},
      {3, "score teacher.gguf --data - </dev/null", "standard input: holds no text"},
      {3, "score teacher.gguf --data - <texts", "standard input: cannot be read: Is a directory"},
      {3, "generate teacher.gguf - <texts", "standard input: cannot be read: Is a directory"},
  };
  for (const auto& [code, arguments, message] : wrong) {
    const CliRun ran = run(arguments);
    EXPECT_EQ(ran.code, code) << arguments << "\n" << ran.err;
    EXPECT_TRUE(ran.out.empty()) << ran.out;
    EXPECT_NE(ran.err.find(message), std::string::npos) << arguments << "\n" << ran.err;
  }
}

TEST_F(Cli, HelpOfAVerb) {
  EXPECT_EQ(run("help").out, run("--help").out);
  for (const char* verb : {"generate", "verify"}) {
    const CliRun ran = run(std::string("help ") + verb);
    EXPECT_EQ(ran.code, 0);
    EXPECT_EQ(ran.out, run(std::string(verb) + " --help").out);
  }
  const std::string verify = run("verify --help").out;
  EXPECT_NE(verify.find("--bench,--no-bench (on)"), std::string::npos) << "the default is said, not the negation";
  EXPECT_EQ(verify.find("{false}"), std::string::npos);
  EXPECT_NE(verify.find("attar-run verify"), std::string::npos);
  EXPECT_EQ(verify.find("PROGRAM"), std::string::npos);
}

TEST_F(Cli, TextsComeFromFoldersPatternsAndStandardInput) {
  std::filesystem::create_directories(path("folder/below"));
  write_file_atomically(path("folder/a.txt"), "the cat\n");
  write_file_atomically(path("folder/below/b.jsonl"), "{\"text\": \"a bat\"}\n");
  const Json a = json("tokenize teacher.gguf --json --data folder/a.txt")["documents"][0],
             b = json("tokenize teacher.gguf --json --data folder/below/b.jsonl")["documents"][0];
  EXPECT_EQ(json("tokenize teacher.gguf --json --data folder")["documents"], Json::array({a, b}));
  EXPECT_EQ(json("tokenize teacher.gguf --json --data 'folder/**/*.jsonl' folder/a.txt")["documents"],
            Json::array({b, a}));
  EXPECT_EQ(json("tokenize teacher.gguf --json --data - <folder/a.txt")["documents"], Json::array({a}));
  EXPECT_EQ(json("tokenize teacher.gguf --json --data - <folder/below/b.jsonl")["documents"], Json::array({b}));
  EXPECT_EQ(run("generate teacher.gguf - -n 4 --temperature 0 <folder/a.txt").out,
            run("generate teacher.gguf 'the cat' -n 4 --temperature 0").out);
  EXPECT_EQ(run("generate teacher.gguf -p - -n 4 --temperature 0 <folder/a.txt").out,
            run("generate teacher.gguf -p 'the cat' -n 4 --temperature 0").out);
  const Json judged = json("verify teacher.gguf student.gguf --data folder --no-bench --quiet --json");
  write_file_atomically(path("folder/below/b.jsonl"), "{\"text\": \"a hat\"}\n");
  EXPECT_NE(json("verify teacher.gguf student.gguf --data folder --no-bench --quiet --json")["results"]["text_sha256"],
            judged["results"]["text_sha256"])
      << "the hash is of every file";
}

TEST_F(Cli, HalfOfStandardInputIsNoText) {
  for (const char* arguments : {"tokenize teacher.gguf --data -", "generate teacher.gguf -"}) {
    const CliRun ran = run(arguments, "(printf 'the cat'; exec sleep 2) | timeout --preserve-status -s INT 0.5 ");
    EXPECT_EQ(ran.code, 130) << arguments << ran.err;
    EXPECT_TRUE(ran.out.empty()) << arguments << ran.out;
    EXPECT_NE(ran.err.find("standard input: was not read to its end"), std::string::npos) << ran.err;
  }
}

TEST_F(Cli, ScoreIsATableForPeople) {
  const CliRun ran = run("score teacher.gguf --data text.txt --quiet");
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out.rfind("text.txt:1: ", 0), 0u) << ran.out;
  for (const char* part : {"perplexity", "log p", "\"th\"", "text.txt:3: "})
    EXPECT_NE(ran.out.find(part), std::string::npos) << part << ran.out;
  const Json scored = json("score teacher.gguf --data text.txt --json")["documents"][0];
  char row[64];
  std::snprintf(row, sizeof row, "%8d %10.4f  ", scored["tokens"][1].get<int>(), scored["logprobs"][1].get<double>());
  EXPECT_NE(ran.out.find(row), std::string::npos) << row << "\n" << ran.out;
}

TEST_F(Cli, ChatObeysItsCommands) {
  write_file_atomically(path("talk"), "/help\n/sytem x\n/system be brief\nthe cat\n/exit\nthe bat\n");
  const CliRun ran = run("chat teacher.gguf -n 4 --temperature 0 --json <talk");
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(count(ran.err, "/exit or Ctrl-D ends"), 2u) << ran.err;
  EXPECT_NE(ran.err.find("/sytem is no command (did you mean /system?)"), std::string::npos) << ran.err;
  const Json messages = Json::parse(ran.out)["messages"];
  ASSERT_EQ(messages.size(), 3u) << "nothing behind /exit, and no command, is a message";
  EXPECT_EQ(messages[0]["content"], "be brief");
  EXPECT_EQ(messages[1]["content"], "the cat");
}

TEST_F(Cli, ChatReadsFilesFromWindows) {
  write_file_atomically(path("talk"), "\xEF\xBB\xBFthe cat\r\n/system be brief\r\n\r\nthe bat\r\n/exit\r\nthe hat\r\n");
  const CliRun ran = run("chat teacher.gguf -n 4 --temperature 0 --json <talk");
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.err.find("is no command"), std::string::npos) << ran.err;
  const Json messages = Json::parse(ran.out)["messages"];
  ASSERT_EQ(messages.size(), 3u) << "an empty line is no message, and nothing comes behind /exit";
  EXPECT_EQ(messages[0]["content"], "be brief");
  EXPECT_EQ(messages[1]["content"], "the bat");
}

TEST_F(Cli, EveryHelpShowsTheOptionsOfAll) {
  for (const char* verb : {"generate", "chat", "bench", "verify", "score", "embed", "tokenize", "inspect"})
    for (const char* flag : {"--threads", "--seed", "--json", "--quiet"})
      EXPECT_NE(run(std::string(verb) + " --help").out.find(flag), std::string::npos) << verb << " " << flag;
}

TEST_F(Cli, EmbedsEveryDocument) {
  const Json both = json("embed teacher.gguf --data text.txt --json"),
             last = json("embed teacher.gguf --data text.txt --pooling last --own-length --json");
  ASSERT_EQ(both["documents"].size(), 2u);
  const auto squares_of = [](const Json& document) {
    double squares = 0.0;
    for (const double value : document["embedding"].get<std::vector<double>>()) squares += value * value;
    return squares;
  };
  for (const Json& document : both["documents"]) {
    EXPECT_EQ(document["embedding"].size(), 16u);
    EXPECT_NEAR(squares_of(document), 1.0, 1e-6);
  }
  EXPECT_GT(std::abs(squares_of(last["documents"][0]) - 1.0), 1e-3);
  const CliRun lines = run("embed teacher.gguf --data text.txt");
  EXPECT_EQ(lines.out,
            both["documents"][0]["embedding"].dump() + "\n" + both["documents"][1]["embedding"].dump() + "\n");
  EXPECT_EQ(run("embed teacher.gguf --data text.txt --pooling max").code, 2);
}

TEST_F(Cli, ATooLongDocumentIsRefusedBeforeTheFirstLine) {
  std::string text = "the cat\n<|endoftext|>\n";
  for (int i = 0; i < 300; ++i) text += "cat ";
  write_file_atomically(path("second_is_long.txt"), text);
  const CliRun ran = run("score teacher.gguf --data second_is_long.txt");
  EXPECT_EQ(ran.code, 3);
  EXPECT_TRUE(ran.out.empty());
  EXPECT_NE(ran.err.find("second_is_long.txt:3: document 2 is longer"), std::string::npos) << ran.err;
}

TEST_F(Cli, ChatGoesOnWhenTheContextIsFullOrALineIsBad) {
  std::string script;
  for (int i = 0; i < 12; ++i) script += "the cat sat on the mat\n";
  script += "\xff\xfe\n";
  for (int i = 0; i < 80; ++i) script += "cat ";
  script += "\nthe end\n";
  write_file_atomically(path("talk"), script);
  const CliRun ran = run("chat teacher.gguf -n 20 --context 80 --temperature 0 --json <talk");
  ASSERT_EQ(ran.code, 0) << ran.err;
  const Json got = Json::parse(ran.out, nullptr, false);
  ASSERT_TRUE(got.is_object()) << "nothing but one document\n" << ran.out;
  EXPECT_EQ(got["schema_version"], 1);
  ASSERT_EQ(got["messages"].size(), 26u) << "thirteen questions and answers";
  EXPECT_EQ(got["messages"][24]["content"], "the end");
  for (size_t i = 1; i < 26; i += 2) {
    EXPECT_EQ(got["messages"][i]["role"], "assistant");
    EXPECT_LE(got["messages"][i]["tokens"], 20);
    EXPECT_TRUE(got["messages"][i]["stop_reason"].is_string());
  }
  EXPECT_NE(ran.err.find("messages are forgotten"), std::string::npos) << ran.err;
  EXPECT_EQ(count(ran.err, "error: "), 2u) << ran.err;
  EXPECT_NE(ran.err.find("not UTF-8 at byte 1"), std::string::npos) << ran.err;
  EXPECT_NE(ran.err.find("of a context of 80"), std::string::npos) << ran.err;
  const CliRun spoken = run("chat teacher.gguf -n 20 --context 80 --temperature 0 --quiet <talk");
  EXPECT_EQ(spoken.code, 0);
  EXPECT_EQ(count(spoken.err, "\n"), 2u) << "the two refusals\n" << spoken.err;
}

// A matrix of a type that no integer kernel reads.
TEST_F(Cli, FallbacksAreSaid) {
  const GgufParts parts = model(1);
  std::vector<GgufTensor> views;
  const std::vector<std::byte> zeros(16 * 36);
  for (const GgufParts::Tensor& t : parts.tensors)
    if (t.name == "blk.0.attn_output.weight")
      views.push_back({t.name, TensorType::Q8_1, t.shape, zeros});
    else
      views.push_back({t.name, TensorType::F32, t.shape, std::as_bytes(std::span(t.values))});
  write_gguf(path("slow.gguf"), parts.entries, views);
  const std::string note = "Q8_1 weights run on their decoded f32 values";
  for (const std::string arguments :
       {"generate slow.gguf -p 'the cat' -n 2", "chat slow.gguf -n 2 </dev/null", "bench slow.gguf -p 4 -n 1 -r 1",
        "score slow.gguf --data text.txt --numerics deployed",
        "verify teacher.gguf slow.gguf --data text.txt --no-bench"}) {
    EXPECT_EQ(count(run(arguments).err, note), 1u) << arguments;
    EXPECT_EQ(count(run(arguments + " --quiet").err, note), 0u) << arguments;
  }
  EXPECT_EQ(json("bench slow.gguf -p 4 -n 1 -r 1 --json")["notes"].size(), 1u);
  const Json verified = json("verify teacher.gguf slow.gguf --data text.txt --no-bench --json");
  ASSERT_EQ(verified["notes"].size(), 1u);
  EXPECT_EQ(verified["notes"][0].get<std::string>().rfind("student: " + note, 0), 0u);
  EXPECT_TRUE(json("bench teacher.gguf -p 4 -n 1 -r 1 --json")["notes"].empty());
}

// A process that has ended but is not yet collected by the one that it fell to is gone.
bool is_running(const std::string& pid) {
  std::ifstream stat("/proc/" + pid + "/stat");
  std::string text((std::istreambuf_iterator<char>(stat)), {});
  const size_t name_end = text.rfind(')');
  return name_end != std::string::npos && name_end + 2 < text.size() && text[name_end + 2] != 'Z';
}

// A copy of the program beside a stand-in for attar-run that presses Ctrl-C once it has begun and then measures for
// ever. The signal reaches both, or the program alone.
TEST_F(Cli, CtrlCEndsAMeasurementAndItsChild) {
  namespace fs = std::filesystem;
  fs::create_directories(path("bin"));
  fs::copy_file(ATTAR_BIN_DIR "/attar-run", path("bin/attar"), fs::copy_options::overwrite_existing);
  for (const std::string whom : {"0", "$PPID"}) {
    write_file_atomically(path("bin/attar-run"), "#!/bin/sh\necho $$ >child\nkill -INT " + whom + "\nexec sleep 600\n");
    fs::permissions(path("bin/attar-run"), fs::perms::owner_all);
    const std::string command = "cd " + fs::path(path("x")).parent_path().string() +
                                " && setsid --wait bin/attar verify teacher.gguf student.gguf --data text.txt "
                                "--numerics fp32 >out 2>err";
    const int status = std::system(command.c_str());
    EXPECT_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 130) << whom << read_file(path("err"));
    ASSERT_TRUE(fs::exists(path("child"))) << "the measurement had begun";
    const std::string child = std::to_string(std::stoi(read_file(path("child"))));
    for (int tenths = 0; tenths < 600 && is_running(child); ++tenths)
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_FALSE(is_running(child)) << "the child is gone";
    fs::remove(path("child"));
  }
}

TEST_F(Cli, TooManyThreadsAreAnError) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "AddressSanitizer needs the address space";
#endif
  const CliRun ran = run("generate teacher.gguf -p x -n 1 --threads 1000", "ulimit -v 1000000; ");
  EXPECT_EQ(ran.code, 5) << ran.err;
  EXPECT_NE(ran.err.find("--threads"), std::string::npos) << ran.err;
}

TEST_F(Cli, AClosedOutputIsNamed) {
  const std::string command = "cd " + std::filesystem::path(path("x")).parent_path().string() +
                              " && " ATTAR_BIN_DIR "/attar-run inspect teacher.gguf >&- 2>err";
  const int status = std::system(command.c_str());
  EXPECT_EQ(WEXITSTATUS(status), 5);
  EXPECT_NE(read_file(path("err")).find("standard output: is closed"), std::string::npos) << read_file(path("err"));
}

}  // namespace
}  // namespace attar
