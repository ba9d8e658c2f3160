// The variables are those of torch.distributed's env:// initialization; joining goes through its TCPStore.
#include "distill/ranks/ranks.h"

#include <ATen/ops/empty.h>
#include <c10/util/Logging.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/host/cpu_limits.h"

namespace c10d {

// LibTorch exports it, but its own header asks for gloo's headers, which LibTorch's packages leave out. So what is
// called here is declared again; the rest is virtual, of Backend. The object itself is larger: see Group.
class TORCH_API ProcessGroupGloo : public Backend {
 public:
  struct TORCH_API Options : public Backend::Options {
    ~Options() override;
    static c10::intrusive_ptr<Options> create_default(std::chrono::milliseconds timeout);
  };
  ProcessGroupGloo(const c10::intrusive_ptr<Store>& store, int rank, int size, c10::intrusive_ptr<Options> options);
  ~ProcessGroupGloo() override;
};

}  // namespace c10d

namespace attar {
namespace {

using StorePtr = c10::intrusive_ptr<c10d::Store>;

constexpr int kMostRanks = 4096;
constexpr int64_t kChunkNumbers = int64_t{1} << 22;  // of a sum that are on their way at once: 16 MiB
constexpr std::chrono::hours kStageTime{24 * 365};   // the others wait while rank 0 does what it does alone
constexpr std::chrono::milliseconds kBetweenLooks{20};
constexpr std::chrono::seconds kBeat{1};      // how often a rank says that it lives
constexpr std::chrono::seconds kPatience{5};  // for what all do, before a look at who still says so
constexpr std::chrono::seconds kSilence{60};  // after which who says nothing has ended
// The same for a rank that was asked to stop: torchrun asks all when one has ended, and kills them half a minute later.
constexpr std::chrono::seconds kSilenceAtAStop{10};

// What LibTorch says, without its backtrace.
std::string first_line(const std::exception& error) {
  const std::string text = error.what();
  return printable(text.substr(0, text.find('\n')), 160);
}

int number_of(const char* name, int least, int most) {
  const char* text = std::getenv(name);
  const std::string range = std::to_string(least) + " to " + std::to_string(most);
  if (text == nullptr || *text == '\0')
    throw usage_error(name, "is not set, and WORLD_SIZE is", range, "", "torchrun sets both");
  int value = -1;
  const char* end = text + std::strlen(text);
  const auto [rest, problem] = std::from_chars(text, end, value);
  if (problem != std::errc() || rest != end || value < least || value > most)
    throw usage_error(name, "is not what it can be", range, printable(text));
  return value;
}

std::string text_of_variable(const char* name, const std::string& without) {
  const char* text = std::getenv(name);
  return text == nullptr ? without : text;
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "";
}

// By which all find each other.
StorePtr open_store(const RankPlace& place) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(place.port);
  options.isServer = place.rank == 0 && !place.torchrun_listens;
  options.waitWorkers = false;
  options.timeout = place.join_s;
  if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr) FLAGS_caffe2_log_level = c10::GLOG_FATAL;  // the rest is said here
  try {
    return c10::make_intrusive<c10d::PrefixStore>("attar/" + place.attempt,
                                                  c10::make_intrusive<c10d::TCPStore>(place.address, options));
  } catch (const std::exception& error) {
    const std::string at = place.address + ":" + std::to_string(place.port);
    if (options.isServer)
      throw Error(ErrorKind::Resources, {.where = "MASTER_ADDR:MASTER_PORT " + at,
                                         .what = "rank 0 cannot listen there",
                                         .got = first_line(error),
                                         .hint = "take a port that is free, and this machine's address"});
    throw Error(ErrorKind::Resources, {.where = "MASTER_ADDR:MASTER_PORT " + at,
                                       .what = "rank 0 cannot be reached there",
                                       .got = first_line(error),
                                       .hint = "start all ranks, RANK=0 on that machine, or unset WORLD_SIZE"});
  }
}

// How many ranks are on this machine, and how many of them come before this one.
struct Neighbours {
  int all = 0, before = 0;
};

// Tells who came and waits for all others.
Neighbours meet(c10d::Store& store, const RankPlace& place, const std::function<bool()>& interrupted) {
  const std::string version = ATTAR_VERSION, own = version + " " + host_name();
  store.set(std::to_string(place.rank), std::vector<std::uint8_t>(own.begin(), own.end()));
  const auto last = std::chrono::steady_clock::now() + place.join_s;
  Neighbours here;
  for (int rank = 0; rank < place.size; ++rank) {
    const std::string key = std::to_string(rank);
    while (!store.check({key})) {
      if (interrupted && interrupted())
        throw Error(ErrorKind::Interrupted, {.what = "stopped while it waited for rank " + key});
      if (std::chrono::steady_clock::now() > last)
        throw Error(ErrorKind::Resources, {.where = "rank " + key + " of " + std::to_string(place.size),
                                           .what = "has not come",
                                           .hint = "start as many as WORLD_SIZE says, or unset it"});
      std::this_thread::sleep_for(kBetweenLooks);
    }
    const std::vector<std::uint8_t> told = store.get(key);
    const std::string said(told.begin(), told.end());
    if (said.substr(0, said.find(' ')) != version)
      throw usage_error("rank " + key, "runs another version of Attar", version,
                        printable(said.substr(0, said.find(' '))));
    if (said == own) ++here.all, here.before += rank < place.rank ? 1 : 0;
  }
  return here;
}

