// A few workers that run one function together and meet at a barrier that spins briefly, then sleeps: the runtime's
// threads, and a training's (compress/shards.h). LibTorch's own threads would fight them for the cores: what it
// computes meanwhile, it computes with one. The process that forks keeps the workers; in the child, the next run()
// starts others.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace attar {

class ThreadPool {
 public:
  explicit ThreadPool(int n_threads);  // 1 to kMostThreads; the caller is thread 0
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;
  // Runs work(thread) on the first `n_threads`, all of them where it is 0, and returns when they are done. The first
  // exception is rethrown here. One call at a time: Error{Usage} while another thread, or this one, is inside.
  void run(const std::function<void(int thread)>& work, int n_threads = 0);
  // Inside run(): waits until every thread of it has called it.
  void barrier();

 private:
  struct State;
  static std::unique_ptr<State> start(int n_threads);
  std::unique_ptr<State> state_;
};

}  // namespace attar
