#include "recipes/data/teacher_signal.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>

#include "compress/dataset/signal_shards.h"
#include "compress/dataset/signal_store.h"
#include "compress/kept/text_hash.h"
#include "compress/signal/sampled_signal.h"
#include "compress/weight_source.h"
#include "runtime/base/error.h"
#include "runtime/base/host/float_environment.h"
#include "runtime/base/host/thread_pool.h"
#include "runtime/base/random.h"
#include "runtime/base/sha256.h"
#include "runtime/judge/score.h"
#include "runtime/model/model.h"

namespace attar {
namespace {

// What becomes of a document's signal at each token of its loss. Documents are no longer than a sequence.
class Reader {
 public:
  Reader(const runtime::Model& teacher, runtime::Workspace& work) : teacher_(teacher), work_(work) {}

  // keep(t, prediction) at each token t of the loss, in order; the others are passed over.
  template <class Keep>
  void read(const TokenDocument& document, const Progress& progress, Keep&& keep) {
    const auto visit = [&](const runtime::Prediction& p) {
      const auto at = static_cast<size_t>(p.position) + 1;
      if (document.in_loss[at] != 0) keep(at, p);
    };
    runtime::for_each_logits(teacher_, document.tokens, work_, visit, progress);
  }

 private:
  const runtime::Model& teacher_;
  runtime::Workspace& work_;
};

// The teacher's logits over the tokens that the student has.
class KeptTokens {
 public:
  KeptTokens(const runtime::Model& teacher, const std::vector<int32_t>& ids) : teacher_(teacher), ids_(ids) {}

  const std::vector<int32_t>& ids() const { return ids_; }  // empty: all
  std::span<const float> logits(const runtime::Prediction& p) {
    if (ids_.empty()) return p.logits;
    logits_.resize(ids_.size());
    for (size_t i = 0; i < ids_.size(); ++i) logits_[i] = p.logits[static_cast<size_t>(ids_[i])];
    return logits_;
  }
  double lse(const runtime::Prediction& p) const {  // behind logits(p)
    return ids_.empty() ? p.lse : runtime::finite_log_sum_exp(teacher_, logits_);
  }
  static double cut(const runtime::Prediction& p, double lse) { return std::max(0.0, -std::expm1(lse - p.lse)); }