// visit(values, place, count) for each run of the numbers [begin, end) of tensors that lie one after another; `place`
// counts from `begin`.
template <class Visit>
void for_each_run(const std::vector<at::Tensor>& tensors, int64_t begin, int64_t end, Visit&& visit) {
  int64_t first = 0;
  for (const at::Tensor& tensor : tensors) {
    const int64_t from = std::max(begin, first), to = std::min(end, first + tensor.numel());
    if (from < to) visit(tensor.data_ptr<float>() + (from - first), from - begin, to - from);
    first += tensor.numel();
  }
}

}  // namespace

std::optional<RankPlace> place_of_environment() {
  if (text_of_variable("WORLD_SIZE", "").empty()) return std::nullopt;
  RankPlace place;
  place.size = number_of("WORLD_SIZE", 1, kMostRanks);
  if (place.size == 1) return std::nullopt;
  place.rank = number_of("RANK", 0, place.size - 1);
  if (!text_of_variable("LOCAL_RANK", "").empty()) place.local_rank = number_of("LOCAL_RANK", 0, kMostRanks - 1);
  place.address = text_of_variable("MASTER_ADDR", "");
  if (place.address.empty())
    throw usage_error("MASTER_ADDR", "is not set, and WORLD_SIZE is", "the address of rank 0", "",
                      "torchrun sets both");
  place.port = number_of("MASTER_PORT", 1, 65535);
  place.torchrun_listens = text_of_variable("TORCHELASTIC_USE_AGENT_STORE", "") == "True";
  place.attempt = text_of_variable("TORCHELASTIC_RESTART_COUNT", "0");
  return place;
}

// Whether the others live: gloo does not always tell who waits for one that it has ended. Each counts up a number of
// its own in the store, on a thread that nothing else holds up.
class Pulse {
 public:
  Pulse(StorePtr store, int rank, int size) : store_(std::move(store)), rank_(rank), heard_(static_cast<size_t>(size)) {
    thread_ = std::thread([this] {
      std::unique_lock lock(mutex_);
      do {
        try {
          store_->add(key(rank_), 1);
        } catch (const std::exception&) {  // who looks finds the same
        }
      } while (!stops_.wait_for(lock, kBeat, [this] { return stopped_; }));
    });
  }
  ~Pulse() {
    {
      const std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    stops_.notify_one();
    thread_.join();
  }
  Pulse(const Pulse&) = delete;
  Pulse& operator=(const Pulse&) = delete;

  // Throws where one has been silent for too long, or the store has ended.
  void expect_all(std::chrono::seconds silence) {
    const auto now = std::chrono::steady_clock::now();
    for (size_t r = 0; r < heard_.size(); ++r) {
      const int64_t count = store_->add(key(static_cast<int>(r)), 0);
      if (count != heard_[r].count) heard_[r] = {count, now};
      if (now - heard_[r].looked > silence)
        throw std::runtime_error("rank " + std::to_string(r) + " says nothing any more");
    }
  }

 private:
  struct Heard {
    int64_t count = -1;
    std::chrono::steady_clock::time_point looked{};  // when it was another number
  };
  static std::string key(int rank) { return "pulse/" + std::to_string(rank); }

  StorePtr store_;
  int rank_;
  std::vector<Heard> heard_;
  std::mutex mutex_;
  std::condition_variable stops_;
  bool stopped_ = false;
  std::thread thread_;
};

struct Ranks::Group {
  StorePtr store;
  std::function<bool()> interrupted;
  c10d::Backend* backend = nullptr;
  // The object, which nobody but this owns: some hundred bytes of its own in LibTorch 2.13, and room.
  alignas(std::max_align_t) std::byte memory[1 << 16];
  std::optional<Pulse> pulse{};
  bool stuck = false;  // in what one that is silent was to do

