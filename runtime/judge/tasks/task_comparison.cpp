#include "runtime/judge/tasks/task_comparison.h"

#include <numeric>

#include "runtime/base/sha256.h"
#include "runtime/judge/statistics/paired_difference.h"

namespace attar::runtime {
namespace {

bool is_right(const Task& task, size_t item, const ItemScores& scores) {
  return task.form == TaskForm::Cloze ? scores.greedy : scores.best == task.items[item].gold;
}

std::vector<std::vector<ItemScores>> scores_of(const ModelFile& file, const std::vector<Task>& tasks,
                                               const LoadOptions& options, ThreadPool& threads,
                                               const Progress& progress) {
  const Model model = Model::load(file, options, threads);
  Workspace work(model, threads);
  std::vector<std::vector<ItemScores>> scores;
  for (const Task& task : tasks) scores.push_back(score_task(model, task, work, progress));
  return scores;
}

}  // namespace

TaskComparison compare_scores(const Task& task, std::span<const ItemScores> teacher,
                              std::span<const ItemScores> student) {
  std::vector<double> a, b;  // (items) 1 where the teacher, the student is right
  std::vector<size_t> ends;  // each item is a window of its own
  double alike = 0;
  for (size_t i = 0; i < task.items.size(); ++i) {
    a.push_back(is_right(task, i, teacher[i]) ? 1.0 : 0.0);
    b.push_back(is_right(task, i, student[i]) ? 1.0 : 0.0);
    ends.push_back(i + 1);
    alike += task.form == TaskForm::Cloze ? a[i] == b[i] : teacher[i].best == student[i].best;
  }
  const auto n = static_cast<double>(task.items.size());
  const PairedDifference more = paired_difference(b, a, ends);
  return {.items = static_cast<int64_t>(task.items.size()),
          .teacher = std::accumulate(a.begin(), a.end(), 0.0) / n,
          .student = std::accumulate(b.begin(), b.end(), 0.0) / n,
          .difference = more.mean,
          .low = more.low,
          .high = more.high,
          .agreement = alike / n};
}

std::vector<TaskComparison> compare_on_tasks(const ModelFile& teacher, const ModelFile& student,
                                             const std::vector<std::string>& files, int64_t limit,
                                             const LoadOptions& of_student, ThreadPool& threads,
                                             const Progress& progress) {
  std::vector<Task> tasks;
  for (const std::string& file : files) tasks.push_back(read_task(file, limit));
  const auto a = scores_of(teacher, tasks, {.numerics = of_student.numerics}, threads, progress),
             b = scores_of(student, tasks, of_student, threads, progress);
  std::vector<TaskComparison> out;
  for (size_t i = 0; i < tasks.size(); ++i) {
    out.push_back(compare_scores(tasks[i], a[i], b[i]));
    out.back().name = files[i].substr(files[i].rfind('/') + 1);
    out.back().sha256 = sha256_of_file(files[i]);
  }
  return out;
}

double accuracy_ratio(std::span<const TaskComparison> tasks) {
  double teacher = 0, student = 0;
  for (const TaskComparison& task : tasks) teacher += task.teacher, student += task.student;
  return teacher > 0 ? student / teacher : 1.0;
}

double agreement(std::span<const TaskComparison> tasks) {
  double alike = 0, items = 0;
  for (const TaskComparison& task : tasks)
    alike += task.agreement * static_cast<double>(task.items), items += static_cast<double>(task.items);
  return alike / items;
}

}  // namespace attar::runtime
