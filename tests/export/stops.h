// An export that its caller stops: what was there before is still there, and nothing else.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <map>

#include "runtime/base/error.h"
#include "runtime/base/progress.h"
#include "runtime/base/sha256.h"

namespace attar {

inline std::map<std::string, std::string> files_below(const std::string& folder) {
  std::map<std::string, std::string> hashes;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) hashes[entry.path().string()] = sha256_of_file(entry.path().string());
  return hashes;
}

// `work` writes into `folder`, which holds what it wrote before; it is stopped at each of its reports in turn.
inline void expect_stops_lose_nothing(const std::string& folder, const std::function<void(const Progress&)>& work) {
  int64_t reports = 0;
  work([&](const Event& event) {
    EXPECT_EQ(event.stage, "export");
    ++reports;
    return Flow::GoOn;
  });
  const auto before = files_below(folder);
  ASSERT_GE(reports, 5);
  for (int64_t stop = 1; stop <= reports; ++stop) {
    int64_t seen = 0;
    try {
      work([&](const Event&) { return ++seen == stop ? Flow::Stop : Flow::GoOn; });
      ADD_FAILURE() << "goes on after the stop at report " << stop;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Interrupted);
    }
    EXPECT_EQ(files_below(folder), before) << "stopped at report " << stop;
  }
}

}  // namespace attar