  Group(StorePtr shared, const RankPlace& place, std::function<bool()> asked)
      : store(std::move(shared)), interrupted(std::move(asked)) {
    backend =
        new (memory) c10d::ProcessGroupGloo(c10::make_intrusive<c10d::PrefixStore>("gloo", store), place.rank,
                                            place.size, c10d::ProcessGroupGloo::Options::create_default(place.join_s));
    backend->setTimeout(kStageTime);
    pulse.emplace(store, place.rank, place.size);
  }
  ~Group() {
    pulse.reset();
    backend->~Backend();
  }
  void finish(const c10::intrusive_ptr<c10d::Work>& work) {
    stuck = true;
    while (true) {
      try {
        work->wait(kPatience);
        break;
      } catch (const std::exception&) {
        if (work->isCompleted()) {  // with a failure, or just behind the patience's end
          stuck = false;
          work->wait();
          return;
        }
      }
      pulse->expect_all(interrupted && interrupted() ? kSilenceAtAStop : kSilence);
    }
    stuck = false;
  }
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
};

Ranks::Ranks(const RankPlace& place, int threads, std::function<bool()> interrupted)
    : place_(place), threads_(threads), interrupted_(std::move(interrupted)) {
  StorePtr store = open_store(place_);
  Neighbours here;
  together([&] {
    here = meet(*store, place_, interrupted_);
    group_ = std::make_unique<Group>(store, place_, interrupted_);
  });
  if (threads_ == 0) threads_ = std::max(1, default_threads() / here.all);
  if (place_.local_rank < 0) place_.local_rank = here.before;
}

// What is stuck still lies in the group's memory.
Ranks::~Ranks() {
  if (group_ != nullptr && group_->stuck) {
    group_->pulse.reset();
    static_cast<void>(group_.release());
  }
}

template <class Start>
void Ranks::together(Start&& start) {
  try {
    start();
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    lost_ = true;
    throw Error(ErrorKind::Failure, {.where = "rank " + std::to_string(rank()) + " of " + std::to_string(size()),
                                     .what = "another rank has ended, or cannot be reached any more",
                                     .got = first_line(error),
                                     .hint = "start all of them again with --resume: the last checkpoint is kept"});
  }
}

void Ranks::broadcast(const at::Tensor& values) {
  if (values.numel() == 0) return;
  together([&] {
    std::vector<at::Tensor> one{values.detach().contiguous()};
    group_->finish(group_->backend->broadcast(one, {}));
  });
}

void Ranks::broadcast(std::vector<char>& bytes) {
  at::Tensor length = at::empty({1}, at::kLong);
  *length.data_ptr<int64_t>() = static_cast<int64_t>(bytes.size());
  broadcast(length);
  bytes.resize(static_cast<size_t>(*length.data_ptr<int64_t>()));
  at::Tensor values = at::empty({static_cast<int64_t>(bytes.size())}, at::kByte);
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(values.data_ptr<std::uint8_t>()));
  broadcast(values);
  std::copy_n(reinterpret_cast<const char*>(values.data_ptr<std::uint8_t>()), bytes.size(), bytes.begin());
}

void Ranks::sum(std::vector<double>& numbers) {
  const auto count = static_cast<int64_t>(numbers.size());
  std::vector<at::Tensor> own{at::empty({count}, at::kDouble)};
  std::copy(numbers.begin(), numbers.end(), own[0].data_ptr<double>());
  std::vector<std::vector<at::Tensor>> all(rank() == 0 ? 1 : 0);
  for (int r = 0; r < size() && rank() == 0; ++r) all[0].push_back(at::empty({count}, at::kDouble));
  together([&] { group_->finish(group_->backend->gather(all, own, {})); });
  for (int r = 1; r < size() && rank() == 0; ++r)
    for (size_t i = 0; i < numbers.size(); ++i) numbers[i] += all[0][static_cast<size_t>(r)].data_ptr<double>()[i];
}

// A chunk is cut into a part a rank; each adds up its own part of all ranks, in their order, and gives it to rank 0. So
// no rank sends or takes more than twice the numbers, however many ranks there are.
void Ranks::sum(const std::vector<at::Tensor>& tensors) {
  int64_t all = 0;
  for (const at::Tensor& tensor : tensors) all += tensor.numel();
  const int64_t widest = (std::min(all, kChunkNumbers) + size() - 1) / size();
  at::Tensor own = at::empty({widest * size()}, at::kFloat), parts = at::empty({widest * size()}, at::kFloat);
  for (int64_t begin = 0; begin < all; begin += widest * size()) {
    const int64_t end = std::min(all, begin + widest * size()), width = (end - begin + size() - 1) / size();
    at::Tensor given = own.narrow(0, 0, width * size()), taken = parts.narrow(0, 0, width * size());
    auto* numbers = given.data_ptr<float>();
    for_each_run(tensors, begin, end, [&](const float* run, int64_t at_number, int64_t count) {
      std::copy_n(run, count, numbers + at_number);
    });
    std::fill(numbers + (end - begin), numbers + width * size(), 0.0f);
    std::vector<int64_t> equal;
    together([&] { group_->finish(group_->backend->alltoall_base(taken, given, equal, equal, {})); });
    std::vector<at::Tensor> part{taken.narrow(0, 0, width)};
    for (int r = 1; r < size(); ++r) part[0].add_(taken.narrow(0, r * width, width));
    std::vector<std::vector<at::Tensor>> whole(rank() == 0 ? 1 : 0);
    for (int r = 0; r < size() && rank() == 0; ++r) whole[0].push_back(given.narrow(0, r * width, width));
    together([&] { group_->finish(group_->backend->gather(whole, part, {})); });
    if (rank() > 0) continue;
    for_each_run(tensors, begin, end,
                 [&](float* run, int64_t at_number, int64_t count) { std::copy_n(numbers + at_number, count, run); });
  }
}

}  // namespace attar
