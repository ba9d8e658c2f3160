#include "runtime/judge/tasks/task_comparison.h"

#include <cmath>
#include <limits>

#include "runtime/base/sha256.h"

namespace attar::runtime {
namespace {

constexpr double kNormal95 = 1.959964;

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
  const auto n = static_cast<double>(task.items.size());
  double teacher_right = 0, student_right = 0, differing = 0, alike = 0;  // counts of items
  for (size_t i = 0; i < task.items.size(); ++i) {
    const bool a = is_right(task, i, teacher[i]), b = is_right(task, i, student[i]);
    teacher_right += a, student_right += b, differing += a != b;
    alike += task.form == TaskForm::Cloze ? a == b : teacher[i].best == student[i].best;
  }
  TaskComparison out{.items = static_cast<int64_t>(task.items.size()),
                     .teacher = teacher_right / n,
                     .student = student_right / n,
                     .difference = (student_right - teacher_right) / n,
                     .agreement = alike / n};
  // Sample variance of differences in {-1, 0, 1}: their squares sum to `differing`.
  const double error = n < 2 ? std::numeric_limits<double>::infinity()
                             : std::sqrt((differing - n * out.difference * out.difference) / (n - 1.0) / n);
  out.low = out.difference - kNormal95 * error, out.high = out.difference + kNormal95 * error;
  return out;
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
