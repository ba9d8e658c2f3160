#include "recipes/data/teacher_signal.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "compress/dataset/signal_shards.h"
#include "compress/dataset/signal_store.h"
#include "compress/kept/text_hash.h"
#include "compress/signal/sampled_signal.h"
#include "compress/weight_source.h"
#include "distill/pass/device.h"
#include "recipes/data/signal_capture.h"
#include "runtime/base/error.h"
#include "runtime/base/sha256.h"

namespace attar {
namespace {

// Where the training computes, and in what it multiplies.
PassPlace place_of(const DistillOptions& options) {
  const PassDevice device = pass_device(options.device);
  return {precision_on(device, options.precision), device};
}

// All that decides the signal of `data` beside the teacher and the text: how it is made, and where it is there already.
std::string making_hash(const TokenDataset& data, const CaptureOptions& how, int64_t k, const DistillOptions& options) {
  Sha256 hash;
  hash.add(std::to_string(k) + ";" + std::to_string(options.sequence_tokens) + ";" + options.signal_numerics);
  if (options.signal == "sampled") hash.add(";sampled " + std::to_string(options.signal_samples));
  if (options.signal == "hidden") hash.add(";hidden");
  if (how.numerics == kTrainingNumerics)
    hash.add(";" + device_here(options.device) + (how.place.precision == Precision::Bf16 ? " bf16" : " fp32"));
  hash.add(std::as_bytes(std::span(how.kept)));
  for (const TokenDocument& document : data.documents) hash.add(document.lacks_signal() ? "-" : "s");
  return hash.hex();
}

std::string cache_name(const DatasetOrigin& origin) {
  return "signal-" + sha256(origin.teacher_hash + origin.text_hash + origin.made_by).substr(0, 16);
}

void forget_signal(TokenDataset& data) {
  data.signal_k = 0;
  data.signal_numerics.clear();
  data.sampled = {}, data.hidden_width = 0;
  data.store.reset();
  for (TokenDocument& document : data.documents) document.forget_signal();
}

// Asks the teacher about the documents whose signal is not on disk yet.
void make_signal(const ModelFile& teacher, const TokenDataset& data, const CaptureOptions& how, SignalShards& shards,
                 const Progress& progress) {
  const auto before = static_cast<size_t>(shards.documents());  // of a making that was broken off
  const auto keep = [&](TokenDocument document) { shards.add(std::move(document)); };
  try {
    capture_signal(teacher, data, before, how, keep, progress);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::Interrupted) shards.keep();
    throw;
  }
  shards.finish();
}

// The data with its signal where `shards` has it.
TokenDataset on_disk(TokenDataset data, const SignalShards& shards) {
  if (shards.documents() != std::ssize(data.documents))
    throw input_error(shards.index(), "is the signal of other data", "", "", "delete it: the signal is made anew");
  for (size_t d = 0; d < data.documents.size(); ++d) {
    TokenDocument& document = data.documents[d];
    const bool there = document.has_signal() || document.lacks_signal();
    document.forget_signal();
    if (there) document.stored.place = static_cast<int64_t>(d);
  }
  data.store = shards.store();
  data.store_ids.clear();
  return data;
}

}  // namespace

bool needs_teacher_signal(const TokenDataset& data, const DistillOptions& options) {
  if (options.signal == "sampled" || options.signal == "hidden")
    return true;  // of what the teacher wrote too, whose signal is of another kind
  return options.signal == "cached" && data.documents_without_signal() > 0;
}

