// Where a process stands among its ranks, by the variables that torchrun sets.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "distill/ranks/ranks.h"
#include "runtime/base/error.h"

namespace attar {
namespace {

// What torchrun sets, while one lives.
class Variables {
 public:
  explicit Variables(const std::map<std::string, std::string>& given) {
    for (const char* name : kNames) ::unsetenv(name);
    for (const auto& [name, value] : given) ::setenv(name.c_str(), value.c_str(), 1);
  }
  ~Variables() {
    for (const char* name : kNames) ::unsetenv(name);
  }

 private:
  static constexpr const char* kNames[] = {"WORLD_SIZE",
                                           "RANK",
                                           "LOCAL_RANK",
                                           "MASTER_ADDR",
                                           "MASTER_PORT",
                                           "TORCHELASTIC_USE_AGENT_STORE",
                                           "TORCHELASTIC_RESTART_COUNT"};
};

TEST(RanksEnvironment, SaysWhereAProcessStands) {
  const std::vector<std::map<std::string, std::string>> alone{
      {}, {{"RANK", "3"}}, {{"WORLD_SIZE", "1"}, {"RANK", "0"}}};
  for (const auto& given : alone) {
    const Variables variables(given);
    EXPECT_FALSE(place_of_environment());
  }
  std::map<std::string, std::string> whole{
      {"WORLD_SIZE", "4"}, {"RANK", "3"}, {"MASTER_ADDR", "host"}, {"MASTER_PORT", "29500"}};
  {
    const Variables variables(whole);
    const auto place = place_of_environment();
    ASSERT_TRUE(place);
    EXPECT_EQ(place->rank, 3);
    EXPECT_EQ(place->size, 4);
    EXPECT_EQ(place->address, "host");
    EXPECT_EQ(place->port, 29500);
    EXPECT_EQ(place->local_rank, -1);
    EXPECT_FALSE(place->torchrun_listens);
  }
  whole["TORCHELASTIC_USE_AGENT_STORE"] = "True", whole["TORCHELASTIC_RESTART_COUNT"] = "2", whole["LOCAL_RANK"] = "1";
  const Variables variables(whole);
  EXPECT_EQ(place_of_environment()->local_rank, 1);
  EXPECT_TRUE(place_of_environment()->torchrun_listens);
  EXPECT_EQ(place_of_environment()->attempt, "2");
}

TEST(RanksEnvironment, RefusesWhatDoesNotFit) {
  const std::map<std::string, std::string> whole{
      {"WORLD_SIZE", "2"}, {"RANK", "1"}, {"MASTER_ADDR", "host"}, {"MASTER_PORT", "29500"}};
  const auto refused = [&](const std::string& name, const char* value, const std::string& says) {
    std::map<std::string, std::string> given = whole;
    given.erase(name);
    if (value != nullptr) given[name] = value;
    const Variables variables(given);
    try {
      place_of_environment();
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Usage);
      EXPECT_EQ(std::string(error.what()).rfind(name + ": " + says, 0), 0u) << error.what();
    }
  };
  for (const char* wrong : {"2", "-1", "one", "1 "}) refused("RANK", wrong, "is not what it can be");
  for (const char* wrong : {"0", "two", "99999999999"}) refused("WORLD_SIZE", wrong, "is not what it can be");
  for (const char* wrong : {"0", "65536", "port"}) refused("MASTER_PORT", wrong, "is not what it can be");
  for (const char* wrong : {"-1", "4096", "first"}) refused("LOCAL_RANK", wrong, "is not what it can be");
  for (const char* name : {"RANK", "MASTER_ADDR", "MASTER_PORT"}) refused(name, nullptr, "is not set");
}

}  // namespace
}  // namespace attar
