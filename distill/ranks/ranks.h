// The processes of a training, as torchrun starts them, and what they do together. Rank 0 leads: it alone reads and
// writes files. LibTorch's c10d (gloo) carries what they tell each other.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace attar {

// Where this process stands among them.
struct RankPlace {
  int rank = 0, size = 2;
  int local_rank = -1;    // among those on its machine; -1: in their order
  std::string address{};  // of rank 0, which listens there unless torchrun does
  int port = 0;
  bool torchrun_listens = false;
  std::string attempt = "0";         // torchrun's count of restarts
  std::chrono::seconds join_s{300};  // the others come by then, or not at all
};

// What WORLD_SIZE, RANK, LOCAL_RANK, MASTER_ADDR and MASTER_PORT say; nullopt: this process is alone, WORLD_SIZE is not
// set or 1. Error{Usage}: they do not fit together.
std::optional<RankPlace> place_of_environment();

class Ranks {
 public:
  // Waits for all. `threads`: what each computes with, 0 for its part of this machine's cores. `interrupted`: whether
  // this process was asked to stop. Error{Resources}: somebody does not come, or the port is taken. Error{Usage}:
  // another version came.
  explicit Ranks(const RankPlace& place, int threads = 0, std::function<bool()> interrupted = {});
  ~Ranks();
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  int rank() const { return place_.rank; }
  int size() const { return place_.size; }
  int local_rank() const { return place_.local_rank; }  // from 0: which GPU of its machine is this one's
  int threads() const { return threads_; }
  bool interrupted() const { return interrupted_ && interrupted_(); }

  // Each is called by all ranks, in the same order. Error{Failure}: another rank has ended; nothing works from then on.
  void broadcast(const at::Tensor& values);          // becomes what rank 0 has; contiguous elsewhere
  void broadcast(std::vector<char>& bytes);          // of any length
  void sum(std::vector<double>& numbers);            // becomes, at rank 0, the sum in the order of ranks
  void sum(const std::vector<at::Tensor>& tensors);  // so too; f32, contiguous; at other ranks they stay

  // Whether another has ended. leave_at_once(): this one does, in the midst of what all do, and says no more.
  bool lost() const { return lost_; }
  void leave_at_once() { lost_ = true; }

 private:
  struct Group;
  template <class Start>
  void together(Start&& start);

  RankPlace place_;
  int threads_;
  std::function<bool()> interrupted_;
  bool lost_ = false;
  std::unique_ptr<Group> group_;
};

}  // namespace attar
