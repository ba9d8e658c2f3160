#include "recipes/data/signal_capture.h"

#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <utility>

#include "compress/dataset/signal_store.h"
#include "compress/shards.h"
#include "compress/signal/sampled_signal.h"
#include "distill/head_loss.h"
#include "distill/train.h"
#include "runtime/base/error.h"
#include "runtime/base/host/float_environment.h"
#include "runtime/base/host/freed_memory.h"
#include "runtime/base/host/thread_pool.h"
#include "runtime/base/random.h"
#include "runtime/formats/numerics.h"
#include "runtime/judge/score.h"
#include "runtime/model/model.h"

namespace attar {
namespace {

constexpr uint64_t kSeed = 0x73616d706c65;  // of all samples alike: a signal serves trainings of any seed

// What is the same for all documents.
struct Capture {
  const TokenDataset& data;          // says of which kind the signal is
  const std::vector<int32_t>& kept;  // as of CaptureOptions
  const std::string& teacher;        // as the user named it
};
struct AskedDocument {
  TokenDocument& document;
  size_t place;  // in the data
};

bool is_asked(const TokenDocument& document, size_t token) {
  return token > 0 && document.in_loss[token] != 0;
}

// What the teacher predicts, over the tokens that the student has.
class KeptPrediction {
 public:
  KeptPrediction(const runtime::Prediction& of, const Capture& capture) : logits(of.logits), lse(of.lse) {
    if (capture.kept.empty()) return;
    chosen_.reserve(capture.kept.size());
    for (const int32_t id : capture.kept) chosen_.push_back(of.logits[static_cast<size_t>(id)]);
    logits = chosen_;
    lse = runtime::finite_log_sum_exp(capture.teacher, logits);
    log_share = lse - of.lse;
    cut = std::max(0.0, -std::expm1(log_share));
  }
  KeptPrediction(const KeptPrediction&) = delete;
  KeptPrediction& operator=(const KeptPrediction&) = delete;

  std::span<const float> logits;
  double lse;                         // of these
  double log_share = 0.0, cut = 0.0;  // of the whole mass the logarithm of theirs, and the mass of the others

 private:
  std::vector<float> chosen_;
};

// The signal of a document out of predictions of its tokens, which come in any order and from any thread, each once.
class PredictedSignal {
 public:
  PredictedSignal(const Capture& capture, const AskedDocument& asked)
      : capture_(capture), document_(asked.document), random_(kSeed, asked.place) {
    const size_t tokens = document_.tokens.size();
    const SampledForm& form = capture.data.sampled;
    if (form.samples > 0) {
      samples_.resize(tokens);
      return;
    }
    document_.signal_ids.assign(tokens * width(), -1);
    document_.signal_log_probs.assign(tokens * width(), -std::numeric_limits<float>::infinity());
  }

  // Tokens that are not in the loss are passed over.
  void add(const runtime::Prediction& of) {
    const auto at = static_cast<size_t>(of.position) + 1;
    if (!is_asked(document_, at)) return;
    const KeptPrediction prediction(of, capture_);
    capture_.data.sampled.samples > 0 ? add_sample(at, prediction) : add_top_k(at, prediction);
  }

  // No more comes.
  void finish() {
    for (const std::vector<uint8_t>& row : samples_)
      if (row.empty())
        encode_row({}, id_bits(), document_.sampled_signal);
      else
        document_.sampled_signal.insert(document_.sampled_signal.end(), row.begin(), row.end());
  }

 private:
  size_t width() const { return static_cast<size_t>(capture_.data.signal_k); }
  int id_bits() const { return static_cast<int>(capture_.data.sampled.id_bits); }

  // Entry (t, j) of document.signal_*: the j-th likeliest token at t; the last one what was cut.
  void add_top_k(size_t at, const KeptPrediction& of) {
    const bool some = !capture_.kept.empty();
    const int64_t k = capture_.data.signal_k,
                  named = some ? std::min(std::max<int64_t>(1, k - 1), static_cast<int64_t>(of.logits.size())) : k;
    runtime::TopK top = runtime::top_k_of(of.logits, named);
    if (some) {
      for (int32_t& id : top.ids) id = capture_.kept[static_cast<size_t>(id)];
      for (float& log_prob : top.log_probs) log_prob += static_cast<float>(of.log_share);
      if (named < k) top.ids.push_back(-1), top.log_probs.push_back(static_cast<float>(std::log(of.cut)));
    }
    const auto entry = static_cast<std::ptrdiff_t>(at * width());
    std::copy(top.ids.begin(), top.ids.end(), document_.signal_ids.begin() + entry);
    std::copy(top.log_probs.begin(), top.log_probs.end(), document_.signal_log_probs.begin() + entry);
  }

