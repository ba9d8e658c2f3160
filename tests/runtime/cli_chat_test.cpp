// Chats of attar-run: answered, judged, and gone on with from a file.
#include <algorithm>

#include "runtime/model/model.h"
#include "runtime/text/conversation.h"
#include "runtime/text/session_file.h"
#include "tests/runtime/cli_fixture.h"

namespace attar {
namespace {

class CliChats : public Cli {
 protected:
  static GgufParts chat_model(uint64_t seed, const std::string& source) {
    GgufParts parts = model(seed);
    parts.value("tokenizer.chat_template") = GgufValue::string(source);
    return parts;
  }
};

// Every message a stretch behind <s>, the assistant's ended by </s>.
constexpr const char* kTurns =
    "{% for m in messages %}{{ bos_token + m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}";

TEST_F(CliChats, AUsersTextSpellsNoControlToken) {
  chat_model(1, kTurns).write(path("turns.gguf"));
  write_file_atomically(path("spelled.txt"), "a</s>b\n");
  write_file_atomically(
      path("spelled.jsonl"),
      R"({"messages": [{"role": "user", "content": "a</s>b"}, {"role": "assistant", "content": "c"}]})"
      "\n");
  const auto ids = [&](const std::string& flags) {
    return json("tokenize turns.gguf --json --data " + flags)["documents"][0]["tokens"].get<std::vector<int>>();
  };
  const auto count = [](const std::vector<int>& all, int id) { return std::count(all.begin(), all.end(), id); };
  EXPECT_EQ(count(ids("spelled.txt"), 2), 0);
  EXPECT_EQ(count(ids("spelled.txt --special"), 2), 1);
  EXPECT_EQ(count(ids("spelled.jsonl"), 2), 1) << "the template's own";
  EXPECT_EQ(count(ids("spelled.jsonl"), 1), 2);
  EXPECT_EQ(count(ids("spelled.jsonl --special"), 2), 2);
  const std::vector<int> asked = ids("spelled.txt --chat");
  EXPECT_EQ(count(asked, 1), 1) << "the template's, and no other in front";
  EXPECT_EQ(count(asked, 2), 0);
  EXPECT_EQ(json("score turns.gguf --json --data spelled.jsonl")["documents"][0]["tokens"].get<std::vector<int>>(),
            ids("spelled.jsonl"));
  const auto prompt_tokens = [&](const std::string& flags) {
    return json("generate turns.gguf --json -n 1 --system a -p 'a</s>b' " + flags)["prompt_tokens"].get<int>();
  };
  EXPECT_EQ(prompt_tokens(""), prompt_tokens("--special") + 2) << "spelled in three tokens, or meant as one";
  EXPECT_EQ(json("generate turns.gguf --json -n 1 -p 'a</s>b'")["prompt_tokens"].get<size_t>(),
            ids("spelled.txt").size());
  EXPECT_EQ(json("generate turns.gguf --json -n 1 -p 'a</s>b' --special")["prompt_tokens"].get<size_t>(),
            ids("spelled.txt --special").size());
}

TEST_F(CliChats, ChatsAreJudgedThroughTheTemplate) {
  chat_model(1, kTurns).write(path("turns.gguf"));
  chat_model(2, kTurns).write(path("student_turns.gguf"));
  write_file_atomically(
      path("turns.jsonl"),
      R"({"messages": [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "sat"}]})"
      "\n");
  const Json judged = json("verify turns.gguf student_turns.gguf --data turns.jsonl --no-bench --json");
  EXPECT_EQ(judged["results"]["scored_tokens"], 5) << "the start of the turn, s, a, t and its end";
  EXPECT_EQ(run("verify turns.gguf student_turns.gguf --data chat.jsonl --no-bench").code, 3)
      << "the assistant says nothing";
}

TEST_F(CliChats, AChatWithoutATemplateIsRefused) {
  chat_model(1, "").write(path("bare.gguf"));
  for (const char* arguments :
       {"chat bare.gguf", "generate bare.gguf -p a --system b", "score bare.gguf --data chat.jsonl"}) {
    const CliRun ran = run(arguments, "echo a | ");
    EXPECT_EQ(ran.code, 3) << arguments;
    EXPECT_NE(ran.err.find("--chat-template FILE"), std::string::npos) << ran.err;
  }
  EXPECT_EQ(run("chat bare.gguf --chat-template zephyr -n 2", "echo a | ").code, 0);
  EXPECT_EQ(run("chat bare.gguf --chat-template chatml -n 2", "echo a | ").code, 2) << "it has not the control tokens";
  write_file_atomically(path("own.jinja"), "{% for m in messages %}{{ m.content }} {% endfor %}");
  EXPECT_EQ(run("generate bare.gguf -p a --system b -n 2 --chat-template own.jinja").code, 0);
}

TEST_F(CliChats, ChatAnswersEveryLine) {
  const CliRun ran = run("chat teacher.gguf -n 5 --temperature 0", "printf 'the cat\\n\\na bat\\n' | ");
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_GE(std::count(ran.out.begin(), ran.out.end(), '\n'), 2);
}

// A chat in two processes is the chat in one.
TEST_F(CliChats, GoesOnWithAChat) {
  const auto chat = [](const std::string& lines, const std::string& how) {
    return run("chat teacher.gguf -n 6 --seed 4 " + how, "printf '" + lines + "' | ");
  };
  const CliRun whole = chat("the cat\\na bat\\nthe mat\\n", "--system abc"),
               first = chat("the cat\\n", "--session talk --system abc"),
               second = chat("a bat\\nthe mat\\n", "--session talk");
  ASSERT_EQ(whole.code + first.code + second.code, 0) << whole.err << first.err << second.err;
  EXPECT_EQ(first.out + second.out, whole.out);
  EXPECT_NE(second.err.find("goes on behind 3 messages"), std::string::npos) << second.err;
  EXPECT_EQ(Json::parse(chat("the\\n", "--session talk --json").out)["messages"].size(), 9u);
  EXPECT_EQ(chat("the\\n", "--session talk --system other").code, 2);
  const CliRun other = run("chat student.gguf --session talk", "printf 'the\\n' | ");
  EXPECT_EQ(other.code, 3);
  EXPECT_NE(other.err.find("of another model"), std::string::npos) << other.err;
  EXPECT_EQ(chat("the\\n", "--session /proc/nowhere/talk").code, 5);
  write_file_atomically(path("talk"), "no session");
  EXPECT_EQ(chat("the\\n", "--session talk").code, 3);
  EXPECT_EQ(read_file(path("talk")), "no session") << "a file that is none is left alone";
}

// A message that cannot be answered takes nothing of what was said before it along.
TEST_F(CliChats, KeepsAChatThatAnErrorEnds) {
  write_file_atomically(path("picky.jinja"),
                        "{% for m in messages %}{% if m.content == 'a bat' %}{{ raise_exception('no bats') }}"
                        "{% endif %}{{ m.content }} {% endfor %}");
  const auto chat = [](const std::string& lines, const std::string& how) {
    return run("chat teacher.gguf -n 6 --seed 4 --chat-template picky.jinja " + how, "printf '" + lines + "' | ");
  };
  const CliRun whole = chat("the cat\\nthe mat\\n", ""), raised = chat("the cat\\na bat\\nthe\\n", "--session ended");
  ASSERT_EQ(whole.code, 0) << whole.err;
  EXPECT_EQ(raised.code, 3);
  EXPECT_NE(raised.err.find("no bats"), std::string::npos) << raised.err;
  // Here the model has read the message before the answer fails.
  const CliRun stuck = chat("the hat\\n", "--session ended --grammar 'root ::= \"Z\"'");
  EXPECT_EQ(stuck.code, 3);
  EXPECT_NE(stuck.err.find("no token of the vocabulary"), std::string::npos) << stuck.err;
  const CliRun rest = chat("the mat\\n", "--session ended");
  EXPECT_EQ(rest.code, 0) << rest.err;
  EXPECT_NE(rest.err.find("goes on behind 2 messages"), std::string::npos) << rest.err;
  EXPECT_EQ(raised.out + rest.out, whole.out);
}

TEST_F(CliChats, RefusesASessionThatIsNoChat) {
  ThreadPool pool(1);
  const runtime::Model loaded = runtime::Model::load(ModelFile::open(path("teacher.gguf")), {}, pool);
  runtime::Conversation said(loaded);
  const auto message = [](const char* role) -> Json { return {{"role", role}, {"content", "the"}}; };
  const Json first = message("system"), user = message("user"), assistant = message("assistant");
  const auto code_of = [&](const char* system, const std::vector<Json>& seen, const Json& messages) {
    Json state;
    state["system"] = system;
    state["turn"] = 1;
    state["seen"] = Json::array();
    for (const Json& one : seen) state["seen"].push_back(one);
    state["messages"] = messages;
    runtime::save_session(path("forged"), loaded, said, state.dump(), pool);
    return run("chat teacher.gguf -n 2 --session forged", "printf 'the cat\\n' | ").code;
  };
  const Json none = Json::array();
  EXPECT_EQ(code_of("", {}, none), 0);
  EXPECT_EQ(code_of("", {user, assistant}, none), 0);
  EXPECT_EQ(code_of("the", {first, user, assistant}, none), 0);
  EXPECT_EQ(code_of("", {user}, none), 3);
  EXPECT_EQ(code_of("", {assistant, user}, none), 3);
  EXPECT_EQ(code_of("", {user, user}, none), 3);
  EXPECT_EQ(code_of("", {first, user, assistant}, none), 3);
  EXPECT_EQ(code_of("the", {}, none), 3);
  EXPECT_EQ(code_of("the", {user, assistant}, none), 3);
  EXPECT_EQ(code_of("the", {user, assistant, user}, none), 3);
  EXPECT_EQ(code_of("the", {first, user}, none), 3);
  EXPECT_EQ(code_of("", {user, assistant}, "no list"), 3);
}

}  // namespace
}  // namespace attar
