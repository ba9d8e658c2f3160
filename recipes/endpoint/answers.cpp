#include "recipes/endpoint/answers.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "recipes/endpoint/answer.h"

namespace attar {
namespace {

constexpr std::chrono::milliseconds kTick{50};

struct Stopped {};

class Crew {
 public:
  Crew(Endpoint& endpoint, const AnswerCache& cache, const Asking& asking)
      : endpoint_(endpoint), cache_(cache), asking_(asking) {
    const size_t workers = std::min(static_cast<size_t>(std::max<int64_t>(1, asking.concurrency)), asking.requests);
    working_ = workers;  // and fewer once they are at work
    for (size_t i = 0; i < workers; ++i) threads_.emplace_back([this] { work(); });
  }
  ~Crew() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  // Takes the next answer, if it is there, and what there is to say. -> false: it is over
  bool step(Event& now, const Progress& progress) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kTick, [&] { return done_.contains(taken_) || working_ == 0 || !said_.empty(); });
    if (auto answer = done_.extract(taken_); !answer.empty()) {
      lock.unlock();
      const int64_t tokens = asking_.take(answer.key(), answer.mapped());
      lock.lock();
      spent_ += tokens, ++taken_;
      changed_.notify_all();
    } else if (working_ == 0 && failed_) {
      std::rethrow_exception(failed_);
    }
    const std::vector<std::string> said = std::exchange(said_, {});
    const bool over = taken_ == asking_.requests || spent_ >= asking_.budget_tokens;
    now.done = std::min(spent_, asking_.budget_tokens);
    lock.unlock();
    for (const std::string& line : said) {
      Event event = now;
      event.message = line;
      report(progress, event);
    }
    report(progress, now);
    return !over;
  }
  AskedCounts counts() {
    const std::lock_guard lock(mutex_);
    return counts_;
  }

 private:
  // Waits until the budget needs another request, whatever those before it bring.
  std::optional<size_t> next() {
    std::unique_lock lock(mutex_);
    const auto is_over = [&] { return stop_ || failed_ || next_ == asking_.requests; };
    changed_.wait(lock, [&] {
      const auto on_their_way = static_cast<int64_t>(next_ - taken_);
      return is_over() || spent_ + on_their_way * asking_.answer_tokens < asking_.budget_tokens;
    });
    if (is_over()) return std::nullopt;
    return next_++;
  }

  void work() {
    try {
      while (const std::optional<size_t> index = next()) answer(*index);
    } catch (const Stopped&) {
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failed_) failed_ = std::current_exception();
      gives_up_ = true;
    }
    const std::lock_guard lock(mutex_);
    --working_;
    changed_.notify_all();
  }

  void answer(size_t index) {
    const EndpointRequest request = asking_.request(index);
    std::optional<std::string> choice = cache_.find(request);
    const bool asked = !choice;
    if (asked) {
      const auto tick = [this] {
        if (stop_) throw Stopped();
      };
      const auto waiting = [this] {
        if (stop_ || gives_up_) throw Stopped();
      };
      const auto say = [this](const std::string& line) {
        const std::lock_guard lock(mutex_);
        said_.push_back(line);
        changed_.notify_all();
      };
      choice = endpoint_.ask(request, {tick, waiting, say});
      answer_of(*choice, request.url);  // what is none would be found again by every run after this one
      cache_.keep(request, *choice);
    }
    const std::lock_guard lock(mutex_);
    ++(asked ? counts_.asked : counts_.kept);
    done_.emplace(index, std::move(*choice));
    changed_.notify_all();
  }

  Endpoint& endpoint_;
  const AnswerCache& cache_;
  const Asking& asking_;
  std::atomic<bool> stop_ = false, gives_up_ = false;
  std::mutex mutex_;  // of all below
  std::condition_variable changed_;
  size_t next_ = 0, taken_ = 0, working_ = 0;
  int64_t spent_ = 0;
  std::map<size_t, std::string> done_;  // and not taken yet
  std::exception_ptr failed_;
  std::vector<std::string> said_;
  AskedCounts counts_;
  std::vector<std::thread> threads_;
};

}  // namespace

AskedCounts ask_in_order(Endpoint& endpoint, const AnswerCache& cache, const Asking& asking, const Progress& progress) {
  if (asking.requests == 0) return {};
  Event now{.stage = "data", .unit = "tokens", .total = asking.budget_tokens};
  Crew crew(endpoint, cache, asking);
  while (crew.step(now, progress)) continue;
  return crew.counts();
}

}  // namespace attar
