#include "runtime/judge/tasks/task_comparison.h"

#include <gtest/gtest.h>

#include <cmath>

namespace attar::runtime {
namespace {

ItemScores choosing(int64_t choice) {
  return {.log_probs = {-1, -2, -3}, .best = choice};
}

// Gold answers 0 0 0 0; the teacher is right three times, the student twice, both on the first item.
TEST(TaskComparison, PairsTheItems) {
  Task task;
  task.items.resize(4);
  const std::vector<ItemScores> teacher{choosing(0), choosing(0), choosing(0), choosing(1)},
      student{choosing(0), choosing(2), choosing(1), choosing(0)};
  const TaskComparison got = compare_scores(task, teacher, student);
  EXPECT_EQ(got.items, 4);
  EXPECT_DOUBLE_EQ(got.teacher, 0.75);
  EXPECT_DOUBLE_EQ(got.student, 0.5);
  EXPECT_DOUBLE_EQ(got.difference, -0.25);
  EXPECT_DOUBLE_EQ(got.agreement, 0.25);
  // Differences 0 -1 -1 1: sample variance (3 - 4/16) / 3, standard error its root over 2.
  const double error = std::sqrt(2.75 / 3.0) / 2.0;
  EXPECT_NEAR(got.high - got.low, 2 * 3.1824 * error, 1e-12);
  EXPECT_NEAR(got.high + got.low, 2 * got.difference, 1e-12);
}

TEST(TaskComparison, ClozesAgreeWhereBothAreRightOrWrong) {
  Task task;
  task.form = TaskForm::Cloze;
  task.items.resize(3);
  std::vector<ItemScores> teacher(3, choosing(0)), student(3, choosing(0));
  teacher[0].greedy = teacher[1].greedy = student[0].greedy = true;
  const TaskComparison got = compare_scores(task, teacher, student);
  EXPECT_DOUBLE_EQ(got.teacher, 2.0 / 3);
  EXPECT_DOUBLE_EQ(got.student, 1.0 / 3);
  EXPECT_DOUBLE_EQ(got.agreement, 2.0 / 3);
}

TEST(TaskComparison, OneItemSaysNothingAboutTheSpread) {
  Task task;
  task.items.resize(1);
  const std::vector<ItemScores> one{choosing(0)};
  EXPECT_TRUE(std::isinf(compare_scores(task, one, one).high));
}

}  // namespace
}  // namespace attar::runtime
