#include "runtime/formats/text_file.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include "runtime/base/atomic_file.h"
#include "tests/formats/tiny_files.h"

namespace attar {
namespace {

std::string gzipped(const std::string& text) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(text.size() + 200, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

class TextFile : public ::testing::Test {
 protected:
  std::vector<Document> read(const std::string& name, const std::string& bytes, size_t limit_bytes = size_t{1} << 20) {
    write_file_atomically(folder_ / name, bytes);
    return read_documents(folder_ / name, limit_bytes);
  }
  std::string failure(const std::string& name, const std::string& bytes, size_t limit_bytes = size_t{1} << 20) {
    return error_of([&] { read(name, bytes, limit_bytes); });
  }
  TestFolder folder_{"text_file_test"};
};

TEST_F(TextFile, SplitsDocumentsAtTheSeparator) {
  const auto documents = read("a.txt", "one\n\ntwo\n<|endoftext|>\n\n<|endoftext|>\nthree");
  ASSERT_EQ(documents.size(), 2u);
  EXPECT_EQ(documents[0].text, "one\n\ntwo");
  EXPECT_EQ(documents[1].text, "three");
  EXPECT_EQ(documents[0].where, folder_ / "a.txt:1");
  EXPECT_EQ(documents[1].where.rfind(folder_ / "a.txt:", 0), 0u);
}

TEST_F(TextFile, AcceptsByteOrderMarksAndCarriageReturns) {
  const auto documents = read("a.txt", "\xEF\xBB\xBFone\r\n<|endoftext|>\r\ntwo\r\n");
  ASSERT_EQ(documents.size(), 2u);
  EXPECT_EQ(documents[0].text, "one");
  EXPECT_EQ(documents[1].text, "two");
}

TEST_F(TextFile, SaysEveryLineThatIsWrong) {
  const std::string said = failure("a.jsonl", "{\"text\": \"a\"}\nno\n\n{\"text\": 5}\n{\"text\": \"b\"}\n[]\n");
  EXPECT_NE(said.find("a.jsonl:2: is no JSON object"), std::string::npos) << said;
  EXPECT_NE(said.find("lines 4, 6 are wrong too, 3 in all"), std::string::npos) << said;
  std::string many;
  for (int i = 0; i < 20; ++i) many += "no\n";
  EXPECT_NE(failure("a.jsonl", many).find("lines 2, 3, 4, 5, 6, 7, 8, 9, ... are wrong too, 20 in all"),
            std::string::npos);
}

TEST_F(TextFile, ReadsJsonLines) {
  const auto documents = read("a.jsonl",
                              "{\"text\": \"a\\nb\"}\n\n{\"text\": \"\"}\n"
                              "{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", "
                              "\"content\": \"a\"}]}");
  ASSERT_EQ(documents.size(), 2u);
  EXPECT_EQ(documents[0].text, "a\nb");
  ASSERT_TRUE(documents[1].is_chat());
  EXPECT_EQ(documents[1].messages[1].content, "a");
  EXPECT_EQ(documents[1].where, folder_ / "a.jsonl:4");
  EXPECT_EQ(document_text(documents[1]), "q\na");
}

TEST_F(TextFile, ReadsToolsAndContentInParts) {
  const std::string call = R"({"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]})";
  const std::string parts = R"({"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "image"}]})";
  const auto documents = read("a.jsonl", R"({"tools": [{"name": "f"}], "messages": [)" + parts + ", " + call + "]}\n");
  ASSERT_EQ(documents.size(), 1u);
  EXPECT_EQ(document_text(documents[0]), "q\n");
  EXPECT_EQ(documents[0].tools, R"([{"name":"f"}])");
  const ChatTemplate chat(
      "{{ tools[0].name }} {{ messages[0].content[1].type }} {{ messages[1].tool_calls | tojson }}");
  EXPECT_EQ(chat.render({.messages = documents[0].messages, .tools = documents[0].tools}).text,
            R"(f image [{"function": {"name": "f"}}])");
  EXPECT_EQ(ChatTemplate("{{ tools is none }}").render({.messages = documents[0].messages}).text, "True");
  EXPECT_NE(failure("a.jsonl", R"({"messages": [{"role": "user"}]})"), "");
  EXPECT_NE(failure("a.jsonl", R"({"tools": 5, "messages": [{"role": "user", "content": "x"}]})").find("`tools`"),
            std::string::npos);
}

