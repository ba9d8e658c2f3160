// attar-run as a user meets it: exit codes, streams, JSON. On a tiny model that the test writes.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <sstream>

#include "tests/runtime/cli_fixture.h"

namespace attar {
namespace {

TEST_F(Cli, BareProgramAndHelpShowExamples) {
  for (const char* arguments : {"", "--help", "generate --help", "verify --help", "bench --help"}) {
    const CliRun ran = run(arguments);
    EXPECT_EQ(ran.code, 0) << arguments;
    EXPECT_NE(ran.out.find("attar-run "), std::string::npos) << arguments;
    EXPECT_TRUE(ran.err.empty()) << ran.err;
  }
  EXPECT_EQ(run("--version").out.rfind("attar-run ", 0), 0u);
}

TEST_F(Cli, ExitCodesSayWhatWentWrong) {
  EXPECT_EQ(run("generate").code, 2);
  EXPECT_EQ(run("nonsense").code, 2);
  EXPECT_EQ(run("generate teacher.gguf -p x --no-such-flag").code, 2);
  EXPECT_EQ(run("generate teacher.gguf -p x -n many").code, 2);
  EXPECT_EQ(run("generate teacher.gguf -p x --top-p 2").code, 2);
  EXPECT_EQ(run("generate none.gguf -p x").code, 3);
  EXPECT_EQ(run("generate text.txt -p x").code, 3);
  EXPECT_EQ(run("score teacher.gguf --data none.txt").code, 3);
  EXPECT_EQ(run("verify teacher.gguf student.gguf --data text.txt --gate kll=1").code, 2);
  EXPECT_EQ(run("verify teacher.gguf student.gguf --data text.txt --gate kl=x").code, 2);
  EXPECT_EQ(run("verify teacher.gguf student.gguf --data text.txt --no-bench --gate decode_ratio=1").code, 2);
  EXPECT_EQ(run("verify teacher.gguf student.gguf --data text.txt --context 100000").code, 2);
  for (const char* arguments : {"generate none.gguf -p x", "nonsense", "score teacher.gguf --data none.txt"}) {
    const CliRun ran = run(arguments);
    EXPECT_TRUE(ran.out.empty());
    EXPECT_EQ(ran.err.rfind("error: ", 0), 0u) << ran.err;
  }
}

TEST_F(Cli, GenerateRepeatsWithItsSeed) {
  const std::string flags = "generate teacher.gguf -p 'the cat' -n 20 --temperature 1 ";
  EXPECT_EQ(run(flags + "--seed 3").out, run(flags + "--seed 3 --threads 1").out);
  EXPECT_NE(run(flags + "--seed 3").out, run(flags + "--seed 4").out);
  const Json got = json(flags + "--seed 3 --json");
  EXPECT_EQ(got["schema_version"], 1);
  EXPECT_EQ("the cat" + got["text"].get<std::string>() + "\n", run(flags + "--seed 3").out);
  EXPECT_FALSE(got["text"].get<std::string>().empty());
  EXPECT_LE(got["tokens"].size(), 20u);
  const CliRun long_prompt = run("generate teacher.gguf -p 'the cat' -n 4 --context 5");
  EXPECT_EQ(long_prompt.code, 2) << "the prompt does not fit";
  EXPECT_TRUE(long_prompt.out.empty()) << "and is not echoed before that is known";
  EXPECT_EQ(run("generate teacher.gguf -p 'the cat' --context 1000").code, 2) << "more than the model has";
  const Json full = json("generate teacher.gguf -p 'the cat' -n 200 --context 12 --seed 3 --json");
  EXPECT_EQ(full["stop_reason"], "context_full");
  EXPECT_EQ(full["tokens"].size() + full["prompt_tokens"].get<size_t>(), 12u);
  EXPECT_EQ(run("generate teacher.gguf -p 'the cat' -n 4 --system 'a'").code, 0);
}

TEST_F(Cli, TokenizeAndScoreWriteALineADocument) {
  const CliRun tokens = run("tokenize teacher.gguf --data text.txt"),
               scores = run("score teacher.gguf --data text.txt --jsonl");
  ASSERT_EQ(tokens.code, 0) << tokens.err;
  ASSERT_EQ(scores.code, 0) << scores.err;
  EXPECT_EQ(std::count(tokens.out.begin(), tokens.out.end(), '\n'), 2);
  const Json first = Json::parse(tokens.out.substr(0, tokens.out.find('\n')));
  const Json scored = Json::parse(scores.out.substr(0, scores.out.find('\n')));
  EXPECT_EQ(first, scored["tokens"]);
  EXPECT_EQ(scored["logprobs"].size(), first.size());
  EXPECT_TRUE(scored["logprobs"][0].is_null());
  for (size_t i = 1; i < first.size(); ++i) EXPECT_LT(scored["logprobs"][i].get<double>(), 0.0);
  EXPECT_EQ(run("tokenize teacher.gguf --data chat.jsonl").code, 0);
  const Json all = json("score teacher.gguf --data text.txt --json");
  EXPECT_EQ(all["schema_version"], 1);
  ASSERT_EQ(all["documents"].size(), 2u);
  EXPECT_EQ(all["documents"][0], scored);
  EXPECT_EQ(json("tokenize teacher.gguf --data text.txt --json")["documents"][0]["tokens"], first);
}

TEST_F(Cli, VerifyWritesTheDocumentedJson) {
  const Json got =
      json("verify teacher.gguf student.gguf --data text.txt --context 16 --json --gate top1=0 --gate kl=100");
  ASSERT_TRUE(got.is_object());
  EXPECT_EQ(got["schema_version"], 1);
  EXPECT_EQ(got["results"]["text_sha256"].get<std::string>().size(), 64u);
  EXPECT_GT(got["results"]["scored_tokens"], 10);
  for (const char* mode : {"fp32", "deployed"}) {
    const Json& f = got["results"][mode];
    for (const char* key : {"mean", "stderr", "p50", "p90", "p99", "max"}) EXPECT_TRUE(f["kl"][key].is_number()) << key;
    for (const char* key : {"perplexity", "bits_per_byte"})
      EXPECT_NEAR(f[key]["ratio"].get<double>(), f[key]["student"].get<double>() / f[key]["teacher"].get<double>(),
                  1e-12);
    EXPECT_TRUE(f["top1_agreement"].is_number() && f["top5_overlap"].is_number() && f["dropped_mass"].is_number());
  }
  for (const char* side : {"teacher", "student"})
    for (const char* key :
         {"bytes", "parameters", "bits_per_weight", "prefill_tokens_per_s", "decode_tokens_per_s",
          "time_to_first_token_s", "peak_rss_bytes", "prefill_iqr_tokens_per_s", "decode_iqr_tokens_per_s"})
      EXPECT_GT(got["measurements"][side][key].get<double>(), 0.0) << key;
  for (const char* side : {"teacher", "student"}) {
    const Json& m = got["measurements"][side];
    EXPECT_NEAR(m["bits_per_weight"].get<double>(), 8.0 * m["bytes"].get<double>() / m["parameters"].get<double>(),
                1e-9);
    EXPECT_GE(m["peak_rss_bytes"].get<double>(), m["bytes"].get<double>());
    EXPECT_GE(m["prefill_runs"].get<int>(), 6);  // two in each of three rounds, however busy the machine
    EXPECT_GE(m["decode_runs"].get<int>(), 6);
  }
  EXPECT_EQ(got["measurements"]["student"]["bytes"].get<uint64_t>(), std::filesystem::file_size(path("student.gguf")));
  ASSERT_EQ(got["gates"].size(), 2u);
  EXPECT_EQ(got["gates"][0]["name"], "kl");
  EXPECT_EQ(got["gates"][0]["pass"], true);
  EXPECT_EQ(got["gates"][0]["limit_is"], "at most");
  EXPECT_EQ(got["gates"][1]["limit_is"], "at least");
  const CliRun missed = run("verify teacher.gguf student.gguf --data text.txt --no-bench --gate kl=1e-9");
  EXPECT_EQ(missed.code, 4);
  EXPECT_NE(missed.out.find("MISSED"), std::string::npos);
  const CliRun again = run("verify teacher.gguf student.gguf --data text.txt --no-bench --json --threads 1");
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(again.out, run("verify teacher.gguf student.gguf --data text.txt --no-bench --json --threads 3").out);
}

TEST_F(Cli, KeepsAPromptInAFile) {
  const std::string how = "generate teacher.gguf -n 9 --seed 3 --json -p 'the cat sat on", longer = " the mat'";
  const auto text = [](const CliRun& got) { return got.code == 0 ? Json::parse(got.out)["tokens"] : Json(got.err); };
  const Json expected = text(run(how + longer));
  EXPECT_EQ(text(run(how + "' --prompt-cache read")), text(run(how + "'")));
  const std::string before = read_file(path("read"));
  EXPECT_EQ(text(run(how + longer + " --prompt-cache read")), expected);
  EXPECT_NE(read_file(path("read")), before);
  EXPECT_EQ(text(run(how + longer + " --prompt-cache read")), expected) << "all of it is there";
  EXPECT_EQ(run("generate student.gguf -p x --prompt-cache read").code, 3);
  EXPECT_EQ(run("generate teacher.gguf --prompts text.txt --prompt-cache read").code, 2);
}

TEST_F(Cli, GeneratesFromAFileOfPrompts) {
  write_file_atomically(path("prompts.txt"), "the cat\r\n\na bat\nthe cat sat on the mat\n");
  const std::string how = " -n 9 --seed 3 --lookup 2";
  const std::vector<std::string> prompts{"the cat", "a bat", "the cat sat on the mat"};
  std::string together;
  for (const std::string batch : {"", " --batch 1", " --batch 2", " --draft teacher.gguf", " --draft student.gguf"}) {
    const CliRun all = run("generate teacher.gguf --prompts prompts.txt --json" + how + batch);
    ASSERT_EQ(all.code, 0) << all.err;
    std::istringstream lines(all.out);
    for (size_t i = 0; i < prompts.size(); ++i) {
      std::string line;
      ASSERT_TRUE(std::getline(lines, line));
      const Json got = Json::parse(line), alone = json("generate teacher.gguf --json -p '" + prompts[i] + "'" + how);
      EXPECT_EQ(got["index"], i);
      for (const char* key : {"text", "tokens", "stop_reason", "prompt_tokens", "schema_version"})
        EXPECT_EQ(got[key], alone[key]) << key;
      if (batch == " --draft teacher.gguf") {
        EXPECT_GT(got["speculation"]["guessed"].get<int64_t>(), 0);
      }
    }
  }
  for (const std::string& prompt : prompts) {
    if (!together.empty()) together += "<|endoftext|>\n";
    together += run("generate teacher.gguf -p '" + prompt + "'" + how).out;
  }
  EXPECT_EQ(run("generate teacher.gguf --prompts prompts.txt" + how).out, together);
  EXPECT_EQ(run("generate teacher.gguf --prompts -" + how, "printf 'the cat\\na bat\\nthe cat sat on the mat' | ").out,
            together);
  const CliRun chat = run("generate teacher.gguf --prompts chat.jsonl --json -n 4");
  EXPECT_EQ(chat.code, 0) << chat.err;
  EXPECT_EQ(Json::parse(chat.out)["tokens"].size(), 4u);
  write_file_atomically(path("own.jsonl"),
                        "{\"messages\": [{\"role\": \"system\", \"content\": \"a bat\"}, "
                        "{\"role\": \"user\", \"content\": \"the cat\"}]}\n");
  const Json asked = json("generate teacher.gguf -p 'the cat' --json -n 4 --system 'a bat'");
  for (const char* chats : {"chat.jsonl --system 'a bat'", "own.jsonl", "own.jsonl --system 'the mat'"}) {
    const Json got = json("generate teacher.gguf --json -n 4 --prompts " + std::string(chats));
    EXPECT_EQ(got["prompt_tokens"], asked["prompt_tokens"]) << chats;
    EXPECT_EQ(got["tokens"], asked["tokens"]) << chats;
  }
  for (const auto& [arguments, words] :
       {std::pair{"generate teacher.gguf", "PROMPT is required"},
        {"generate teacher.gguf -p x --prompts prompts.txt", "--prompt excludes --prompts"},
        {"generate teacher.gguf -p x --batch 2", "--batch: is of --prompts"}}) {
    const CliRun refused = run(arguments);
    EXPECT_EQ(refused.code, 2) << arguments;
    EXPECT_NE(refused.err.find(words), std::string::npos) << refused.err;
  }
  const CliRun nowhere = run("generate teacher.gguf --prompts nowhere.txt"),
               longer = run("generate teacher.gguf --prompts prompts.txt --context 10");
  EXPECT_EQ(nowhere.code, 3);
  EXPECT_EQ(longer.code, 3);
  EXPECT_NE(longer.err.find("prompts.txt:4"), std::string::npos) << longer.err;
}

TEST_F(Cli, BenchWritesLlamaBenchRows) {
  const Json got = json("bench teacher.gguf -p 8,4 -n 3 -d 0,2 -t 1 -r 2 --json");
  ASSERT_EQ(got["rows"].size(), 6u);
  for (const Json& row : got["rows"]) {
    EXPECT_EQ(row["n_threads"], 1);
    EXPECT_EQ(row["samples_ts"].size(), 2u);
    EXPECT_GT(row["avg_ts"].get<double>(), 0.0);
    EXPECT_TRUE(row["stddev_ts"].is_number() && row["n_depth"].is_number());
    EXPECT_EQ(row["model_size"].get<uint64_t>(), std::filesystem::file_size(path("teacher.gguf")));
    EXPECT_EQ(row["model_type"], "llama F32");
    EXPECT_EQ(row["n_batch"], 512);
    EXPECT_EQ(row["test_time"].get<std::string>().size(), 20u);
    ASSERT_EQ(row["samples_ns"].size(), 2u);
    const int64_t a = row["samples_ns"][0], b = row["samples_ns"][1];
    EXPECT_NEAR(row["avg_ns"].get<double>(), 0.5 * static_cast<double>(a + b), 2.0);
    EXPECT_TRUE(row["stddev_ns"].is_number_integer());
  }
  const Json batches = json("bench teacher.gguf -p 0 -n 2 -r 1 --batch 1,3 --json")["rows"];
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_EQ(batches[1]["n_parallel"], 3);
  EXPECT_NEAR(batches[1]["samples_ts"][0].get<double>() * batches[1]["samples_ns"][0].get<double>(), 6e9, 1e7);
  const Json threads = json("bench teacher.gguf -p 8 -n 0 -t 1,2 -r 1 --json")["rows"];
  ASSERT_EQ(threads.size(), 2u);
  EXPECT_EQ(threads[1]["n_threads"], 2);
  std::filesystem::copy_file(path("teacher.gguf"), path("caf\xE9.gguf"));
  const Json named = json("bench caf\xE9.gguf -p 2 -n 0 -r 1 --json")["rows"][0];
  EXPECT_EQ(named["model_filename"], "caf\uFFFD.gguf") << "a name that is not UTF-8";
}

TEST_F(Cli, BenchShowsWhatAPassSpendsItsTimeOn) {
  const Json rows = json("bench teacher.gguf -p 40 -n 3 -t 1,2 -r 2 --profile --json")["rows"];
  ASSERT_EQ(rows.size(), 4u);
  for (const Json& row : rows) {
    const Json& profile = row["profile"];
    double share = 0.0, seconds = 0.0;
    for (const Json& operation : profile["operations"]) {
      share += operation["share"].get<double>(), seconds += operation["seconds"].get<double>();
      const bool reads = !operation["bytes"].is_null();
      EXPECT_EQ(reads, !operation["read_share"].is_null()) << operation;
    }
    EXPECT_NEAR(share, 1.0, 1e-6);
    EXPECT_NEAR(seconds, profile["seconds"].get<double>(), 1e-6 * seconds);
    EXPECT_EQ(profile["threads"].size(), row["n_threads"].get<size_t>());
    EXPECT_EQ(profile["rows"], row["n_prompt"].get<int64_t>() == 40 ? 40.0 : 1.0);
  }
  const CliRun table = run("bench teacher.gguf -p 40 -n 3 -t 2 -r 2 --profile");
  for (const char* part : {"pp40, 2 threads: ", " ms a pass of 40 rows, ", "tg3, 2 threads: ", "query_key_value",
                           "waiting", "thread 1 waits ", "read: "})
    EXPECT_NE(table.out.find(part), std::string::npos) << part << table.out;
}

TEST_F(Cli, InspectShowsTheModel) {
  const Json got = json("inspect teacher.gguf --json");
  EXPECT_EQ(got["family"], "llama");
  EXPECT_EQ(got["vocabulary"], 32);
  EXPECT_EQ(got["chat_template"], true);
  EXPECT_EQ(got["layers"].size(), 3u);
  const Json& f32 = got["types"]["F32"];  // some of its matrices have rows that fill no tile of 16
  EXPECT_GT(f32["resident_bytes"].get<int64_t>(), f32["bytes"].get<int64_t>());
  EXPECT_LT(f32["resident_bytes"].get<int64_t>(), f32["bytes"].get<int64_t>() * 5 / 4);
  EXPECT_NE(run("inspect teacher.gguf").out.find("SPM"), std::string::npos);
  EXPECT_EQ(run("inspect teacher.gguf").out.find("in memory"), std::string::npos);
  EXPECT_NE(run("inspect teacher.gguf --runtime").out.find("in memory"), std::string::npos);
}

TEST_F(Cli, ProgressGoesToStderrAndIsQuietWhenTold) {
  const std::string verify = "verify teacher.gguf student.gguf --data text.txt --no-bench --numerics fp32 ";
  EXPECT_NE(run(verify).err.find("verify fp32"), std::string::npos);
  EXPECT_EQ(run(verify).err.find('\033'), std::string::npos) << "no bar where there is no terminal";
  EXPECT_TRUE(run(verify + "--quiet").err.empty());
}

TEST_F(Cli, AFullDiskOrAClosedPipeIsNoSuccess) {
  for (const std::string arguments :
       {"tokenize teacher.gguf --data text.txt", "--help", "help verify", "--version", ""}) {
    const std::string command = "cd " + std::filesystem::path(path("out")).parent_path().string() +
                                " && " ATTAR_BIN_DIR "/attar-run " + arguments + " >/dev/full 2>err";
    const int status = std::system(command.c_str());
    EXPECT_EQ(WEXITSTATUS(status), 5) << arguments;
  }
}

TEST_F(Cli, CtrlCEndsWith130) {
  write_file_atomically(path("long.txt"), [] {
    std::string text;
    for (int i = 0; i < 400000; ++i) text += "the cat sat ";
    return text;
  }());
  const CliRun stopped = run("verify teacher.gguf student.gguf --data long.txt --no-bench", "timeout -s INT 0.5 ");
  EXPECT_EQ(stopped.code, 124) << "timeout's own code; attar-run ended within its patience";
  const CliRun preserved =
      run("verify teacher.gguf student.gguf --data long.txt --no-bench", "timeout --preserve-status -s INT 0.5 ");
  EXPECT_EQ(preserved.code, 130) << preserved.err;
}

// At most 2.5 MB stripped (the library, which needs no streams and so no locales, 1.95), and nothing but glibc beside
// it. Instrumented builds are larger, and linkers that cannot fold identical functions make it a little larger.
TEST_F(Cli, TheProgramIsLean) {
  static constexpr const char* kBeside[] = {"linux-vdso.", "libm.so.", "libc.so.", "ld-linux"};
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "an instrumented build";
#endif
  const std::string stripped = path("attar-run.stripped");
  ASSERT_EQ(std::system(("strip -o " + stripped + " " ATTAR_BIN_DIR "/attar-run").c_str()), 0);
  EXPECT_LE(std::filesystem::file_size(stripped), uint64_t{2500000});
  const std::string library = path("libattar_runtime.stripped");
  ASSERT_EQ(std::system(("strip -o " + library + " " ATTAR_BIN_DIR "/../lib/libattar_runtime.so").c_str()), 0);
  EXPECT_LE(std::filesystem::file_size(library), uint64_t{1950000}) << "does it use streams?";
  ASSERT_EQ(std::system(("ldd " ATTAR_BIN_DIR "/attar-run >" + path("libs")).c_str()), 0);
  std::istringstream lines(read_file(path("libs")));
  bool glibc = false;
  for (std::string name, rest; lines >> name && std::getline(lines, rest);) {
    name = name.substr(name.find_last_of('/') + 1);
    glibc = glibc || name.rfind("libc.so", 0) == 0;
    const bool known = std::any_of(std::begin(kBeside), std::end(kBeside),
                                   [&](const char* beginning) { return name.rfind(beginning, 0) == 0; });
    EXPECT_TRUE(known) << name << rest;
  }
  EXPECT_TRUE(glibc) << read_file(path("libs"));
  ASSERT_EQ(std::system(("nm -C " ATTAR_BIN_DIR "/attar-run >" + path("symbols")).c_str()), 0);
  EXPECT_EQ(read_file(path("symbols")).find("std::istream::_M_extract"), std::string::npos)
      << "a stream reads a number, and runtime/static_cxx.cpp leaves out what it is read by";
}

}  // namespace
}  // namespace attar