  // A row of sampled_signal.h. Draws are keyed by the document's place and the token, so they survive a resume.
  void add_sample(size_t at, const KeptPrediction& of) {
    const int64_t samples = capture_.data.sampled.samples;
    encode_row(sample_row(of.logits, of.lse, capture_.kept, of.cut, samples, random_.uniform(at)), id_bits(),
               samples_[at]);
  }

  const Capture& capture_;
  TokenDocument& document_;
  CounterRandom random_;
  std::vector<std::vector<uint8_t>> samples_;  // (T) bytes of each row; of a sampled signal alone
};

// state_before(t) (C): the final hidden state that predicts token t; asked for the tokens of the loss, in order.
template <class StateBefore>
void keep_states(const Capture& capture, TokenDocument& document, StateBefore&& state_before) {
  const FloatEnvironment floats;
  for (size_t t = 0; t < document.tokens.size(); ++t) {
    if (!is_asked(document, t)) {
      append_no_state(capture.data.hidden_width, document.hidden);
      continue;
    }
    const std::span<const float> state = state_before(t);
    if (!std::all_of(state.begin(), state.end(), [](float x) { return std::isfinite(x); }))
      throw input_error(capture.teacher, "the model's hidden states are not finite");
    append_state(state, document.hidden);
  }
}

// The teacher in the native runtime, which reads a document after the other.
class RuntimeTeacher {
 public:
  static constexpr int64_t kTokensAtOnce = 0;  // one document, however short

  RuntimeTeacher(const ModelFile& file, const Capture& capture, Numerics numerics, int threads)
      : capture_(capture),
        pool_(threads),
        model_(runtime::Model::load(file, {.numerics = numerics}, pool_)),
        work_(model_, pool_) {}

  void ask(const std::vector<AskedDocument>& documents, const Progress& progress) {
    for (const AskedDocument& asked : documents)
      capture_.data.hidden_width > 0 ? read_states(asked.document, progress) : read_predictions(asked, progress);
  }

 private:
  void read_predictions(const AskedDocument& asked, const Progress& progress) {
    PredictedSignal signal(capture_, asked);
    const auto visit = [&](const runtime::Prediction& p) { signal.add(p); };
    runtime::for_each_logits(model_, asked.document.tokens, work_, visit, progress);
    signal.finish();
  }

  // The head is not asked.
  void read_states(TokenDocument& document, const Progress& progress) {
    const FloatEnvironment floats;
    runtime::KvCache cache(model_);
    std::vector<runtime::Row> rows;
    for (size_t t = 0; t + 1 < document.tokens.size(); ++t)
      rows.push_back({&cache, document.tokens[t], is_asked(document, t + 1)});
    if (!rows.empty()) runtime::forward(model_, rows, work_, progress, runtime::Answers::Hidden);
    int64_t asked = 0;
    keep_states(capture_, document, [&](size_t) { return work_.hidden(asked++); });
  }

  const Capture& capture_;
  ThreadPool pool_;
  runtime::Model model_;
  runtime::Workspace work_;
};

// The teacher as it goes beside a student in training: several documents at once, then their logits a chunk at a time.
class PassTeacher {
 public:
  static constexpr int64_t kTokensAtOnce = kSliceTokens;

  PassTeacher(const ModelFile& file, const Capture& capture, const PassPlace& place, int threads)
      : capture_(capture),
        place_(place),
        team_(threads),
        model_(CausalLM::load(file)),
        pass_(model_, place, team_, Keeps::Nothing) {}

  void ask(const std::vector<AskedDocument>& documents, const Progress& progress) {
    const c10::NoGradGuard no_grad;
    std::vector<Piece> pieces;  // all but the last token, which predicts nothing
    for (const AskedDocument& asked : documents)
      if (const auto tokens = std::ssize(asked.document.tokens); tokens > 1)
        pieces.push_back({static_cast<int64_t>(asked.place), 0, tokens - 1});
    at::Tensor hidden;  // (N, C)
    if (!pieces.empty()) hidden = pass_.forward(to_batch(capture_.data, pieces));
    report(progress, {});
    capture_.data.hidden_width > 0 ? read_states(documents, hidden) : read_predictions(documents, hidden);
  }

 private:
  void read_states(const std::vector<AskedDocument>& documents, const at::Tensor& hidden) const {
    const at::Tensor states = hidden.defined() ? hidden.to(at::kCPU, at::kFloat).contiguous() : hidden;
    int64_t row = 0;  // the document's first
    for (const AskedDocument& asked : documents) {
      const auto state_before = [&](size_t token) {
        const int64_t width = states.size(1), at = row + static_cast<int64_t>(token) - 1;
        return std::span(states.const_data_ptr<float>() + at * width, static_cast<size_t>(width));
      };
      keep_states(capture_, asked.document, state_before);
      row += rows_of(asked.document);
    }
  }

