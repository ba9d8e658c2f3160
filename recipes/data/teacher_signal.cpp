#include "recipes/data/teacher_signal.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>

#include "recipes/data/kept_documents.h"
#include "runtime/base/error.h"
#include "runtime/base/host/thread_pool.h"
#include "runtime/base/sha256.h"
#include "runtime/judge/score.h"
#include "runtime/model/model.h"

namespace attar {
namespace {

// The teacher over the tokens that the student has.
class Reader {
 public:
  Reader(const runtime::Model& teacher, const std::vector<int32_t>& kept, int64_t k, int64_t sequence_tokens,
         runtime::Workspace& work)
      : teacher_(teacher), kept_(kept), k_(k), sequence_tokens_(static_cast<size_t>(sequence_tokens)), work_(work) {}

  // Entry (t, j) of document.signal_*: the j-th likeliest token at t. Only tokens of the loss get one.
  void read(TokenDocument& document, const Progress& progress) {
    const size_t n = document.tokens.size(), width = static_cast<size_t>(k_);
    document.signal_ids.assign(n * width, -1);
    document.signal_log_probs.assign(n * width, -std::numeric_limits<float>::infinity());
    const std::span<const int32_t> tokens(document.tokens);
    for (size_t begin = 0; begin + 1 < n; begin += sequence_tokens_) {
      const auto piece = tokens.subspan(begin, std::min(sequence_tokens_, n - begin));
      const auto visit = [&](const runtime::Prediction& p) {
        const size_t at = begin + static_cast<size_t>(p.position) + 1;
        if (document.in_loss[at] == 0) return;
        const runtime::TopK top = top_k(p);
        const auto entry = static_cast<std::ptrdiff_t>(at * width);
        std::copy(top.ids.begin(), top.ids.end(), document.signal_ids.begin() + entry);
        std::copy(top.log_probs.begin(), top.log_probs.end(), document.signal_log_probs.begin() + entry);
      };
      runtime::for_each_logits(teacher_, piece, work_, visit, progress);
    }
  }

 private:
  runtime::TopK top_k(const runtime::Prediction& p) {
    if (kept_.empty()) return runtime::top_k_of(p.logits, k_);
    kept_logits_.resize(kept_.size());
    for (size_t i = 0; i < kept_.size(); ++i) kept_logits_[i] = p.logits[static_cast<size_t>(kept_[i])];
    const double kept_lse = runtime::finite_log_sum_exp(teacher_, kept_logits_);
    const int64_t named = std::min(std::max<int64_t>(1, k_ - 1), static_cast<int64_t>(kept_.size()));
    runtime::TopK top = runtime::top_k_of(kept_logits_, named);
    for (int32_t& id : top.ids) id = kept_[static_cast<size_t>(id)];
    for (float& log_prob : top.log_probs) log_prob += static_cast<float>(kept_lse - p.lse);
    if (named == k_) return top;  // no room to say what was cut
    top.ids.push_back(-1);
    top.log_probs.push_back(static_cast<float>(std::log(std::max(0.0, -std::expm1(kept_lse - p.lse)))));
    return top;
  }

