#include "runtime/model/profile.h"

#include <algorithm>

#include "runtime/model/pass.h"

namespace attar::runtime {
namespace {

double seconds_of(Profile::Clock::duration time) {
  return std::chrono::duration<double>(time).count();
}

constexpr size_t index_of(Operation operation) {
  return static_cast<size_t>(operation);
}

}  // namespace

const char* name_of(Operation operation) {
  static constexpr const char* kNames[kOperations] = {
      "embedding", "norms", "query_key_value", "rope_and_cache", "attention",     "attention_output", "gate_up",
      "down",      "head",  "sampling",        "waiting",        "between_passes"};
  return kNames[index_of(operation)];
}

void ThreadTimes::lap(Operation operation) {
  const Clock::time_point now = Clock::now();
  spent[index_of(operation)] += now - last;
  if (operation == Operation::Waiting) longest_wait = std::max(longest_wait, now - last);
  last = now;
}

void ThreadTimes::done(Operation operation) {
  lap(operation);
  ++calls[index_of(operation)];
}

void Profile::begin(Clock::time_point now) {
  begun = now;
  for (ThreadTimes& thread : threads) thread.last = now;
}

void Profile::end(Clock::time_point now, int team) {
  for (size_t t = 0; t < static_cast<size_t>(team); ++t)
    threads[t].spent[index_of(Operation::Waiting)] += now - threads[t].last;
  elapsed += now - begun;
  team_time += (now - begun) * team;
  ++passes;
}

double Profile::total_s() const {
  Clock::duration total = elapsed;
  for (const Clock::duration& time : outside) total += time;
  return seconds_of(total);
}

double Profile::seconds(Operation operation) const {
  Clock::duration spent{};
  for (const ThreadTimes& thread : threads) spent += thread.spent[index_of(operation)];
  const double in_passes = passes == 0 ? 0.0 : seconds_of(spent) * seconds_of(elapsed) / seconds_of(team_time);
  return in_passes + seconds_of(outside[index_of(operation)]);
}

double Profile::waiting_s(size_t thread) const {
  return seconds_of(threads[thread].spent[index_of(Operation::Waiting)]);
}

double Profile::bytes_per_s(Operation operation) const {
  const double time_s = seconds(operation);
  return time_s > 0.0 ? static_cast<double>(bytes[index_of(operation)]) / time_s : 0.0;
}

double Profile::multiply_adds_per_s(Operation operation) const {
  const double time_s = seconds(operation);
  return time_s > 0.0 ? static_cast<double>(multiply_adds[index_of(operation)]) / time_s : 0.0;
}

// What this pass reads and multiplies.
void Pass::count_work(Profile& profile) const {
  const auto product = [&](Operation operation, const Matrix& m, int64_t rows) {
    profile.bytes[index_of(operation)] += static_cast<uint64_t>(m.tiles.n_tiles * m.tiles.tile_bytes);
    if (m.quantized() && rows > kFewRows)
      profile.multiply_adds[index_of(operation)] += rows * m.rows() * m.tiles.columns;
  };
  for (size_t layer = 0; layer < weights_.layers.size(); ++layer) {
    const LayerWeights& w = weights_.layers[layer];
    const LayerConfig& sizes = config_.layers[layer];
    for (const Matrix* m : {&w.query, &w.key, &w.value}) product(Operation::QueryKeyValue, *m, n_rows_);
    product(Operation::AttentionOutput, w.output, n_rows_);
    for (const Matrix* m : {&w.gate, &w.up}) product(Operation::GateUp, *m, n_rows_);
    product(Operation::Down, w.down, n_rows_);
    for (const QueryBlock& block : blocks_) {
      const KvLayout& layout = block.cache->layout;
      const int64_t head_bytes = sizes.head_dim * layout.element_bytes + (layout.coded() ? 4 : 0);
      const int64_t first = w.window > 0 ? std::max<int64_t>(0, block.first_position + 1 - w.window) : 0;
      const int64_t seen = block.first_position + block.n_rows - first;
      profile.bytes[index_of(Operation::Attention)] +=
          static_cast<uint64_t>(2 * sizes.n_kv_heads * seen * head_bytes);  // keys and values
    }
  }
  const auto asked = static_cast<int64_t>(asked_.size());
  if (asked > 0 && answers_ != Answers::Hidden) product(Operation::Head, weights_.head, asked);
  profile.rows += n_rows_;
}

}  // namespace attar::runtime
