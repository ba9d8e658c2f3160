#include "runtime/base/host/worker_thread.h"

#include <utility>

#include "runtime/base/host/float_environment.h"

namespace attar {
HostSignalsBlocked::HostSignalsBlocked() {
  sigset_t blocked;
  ::sigfillset(&blocked);
  for (const int own_fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) ::sigdelset(&blocked, own_fault);
  ::pthread_sigmask(SIG_SETMASK, &blocked, &before_);
}

HostSignalsBlocked::~HostSignalsBlocked() {
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

std::thread worker_thread(std::function<void()> work) {
  const HostSignalsBlocked blocked;
  return std::thread([work = std::move(work)] {
    const FloatEnvironment floats;
    work();
  });
}

}  // namespace attar
