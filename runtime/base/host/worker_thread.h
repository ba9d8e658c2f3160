// Threads of ours inside a process that may be somebody else's.
#pragma once

#include <signal.h>

#include <functional>
#include <thread>

namespace attar {

// Whether there can be any; std::async, which is to begin one if it can, would wait for it for ever in some C++
// libraries.
#ifdef __EMSCRIPTEN__
inline constexpr bool kHasThreads = false;
#else
inline constexpr bool kHasThreads = true;
#endif

// Threads that are started while it lives take none of the host's signals, but those that their own instructions raise:
// a thread begins with the mask of the one that starts it, which comes back.
class HostSignalsBlocked {
 public:
  HostSignalsBlocked();
  ~HostSignalsBlocked();
  HostSignalsBlocked(const HostSignalsBlocked&) = delete;
  HostSignalsBlocked& operator=(const HostSignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

// A thread that takes none of the host's signals (but those that its own instructions raise) and none of the host's
// float settings. std::system_error when the system starts no more threads.
std::thread worker_thread(std::function<void()> work);

}  // namespace attar