  void read_predictions(const std::vector<AskedDocument>& documents, const at::Tensor& hidden) {
    struct Place {
      PredictedSignal* signal;
      int64_t position;
    };
    std::vector<PredictedSignal> signals;
    signals.reserve(documents.size());
    std::vector<Place> places;  // (N)
    for (const AskedDocument& asked : documents) {
      signals.emplace_back(capture_, asked);
      for (int64_t t = 0; t < rows_of(asked.document); ++t) places.push_back({&signals.back(), t});
    }
    const at::Tensor wanted = wanted_rows(documents, std::ssize(places));
    const auto visit = [&](int64_t row, std::span<const float> logits) {
      const Place& at = places[static_cast<size_t>(row)];
      at.signal->add({at.position, logits, runtime::finite_log_sum_exp(capture_.teacher, logits)});
    };
    const HeadLossOptions options{.losses = {}, .precision = place_.precision, .device = place_.device};
    if (hidden.defined()) for_each_logits_row(hidden, pass_.head(), wanted, options, team_, logits_, visit);
    for (PredictedSignal& signal : signals) signal.finish();
  }

  static int64_t rows_of(const TokenDocument& document) {
    return std::max<int64_t>(0, std::ssize(document.tokens) - 1);
  }

  // (N) bool: rows whose next token is in the loss
  static at::Tensor wanted_rows(const std::vector<AskedDocument>& documents, int64_t n) {
    at::Tensor wanted = at::zeros({n}, at::kBool);
    bool* row = wanted.mutable_data_ptr<bool>();
    for (const AskedDocument& asked : documents)
      for (size_t t = 1; t < asked.document.tokens.size(); ++t) *row++ = is_asked(asked.document, t);
    return wanted;
  }

  const Capture& capture_;
  PassPlace place_;
  Team team_;
  CausalLM model_;
  ModelPass pass_;
  HeadLossMemory logits_;
};

// Behind the documents that are read together with the one at `begin`. All of the data is cut so, whatever of it has a
// signal already: a capture that is gone on with reads the same ones together, and so to the same bits.
size_t end_of_group(const TokenDataset& data, size_t begin, int64_t tokens_at_once) {
  size_t end = begin;
  int64_t tokens = 0;
  do tokens += std::ssize(data.documents[end++].tokens);
  while (end < data.documents.size() && tokens + std::ssize(data.documents[end].tokens) <= tokens_at_once);
  return end;
}

template <class Teacher>
void capture_by(Teacher& teacher, const TokenDataset& data, size_t first,
                const std::function<void(TokenDocument)>& hand_on, const Progress& progress) {
  Event now{.stage = "teacher signal", .unit = "tokens", .total = data.token_count()};
  const Progress within_group = inside(progress, now);
  for (size_t begin = 0, end = 0; begin < data.documents.size(); begin = end) {
    end = end_of_group(data, begin, Teacher::kTokensAtOnce);
    std::vector<TokenDocument> group;
    std::vector<AskedDocument> asked;
    if (end > first) {
      for (size_t d = begin; d < end; ++d) group.push_back(with_signal(data, data.documents[d]));
      for (size_t d = begin; d < end; ++d)
        if (TokenDocument& document = group[d - begin]; document.lacks_signal()) asked.push_back({document, d});
    }
    if (!asked.empty()) teacher.ask(asked, within_group);
    for (size_t d = begin; d < end; ++d) {
      if (d >= first) hand_on(std::move(group[d - begin]));
      now.done += std::ssize(data.documents[d].tokens);
      report(progress, now);
    }
  }
}

}  // namespace

void capture_signal(const ModelFile& teacher, const TokenDataset& data, size_t first, const CaptureOptions& options,
                    const std::function<void(TokenDocument)>& hand_on, const Progress& progress) {
  const Capture capture{data, options.kept, teacher.source()};
  if (options.numerics != kTrainingNumerics) {
    const Numerics numerics = numerics_of(options.numerics, "distill.signal_numerics");
    RuntimeTeacher by_runtime(teacher, capture, numerics, options.threads);
    return capture_by(by_runtime, data, first, hand_on, progress);
  }
  const std::string device = options.place.device ? options.place.device->str() : "cpu";
  const auto work = [&] {
    const OwnKernels own_kernels;
    PassTeacher by_pass(teacher, capture, options.place, options.threads);
    capture_by(by_pass, data, first, hand_on, progress);
  };
  within_device_memory(device, "teacher signal", "signal_numerics: fp32 or deployed needs none of it", work);
  give_back_freed_memory();  // the teacher's, before a training that has none beside it
}

}  // namespace attar
