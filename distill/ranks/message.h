// What rank 0 tells the others, in bytes: the same calls write it and read it. All ranks run one version of Attar on
// processors that write numbers alike.
#pragma once

#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "compress/token_dataset.h"
#include "distill/train.h"
#include "runtime/base/error.h"
#include "runtime/formats/config.h"

namespace attar {

class Message {
 public:
  Message() = default;                                                                   // to be written
  explicit Message(std::vector<char> bytes) : bytes_(std::move(bytes)), reads_(true) {}  // to be read
  std::vector<char>& bytes() { return bytes_; }

  // Of a message that is written the value is taken, of one that is read it is set.
  template <class T>
  requires std::is_trivially_copyable_v<T>
  void field(T& value) { raw(&value, sizeof value); }
  void field(std::string& text) { list(text); }
  template <class T>
  void field(std::vector<T>& values) {
    list(values);
  }
  template <class T>
  void field(std::optional<T>& value) {
    bool there = value.has_value();
    field(there);
    if (reads_) value = there ? std::optional<T>(std::in_place) : std::nullopt;
    if (there) field(*value);
  }
  template <class T>
  void field(std::map<std::string, T>& entries) {
    std::vector<std::string> names;
    for (const auto& [name, value] : entries) names.push_back(name);
    field(names);
    if (reads_) entries.clear();  // of usual entries
    for (const std::string& name : names) field(entries[name]);
  }
  void field(RopeScaling& scaling) {
    fields(scaling.type, scaling.factor, scaling.low_freq_factor, scaling.high_freq_factor,
           scaling.original_context_length);
  }
  void field(ModelConfig& config) {
    fields(config.family, config.vocab_size, config.width, config.context_length, config.layers, config.tied_embeddings,
           config.norm_epsilon, config.rope_theta, config.rope_theta_sliding, config.rope_scaling,
           config.sliding_window, config.attention_scale, config.kv);
  }
  void field(OtherReading& other) { fields(other.tokens, other.in_loss, other.chunks); }
  void field(TokenDocument& document) {
    fields(document.tokens, document.in_loss, document.signal_ids, document.signal_log_probs, document.sampled_signal,
           document.hidden.codes, document.hidden.scales, document.other, document.weights);
  }
  void field(TokenDataset& data) {
    fields(data.tokenizer_hash, data.signal_k, data.signal_numerics, data.documents, data.bos, data.sampled,
           data.hidden_width);
  }
  void field(DistillOptions& options) {
    visit_fields(options, [&](auto& value, const char*, const char*) { field(value); });
  }
  template <class... T>
  void fields(T&... values) {
    (field(values), ...);
  }

 private:
  template <class List>
  void list(List& values) {
    auto count = static_cast<uint64_t>(values.size());
    field(count);
    using Value = typename List::value_type;
    if constexpr (std::is_trivially_copyable_v<Value>) {
      if (reads_) values.resize(fitting(count, sizeof(Value)));
      raw(values.data(), values.size() * sizeof(Value));
    } else {
      if (reads_) values.resize(fitting(count, 1));
      for (Value& value : values) field(value);
    }
  }
  void raw(void* value, size_t size_bytes) {
    if (size_bytes == 0) return;
    if (reads_) {
      std::memcpy(value, bytes_.data() + at_, fitting(size_bytes, 1));
      at_ += size_bytes;
    } else {
      const auto* begin = static_cast<const char*>(value);
      bytes_.insert(bytes_.end(), begin, begin + size_bytes);
    }
  }
  // `count` values of so many bytes, where they are there.
  size_t fitting(uint64_t count, size_t size_bytes) const {
    if (count > (bytes_.size() - at_) / size_bytes)
      throw Error(ErrorKind::Failure, {.where = "a message of rank 0", .what = "is cut short"});
    return static_cast<size_t>(count);
  }

  std::vector<char> bytes_;
  bool reads_ = false;
  size_t at_ = 0;
};

}  // namespace attar
