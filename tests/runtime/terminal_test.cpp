// Progress for people, where there is no terminal: a line every few seconds.
#include "runtime/cli/terminal/terminal.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace attar::cli {
namespace {

TEST(Terminal, ALineSaysStageCountsAndWhatIsLeft) {
  const GlobalOptions global;
  testing::internal::CaptureStderr();
  {
    const Progress progress = terminal_progress(global);
    progress({.stage = "verify", .unit = "tokens"});  // before it knows how much there is
    Event event{.stage = "pretrain", .unit = "tokens", .done = 0, .total = 24000};
    event.part = 3, event.parts = 6, event.later_s = 3600.0;
    progress(event);
    std::this_thread::sleep_for(std::chrono::milliseconds(5100));
    event.done = 12000;
    progress(event);
    event.done = 24057;  // a step is not cut
    progress(event);
  }
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_EQ(said.find("verify ...\n"), 0U) << said;
  EXPECT_NE(said.find("stage 3 of 6: pretrain   0% 0/24000 tokens\n"), std::string::npos) << said;
  EXPECT_NE(said.find("stage 3 of 6: pretrain  50% 12000/24000 tokens, 0:05 left, 1:00:05 in all"), std::string::npos)
      << said;
  EXPECT_NE(said.find("100% 24057/24000 tokens"), std::string::npos) << said;
}

}  // namespace
}  // namespace attar::cli
