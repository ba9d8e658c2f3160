// A compact model ready to run: const, shareable. It holds packed copies of all it needs: once it is loaded, its file
// may change or go.
//
// In both modes of numbers (runtime/formats/numerics.h) a sequence's logits are bit-identical whatever else is in the
// batch, however the prompt is chunked and with any number of threads: tiles are fixed, and so is the order of every
// sum.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "runtime/base/host/cpu.h"
#include "runtime/base/host/thread_pool.h"
#include "runtime/base/progress.h"
#include "runtime/formats/model_file.h"
#include "runtime/formats/numerics.h"
#include "runtime/kernels/vocabulary_math.h"

namespace attar::runtime {

struct LoadOptions {
  Numerics numerics = Numerics::Deployed;
  Isa isa = cpu_features().best_isa();
  std::optional<KvFormat> kv{};  // of Deployed; nothing: what the file plans, else F16
};

class Model {
 public:
  // Error{Input}: a weight that is NaN or infinite (tensor named), a type Attar cannot run, a file that was changed
  // since it was opened.
  static Model load(const ModelFile& file, const LoadOptions& options, ThreadPool& threads);
  Model(Model&&) noexcept;
  ~Model();

  const ModelConfig& config() const;
  const Tokenizer& tokenizer() const;
  Numerics numerics() const;
  KvFormat kv_format() const;                     // of keys and values, in Deployed
  const std::string& source() const;              // what the user named
  uint64_t file_bytes() const;                    // of the file that was loaded
  const std::vector<std::string>& notes() const;  // fallbacks taken, one line each
  uint64_t packed_bytes() const;                  // of the weights in memory

  struct Weights;
  const Weights& weights() const { return *weights_; }

 private:
  Model();
  std::unique_ptr<Weights> weights_;
};

// Keys and values of one sequence. Copying forks it.
class KvCache {
 public:
  explicit KvCache(const Model& model);
  KvCache(const KvCache&);
  KvCache(const KvCache& other, int64_t length_tokens);  // a fork of its first tokens, at most as many as it holds
  KvCache(KvCache&&) noexcept;
  KvCache& operator=(KvCache&&) noexcept;
  ~KvCache();

  bool belongs_to(const Model& model) const;  // made for it; false for one that was moved from
  int64_t length_tokens() const;
  void truncate(int64_t length_tokens);  // forget what came after
  uint64_t size_bytes() const;

  struct Storage;
  Storage& storage() { return *storage_; }

 private:
  std::unique_ptr<Storage> storage_;
};

// What a cache of so many tokens takes at most.
uint64_t kv_bytes(const Model& model, int64_t length_tokens);

// One token to process. Rows of one sequence stand together: consecutive positions, from its cache's length on.
struct Row {
  KvCache* cache = nullptr;
  int32_t token = 0;
  bool wants_logits = false;
};

// What rows that ask get: with logits hidden states too; these alone cost no multiplication with the head. Summed:
// logits with what a draw wants of them, which all threads find out while the logits are in their caches.
enum class Answers { Logits, Hidden, Summed };

// Scratch for a batch; grows to the largest batch seen.
class Workspace {
 public:
  Workspace(const Model& model, ThreadPool& threads);
  ~Workspace();

  // After forward(), of the rows that asked, in row order: logits (asked, V), unless it was asked for hidden states
  // alone, and final hidden states after the output norm (asked, C). Error{Usage} for a row that the last forward() was
  // not asked for; it had none when it failed.
  std::span<const float> logits(int64_t asked_row) const;
  std::span<const float> hidden(int64_t asked_row) const;
  // Of a forward() for Answers::Summed.
  SummedLogits summed(int64_t asked_row) const;
  ThreadPool& threads() const;

  struct Buffers;
  Buffers& buffers() { return *buffers_; }

 private:
  std::unique_ptr<Buffers> buffers_;
};

// Advances every cache by its rows. Error{Input} for a token id outside [0, V) or a sequence longer than the context;
// Error{Usage} for a cache or workspace of another model, a row without a cache, a cache that stands in two places.
// When it throws, for these or for want of memory, every cache is as long as before and all can be used again.
// A batch of several passes (512 rows each) asks `progress` after each of them.
void forward(const Model& model, std::span<const Row> batch, Workspace& work, const Progress& progress = {},
             Answers answers = Answers::Logits);

// Error{Input} for a token id outside [0, V).
void check_tokens(const Model& model, std::span<const int32_t> tokens);

}  // namespace attar::runtime