TEST_F(TextFile, ReadsHowMuchALineOrAnAnswerCounts) {
  const std::string user = R"({"role": "user", "content": "q"})";
  const auto documents = read("a.jsonl", R"({"text": "x", "weight": 0.5})"
                                         "\n"
                                         R"({"text": "y", "weight": 1})"
                                         "\n"
                                         R"({"weight": 2, "messages": [)" +
                                             user + R"(, {"role": "assistant", "content": "a", "weight": 3}]})" + "\n");
  EXPECT_EQ(documents[0].weights, std::vector<float>{0.5f});
  EXPECT_TRUE(documents[1].weights.empty());
  EXPECT_EQ(documents[2].weights, (std::vector<float>{2.0f, 6.0f}));
  EXPECT_EQ(documents[2].messages[1].json, "") << "no template sees it";
  for (const char* weight : {"-1", "1001", "\"1\"", "null", "true", "[1]"})
    EXPECT_NE(failure("a.jsonl", std::string(R"({"text": "x", "weight": )") + weight + "}").find("a number from 0 to"),
              std::string::npos)
        << weight;
  EXPECT_NE(failure("a.jsonl", R"({"messages": [{"role": "user", "content": "q", "weight": 1}]})").find("not learned"),
            std::string::npos);
}

TEST_F(TextFile, UnpacksGzipMembers) {
  const auto documents = read("a.txt.gz", gzipped("one\n") + gzipped("two\n"));
  ASSERT_EQ(documents.size(), 1u);
  EXPECT_EQ(documents[0].text, "one\ntwo");
  EXPECT_EQ(read("a.jsonl.gz", gzipped("{\"text\": \"x\"}"))[0].text, "x");
}

TEST_F(TextFile, RefusesWhatIsBroken) {
  EXPECT_NE(failure("a.csv", "x").find(".txt or .jsonl"), std::string::npos);
  EXPECT_NE(failure("a.txt", ""), "");
  EXPECT_NE(failure("a.txt", "\n\n<|endoftext|>\n"), "");
  EXPECT_NE(failure("a.txt", "fine\nalso\nbad \xFF here\n").find("a.txt:3"), std::string::npos);
  EXPECT_NE(failure("a.txt", "overlong \xC0\xAF"), "");
  EXPECT_NE(failure("a.txt", "surrogate \xED\xA0\x80"), "");
  EXPECT_NE(failure("a.txt", "cut \xE6\x97"), "");
  EXPECT_NE(failure("a.jsonl", "{\"text\": \"x\"}\n{broken").find("a.jsonl:2"), std::string::npos);
  EXPECT_NE(failure("a.jsonl", "{\"other\": 1}").find("a.jsonl:1"), std::string::npos);
  EXPECT_NE(failure("a.jsonl", "{\"text\": 5}").find("a.jsonl:1: `text` is no text (expected a string, got 5)"),
            std::string::npos);
  EXPECT_NE(failure("a.jsonl", "{\"messages\": []}"), "");
  EXPECT_NE(failure("a.jsonl", "{\"messages\": [{\"role\": 1, \"content\": \"x\"}]}"), "");
  EXPECT_NE(failure("a.jsonl", "[1, 2]"), "");
  EXPECT_NE(failure("a.jsonl", std::string(200000, '[')), "") << "deep nesting";
  const std::string deep = std::string(300000, '[') + std::string(300000, ']');
  EXPECT_NE(failure("a.jsonl", R"({"a": 1, "b": )" + deep + R"(, "text": "x"})").find("a.jsonl:1: JSON nests too deep"),
            std::string::npos)
      << "deep nesting that is closed again";
  EXPECT_EQ(failure("a.jsonl", R"({"text": "\"[[[[", "x": ")" + std::string(300, '[') + R"(\\"})"), "") << "only text";
  EXPECT_NE(error_of([&] { read_documents(folder_ / "none.txt"); }).find("none.txt"), std::string::npos);
  EXPECT_NE(error_of([&] { read_documents(folder_.path() + "/."); }), "");
}

TEST_F(TextFile, RefusesBrokenAndBoundlessGzip) {
  const std::string packed = gzipped(std::string(50000, 'a') + "end");
  for (size_t cut = 0; cut < packed.size(); ++cut) EXPECT_NE(failure("a.txt.gz", packed.substr(0, cut)), "") << cut;
  std::string damaged = packed;
  damaged[damaged.size() - 6] = static_cast<char>(damaged[damaged.size() - 6] ^ 1);
  EXPECT_NE(failure("a.txt.gz", damaged), "") << "the checksum";
  EXPECT_NE(failure("a.txt.gz", packed, 1000).find("too much"), std::string::npos) << "a bomb";
  EXPECT_NE(failure("a.txt.gz", "plain text"), "");
  EXPECT_NE(failure("a.txt.gz", packed + "tail"), "");
}

}  // namespace
}  // namespace attar