  const runtime::Model& teacher_;
  const std::vector<int32_t>& kept_;
  int64_t k_;
  size_t sequence_tokens_;
  runtime::Workspace& work_;
  std::vector<float> kept_logits_;
};

std::string cache_name(const ModelFile& teacher, const TokenDataset& data, const std::vector<int32_t>& kept, int64_t k,
                       const DistillOptions& options) {
  Sha256 hash;
  hash.add(teacher.content_hash() + ";" + std::to_string(k) + ";" + std::to_string(options.sequence_tokens) + ";" +
           options.signal_numerics);
  hash.add(std::as_bytes(std::span(kept)));
  for (const TokenDocument& document : data.documents) {
    hash.add(";" + std::to_string(document.tokens.size()) + (document.lacks_signal() ? "" : "s"));
    hash.add(std::as_bytes(std::span(document.tokens)));
    hash.add(std::as_bytes(std::span(document.in_loss)));
  }
  return "signal-" + hash.hex().substr(0, 16) + ".h5";
}

bool same_text(const TokenDocument& a, const TokenDocument& b) {
  return a.tokens == b.tokens && a.in_loss == b.in_loss;
}

// A cache is named after all that decides it; a name alone is not believed.
TokenDataset read_cache(const std::string& path, const TokenDataset& data, const DistillOptions& options,
                        int64_t vocab_size) {
  TokenDataset cached = read_dataset(path, data.tokenizer_hash, vocab_size);
  if (cached.signal_numerics != options.signal_numerics || cached.documents_without_signal() > 0 ||
      !std::equal(data.documents.begin(), data.documents.end(), cached.documents.begin(), cached.documents.end(),
                  same_text))
    throw input_error(path, "is the signal of other data", "", "", "delete it: it is made anew");
  return cached;
}

}  // namespace

bool needs_teacher_signal(const TokenDataset& data, const DistillOptions& options) {
  return options.signal == "cached" && data.documents_without_signal() > 0;
}

TokenDataset with_teacher_signal(const ModelFile& teacher, TokenDataset data, const std::vector<int32_t>& kept,
                                 const DistillOptions& options, const std::string& folder, int threads,
                                 const Progress& progress) {
  if (data.longest_tokens() > options.sequence_tokens) data = cut_documents(data, options.sequence_tokens);
  const int64_t vocabulary = kept.empty() ? teacher.config().vocab_size : static_cast<int64_t>(kept.size());
  const int64_t own_k = std::min(options.signal_top_k, vocabulary) + (kept.empty() ? 0 : 1);  // one for what was cut
  const int64_t k = data.signal_k > 0 ? data.signal_k : own_k;
  const std::string path = folder + "/" + cache_name(teacher, data, kept, k, options);
  if (data.signal_k > 0 && data.signal_numerics != options.signal_numerics)
    throw usage_error("distill.signal_numerics", "part of the data has a signal of other numerics",
                      data.signal_numerics, options.signal_numerics);
  if (std::filesystem::exists(path)) {
    const std::string from = "read from " + path;
    report(progress, {.stage = "teacher signal",
                      .unit = "tokens",
                      .done = data.token_count(),
                      .total = data.token_count(),
                      .detail = from});
    TokenDataset signalled = read_cache(path, data, options, teacher.config().vocab_size);
    signalled.bos = data.bos;
    return signalled;
  }

  ThreadPool pool(threads);
  const Numerics numerics = numerics_of(options.signal_numerics, "distill.signal_numerics");
  const runtime::Model model = runtime::Model::load(teacher, {.numerics = numerics}, pool);
  runtime::Workspace work(model, pool);
  Reader reader(model, kept, k, options.sequence_tokens, work);
  data.signal_k = k;
  data.signal_numerics = options.signal_numerics;
  Event now{.stage = "teacher signal", .unit = "tokens", .total = data.token_count()};
  const Progress within_document = inside(progress, now);
  const std::string steps = path.substr(0, path.rfind('.'));
  KeptDocuments written(steps, data, teacher.config().vocab_size);
  std::string none;
  const std::vector<TokenDocument> before = written.take(none);
  if (!std::equal(before.begin(), before.end(), data.documents.begin(),
                  data.documents.begin() + static_cast<std::ptrdiff_t>(std::min(before.size(), data.documents.size())),
                  same_text))
    throw input_error(path, "is the signal of other data", "", "", "delete " + folder + ": it is made anew");
  const auto ask = [&](TokenDocument& document) {
    if (document.lacks_signal()) reader.read(document, within_document);
    written.add(document);
    if (written.due()) written.keep("{}");
  };
  try {
    for (size_t i = 0; i < data.documents.size(); ++i) {
      TokenDocument& document = data.documents[i];
      if (i < before.size())
        document = before[i];
      else
        ask(document);
      now.done += static_cast<int64_t>(document.tokens.size());
      report(progress, now);
    }
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::Interrupted) written.keep("{}");
    throw;
  }
  std::filesystem::create_directories(folder);
  write_dataset(path, data);
  remove_kept_documents(steps);
  return data;
}

SignalRecord signal_record(const TrainResult& trained, const TokenDataset& data, const DistillOptions& options) {
  SignalRecord record;
  if (!trained.gaps) return record;
  const SignalGaps& gaps = *trained.gaps;
  record.results = nlohmann::ordered_json({{"signal_numerics", data.signal_numerics},
                                           {"unsignalled", options.unsignalled},
                                           {"unsignalled_share", gaps.unsignalled},
                                           {"dropped_mass", gaps.dropped_mass}})
                       .dump();
  char line[200];
  if (gaps.unsignalled > 0.0) {
    std::snprintf(line, sizeof line,
                  "the signal says nothing about %.2f %% of the tokens, whose text the student spells in another way; "
                  "they are learned by %s",
                  100.0 * gaps.unsignalled, options.unsignalled == "online" ? "the online teacher" : "cross_entropy");
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
