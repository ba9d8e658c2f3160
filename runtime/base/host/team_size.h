// How many threads of a pool are worth their while where other processes want the processors too: all of them wait for
// the one that was put aside. Work that is done again and again is timed; where the system takes processors away, a
// thread fewer is tried, and kept where that is faster; now and then one more, in case the others have gone.
#pragma once

#include <cstdint>
#include <functional>

namespace attar {

// Times that the system took a processor from a thread of this process that could have gone on.
int64_t preemptions();

class TeamSize {
 public:
  explicit TeamSize(int most, std::function<int64_t()> preempted = preemptions);

  int now() const { return trial_ != 0 ? trial_ : size_; }
  // A piece of work of this kind took so long with now() threads.
  void took(double seconds, int64_t kind);

 private:
  // Of trials of fewer threads, or of more.
  struct Trials {
    int patience;     // windows behind one that failed, or behind a success of the other kind
    int windows = 0;  // until the next may be
    bool are_due() { return windows == 0 || --windows == 0; }
  };

  void begin_window();
  void end_window();
  bool is_lost() const;
  void end_trial(bool faster);

  std::function<int64_t()> preempted_;
  int most_, size_;
  int trial_ = 0;  // threads that are tried; 0: none are
  Trials fewer_, more_;
  double before_s_ = 0;  // a piece of work before the trial
  int64_t kind_ = -1, pieces_ = 0, preempted_before_ = 0;
  double seconds_ = 0;
};

}  // namespace attar
