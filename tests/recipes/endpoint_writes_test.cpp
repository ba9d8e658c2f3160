#include "recipes/data/endpoint_writes.h"

#include <gtest/gtest.h>

#include "tests/runtime/spoken_model.h"

namespace attar {
namespace {

// What is said of an endpoint that is asked nothing.
std::vector<std::string> said_of(const std::string& url, const std::string& key) {
  std::vector<std::string> said;
  const Progress listen = [&](const Event& event) {
    if (!event.message.empty()) said.emplace_back(event.message);
    return Flow::GoOn;
  };
  EndpointWrites options;
  options.url = url, options.key = key;
  EndpointRecord record;
  write_with_endpoint(Tokenizer(runtime::spoken_tokenizer({"a"})), {}, options, 1, "unused", record, listen);
  return said;
}

TEST(EndpointWrites, SaysThatAKeyGoesUnencrypted) {
  for (const char* host : {"localhost", "localhost:8080", "127.0.0.1", "127.1.2.3:80", "[::1]", "[::1]:80"})
    EXPECT_TRUE(said_of(std::string("http://") + host + "/v1", "SOME_KEY").empty()) << host;
  for (const char* host : {"example.org", "localhost.example.org", "127.0.0.1.example.org:80", "localhostile"}) {
    const std::string url = std::string("http://") + host + "/v1";
    EXPECT_EQ(said_of(url, "SOME_KEY"), std::vector<std::string>{url + ": the key goes there unencrypted"});
    EXPECT_TRUE(said_of(url, "").empty());
    EXPECT_TRUE(said_of(std::string("https://") + host + "/v1", "SOME_KEY").empty());
  }
}

}  // namespace
}  // namespace attar