TokenDataset with_teacher_signal(const ModelFile& teacher, TokenDataset data, const std::vector<int32_t>& kept,
                                 const DistillOptions& options, const std::string& folder, int threads,
                                 const Progress& progress) {
  if (data.longest_tokens() > options.sequence_tokens) data = cut_documents(data, options.sequence_tokens);
  const bool sampled = options.signal == "sampled", hidden = options.signal == "hidden";
  if (sampled || hidden) forget_signal(data);
  if (sampled) data.sampled = {options.signal_samples, id_bits_of(teacher.config().vocab_size)};
  if (hidden) data.hidden_width = teacher.config().width;
  const int64_t vocabulary = kept.empty() ? teacher.config().vocab_size : static_cast<int64_t>(kept.size());
  const int64_t own_k = std::min(options.signal_top_k, vocabulary) + (kept.empty() ? 0 : 1);  // one for what was cut
  const int64_t k = sampled || hidden ? 0 : data.signal_k > 0 ? data.signal_k : own_k;
  if (data.signal_k > 0 && data.signal_numerics.empty())
    throw usage_error("distill.signal", "part of the data has the signal of an endpoint, part has none",
                      "online, or text of that endpoint alone");
  if (data.signal_k > 0 && data.signal_numerics != options.signal_numerics)
    throw usage_error("distill.signal_numerics", "part of the data has a signal of other numerics",
                      data.signal_numerics, options.signal_numerics);
  data.signal_k = k, data.signal_numerics = options.signal_numerics;
  CaptureOptions how{.kept = kept, .numerics = options.signal_numerics, .threads = threads};
  if (how.numerics == kTrainingNumerics) how.place = place_of(options);
  data.origin = {teacher.content_hash(), text_hash(data), making_hash(data, how, k, options)};
  SignalShards shards(folder + "/" + cache_name(data.origin), data, teacher.config().vocab_size);
  const std::string damage = shards.index() + ": is damaged at its checksum; the signal is made anew";
  if (shards.was_damaged())
    report(progress, {.stage = "teacher signal", .unit = "tokens", .total = data.token_count(), .message = damage});
  const std::string from = "read from " + shards.index();
  if (!shards.whole())
    make_signal(teacher, data, how, shards, progress);
  else
    report(progress, {.stage = "teacher signal",
                      .unit = "tokens",
                      .done = data.token_count(),
                      .total = data.token_count(),
                      .detail = from});
  return on_disk(std::move(data), shards);
}

at::Tensor head_for_states(const ModelFile& teacher, const TokenDataset& data) {
  if (data.hidden_width == 0) return {};
  if (data.hidden_width != teacher.config().width)
    throw input_error(teacher.source(), "is not the teacher of the hidden states that are kept",
                      std::to_string(data.hidden_width) + " wide", std::to_string(teacher.config().width));
  return WeightSource(teacher).tensor(spec_of(teacher.config(), head_role(teacher.config())));
}

double signal_bytes_per_token(const TokenDataset& data) {
  if (data.store != nullptr) return data.store->bytes_per_loss_token();
  size_t bytes = 0;
  for (const TokenDocument& document : data.documents)
    bytes +=
        document.sampled_signal.size() + document.hidden.codes.size() + sizeof(float) * document.hidden.scales.size();
  return static_cast<double>(bytes) / static_cast<double>(std::max<int64_t>(1, data.loss_token_count()));
}

SignalRecord signal_record(const TrainResult& trained, const TokenDataset& data, const DistillOptions& options) {
  SignalRecord record;
  if (!trained.gaps) return record;
  const SignalGaps& gaps = *trained.gaps;
  nlohmann::ordered_json results = nlohmann::ordered_json::object();
  if (!data.signal_numerics.empty()) results["signal_numerics"] = data.signal_numerics;
  results["unsignalled"] = options.unsignalled;
  results["unsignalled_share"] = gaps.unsignalled;
  if (data.hidden_width == 0) results["dropped_mass"] = gaps.dropped_mass;  // which hidden states do not say
  if (data.sampled.samples > 0 || data.hidden_width > 0)
    results["signal_bytes_per_token"] = signal_bytes_per_token(data);
  record.results = results.dump();
  char line[200];
  if (gaps.unsignalled > 0.0) {
    std::snprintf(line, sizeof line,
                  "the signal says nothing about %.2f %% of the tokens, whose text %s in another way; "
                  "they are learned by %s",
                  100.0 * gaps.unsignalled,
                  data.signal_numerics.empty() ? "student or endpoint spell" : "the student spells",
                  options.unsignalled == "online" ? "the online teacher" : "cross_entropy");
    record.notes.emplace_back(line);
  }
  if (gaps.dropped_mass > 0.0) {
    std::snprintf(line, sizeof line,
                  "%.3g %% of the teacher's mass is on tokens that the student does not have; its signal is "
                  "renormalised without them",
                  100.0 * gaps.dropped_mass);
    record.notes.emplace_back(line);
  }
  return record;
}

}  // namespace attar