 private:
  const runtime::Model& teacher_;
  const std::vector<int32_t>& ids_;
  std::vector<float> logits_;
};

// Entry (t, j) of document.signal_*: the j-th likeliest token at t; the last one what was cut.
void read_top_k(Reader& reader, KeptTokens& kept, int64_t k, TokenDocument& document, const Progress& progress) {
  const auto width = static_cast<size_t>(k);
  document.signal_ids.assign(document.tokens.size() * width, -1);
  document.signal_log_probs.assign(document.tokens.size() * width, -std::numeric_limits<float>::infinity());
  reader.read(document, progress, [&](size_t at, const runtime::Prediction& p) {
    const std::span<const float> logits = kept.logits(p);
    const int64_t named =
        kept.ids().empty() ? k : std::min(std::max<int64_t>(1, k - 1), static_cast<int64_t>(logits.size()));
    runtime::TopK top = runtime::top_k_of(logits, named);
    if (!kept.ids().empty()) {
      const double lse = kept.lse(p);
      for (int32_t& id : top.ids) id = kept.ids()[static_cast<size_t>(id)];
      for (float& log_prob : top.log_probs) log_prob += static_cast<float>(lse - p.lse);
      if (named < k) top.ids.push_back(-1), top.log_probs.push_back(static_cast<float>(std::log(kept.cut(p, lse))));
    }
    const auto entry = static_cast<std::ptrdiff_t>(at * width);
    std::copy(top.ids.begin(), top.ids.end(), document.signal_ids.begin() + entry);
    std::copy(top.log_probs.begin(), top.log_probs.end(), document.signal_log_probs.begin() + entry);
  });
}

// Rows of sampled_signal.h. Draws are keyed by the document's place and the token, so they survive a resume.
void read_sample(Reader& reader, KeptTokens& kept, const SampledForm& form, uint64_t place, TokenDocument& document,
                 const Progress& progress) {
  constexpr uint64_t kSeed = 0x73616d706c65;  // of all caches alike: a cache serves trainings of any seed
  const CounterRandom random(kSeed, place);
  const int id_bits = static_cast<int>(form.id_bits);
  size_t next = 0;
  const auto skip_to = [&](size_t token) {
    for (; next < token; ++next) encode_row({}, id_bits, document.sampled_signal);
  };
  reader.read(document, progress, [&](size_t at, const runtime::Prediction& p) {
    skip_to(at);
    const std::span<const float> logits = kept.logits(p);
    const double lse = kept.lse(p), cut = kept.ids().empty() ? 0.0 : kept.cut(p, lse);
    encode_row(sample_row(logits, lse, kept.ids(), cut, form.samples, random.uniform(at)), id_bits,
               document.sampled_signal);
    ++next;
  });
  skip_to(document.tokens.size());
}

// The final hidden state before each token of the loss: the head is not asked.
void read_states(const runtime::Model& teacher, runtime::Workspace& work, TokenDocument& document,
                 const Progress& progress) {
  const FloatEnvironment floats;
  const auto n = std::ssize(document.tokens);
  runtime::KvCache cache(teacher);
  std::vector<runtime::Row> rows;
  const auto is_asked = [&](int64_t t) { return t > 0 && document.in_loss[static_cast<size_t>(t)] != 0; };
  for (int64_t t = 0; t + 1 < n; ++t)
    rows.push_back({&cache, document.tokens[static_cast<size_t>(t)], is_asked(t + 1)});
  if (!rows.empty()) runtime::forward(teacher, rows, work, progress, runtime::Answers::Hidden);
  int64_t asked = 0;
  for (int64_t t = 0; t < n; ++t) {
    if (!is_asked(t)) {
      append_no_state(teacher.config().width, document.hidden);
      continue;
    }
    const std::span<const float> state = work.hidden(asked++);
    if (!std::all_of(state.begin(), state.end(), [](float x) { return std::isfinite(x); }))
      throw input_error(teacher.source(), "the model's hidden states are not finite");
    append_state(state, document.hidden);
  }
}

// All that decides the signal of `data` beside the teacher and the text: how it is made, and where it is there already.
std::string making_hash(const TokenDataset& data, const std::vector<int32_t>& kept, int64_t k,
                        const DistillOptions& options) {
  Sha256 hash;
  hash.add(std::to_string(k) + ";" + std::to_string(options.sequence_tokens) + ";" + options.signal_numerics);
  if (options.signal == "sampled") hash.add(";sampled " + std::to_string(options.signal_samples));
  if (options.signal == "hidden") hash.add(";hidden");
  hash.add(std::as_bytes(std::span(kept)));
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

// How the teacher is asked.
struct Asking {
  const std::vector<int32_t>& kept;
  const DistillOptions& options;
  int threads;
};

// Asks the teacher about the documents whose signal is not on disk yet.
void make_signal(const ModelFile& teacher, const TokenDataset& data, const Asking& how, SignalShards& shards,
                 const Progress& progress) {
  ThreadPool pool(how.threads);
  const Numerics numerics = numerics_of(how.options.signal_numerics, "distill.signal_numerics");
  const runtime::Model model = runtime::Model::load(teacher, {.numerics = numerics}, pool);
  runtime::Workspace work(model, pool);
  Reader reader(model, work);
  KeptTokens kept_tokens(model, how.kept);
  Event now{.stage = "teacher signal", .unit = "tokens", .total = data.token_count()};
  const Progress within_document = inside(progress, now);
  const auto ask = [&](TokenDocument& document, size_t place) {
    if (data.hidden_width > 0)
      read_states(model, work, document, within_document);
    else if (data.sampled.samples > 0)
      read_sample(reader, kept_tokens, data.sampled, place, document, within_document);
    else
      read_top_k(reader, kept_tokens, data.signal_k, document, within_document);
  };
  const auto before = static_cast<size_t>(shards.documents());  // of a making that was broken off
  try {
    for (size_t i = 0; i < data.documents.size(); ++i) {
      if (i >= before) {
        TokenDocument document = with_signal(data, data.documents[i]);
        if (document.lacks_signal()) ask(document, i);
        shards.add(std::move(document));
      }
      now.done += static_cast<int64_t>(data.documents[i].tokens.size());
      report(progress, now);
    }
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
  data.origin = {teacher.content_hash(), text_hash(data), making_hash(data, kept, k, options)};
  SignalShards shards(folder + "/" + cache_name(data.origin), data, teacher.config().vocab_size);
  const std::string damage = shards.index() + ": is damaged at its checksum; the signal is made anew";
  if (shards.was_damaged())
    report(progress, {.stage = "teacher signal", .unit = "tokens", .total = data.token_count(), .message = damage});
  const std::string from = "read from " + shards.index();
  if (!shards.whole())
    make_signal(teacher, data, {kept, options, threads}, shards, progress);
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
