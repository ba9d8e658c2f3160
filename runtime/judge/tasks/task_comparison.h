// Two models on the same task items: how often each is right, and how often they choose alike.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "runtime/base/host/thread_pool.h"
#include "runtime/base/progress.h"
#include "runtime/formats/model_file.h"
#include "runtime/formats/numerics.h"
#include "runtime/judge/tasks/evaluate.h"

namespace attar::runtime {

struct TaskComparison {
  std::string name{};  // the file's, without its folder
  std::string sha256{};
  int64_t items = 0;
  double teacher = 0, student = 0;  // accuracy: TaskAccuracy::plain
  // student - teacher over the same items, with a 95 % interval from the spread of the items' differences.
  double difference = 0, low = 0, high = 0;
  double agreement = 0;  // share of the items where both choose the same answer; of clozes, both right or both wrong
};
TaskComparison compare_scores(const Task& task, std::span<const ItemScores> teacher,
                              std::span<const ItemScores> student);

// Each model reads each file with its own tokenizer, the teacher with the student's mode of numbers. `limit`: items of
// each file, 0 for all.
std::vector<TaskComparison> compare_on_tasks(const ModelFile& teacher, const ModelFile& student,
                                             const std::vector<std::string>& files, int64_t limit,
                                             const LoadOptions& of_student, ThreadPool& threads,
                                             const Progress& progress = {});

// Over several tasks: the student's mean accuracy over the teacher's (1 where that has nothing to lose), and agreement
// over all items.
double accuracy_ratio(std::span<const TaskComparison> tasks);
double agreement(std::span<const TaskComparison> tasks);

}  // namespace attar::runtime
