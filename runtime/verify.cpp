#include "runtime/verify.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "runtime/base/error.h"
#include "runtime/base/sha256.h"
#include "runtime/model.h"
#include "runtime/vocabulary_math.h"

namespace attar::runtime {
namespace {

constexpr size_t kPassTokens = 64;  // teacher tokens whose logits are held at once

// Which teacher token each student token is. Empty: the vocabularies are the same.
std::vector<int32_t> teacher_ids(const Tokenizer& teacher, const Tokenizer& student, const std::string& where) {
  if (teacher.hash() == student.hash()) return {};
  std::unordered_map<std::string_view, int32_t> by_text;
  for (size_t id = 0; id < teacher.data().tokens.size(); ++id)
    by_text.emplace(teacher.data().tokens[id].text, static_cast<int32_t>(id));
  std::vector<int32_t> ids;
  for (const Token& token : student.data().tokens) {
    const auto found = by_text.find(token.text);
    if (teacher.data().kind != student.data().kind || found == by_text.end())
      throw input_error(where, "the student's vocabulary is not part of the teacher's",
                        "the same tokenizer or one trimmed from it", printable(token.text),
                        "verify compares models of one vocabulary family");
    ids.push_back(found->second);
  }
  return ids;
}

// A text as one model's tokens and where each of them ends in it, in bytes. A BOS ends at 0.
struct Tokens {
  std::vector<int32_t> ids;
  std::vector<size_t> ends;

  Tokens(const Tokenizer& tokenizer, const std::string& text) : ids(tokenizer.encode(text)) {
    size_t at = 0;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (!tokenizer.is_control(ids[i])) at += tokenizer.token_bytes(ids[i]).size();
      ends.push_back(at);
    }
  }
};

// A stretch of text that both tokenizations cut at its two ends: tokens [begin, end) of each.
struct Stretch {
  size_t teacher_begin, teacher_end, student_begin, student_end;
};

// Consecutive stretches of at most `most` teacher tokens where the cuts allow.
std::vector<Stretch> stretches(const Tokens& teacher, const Tokens& student, const Stretch& whole, size_t most) {
  std::vector<Stretch> out;
  Stretch current{whole.teacher_begin, whole.teacher_begin, whole.student_begin, whole.student_begin};
  size_t s = whole.student_begin;
  for (size_t t = whole.teacher_begin; t < whole.teacher_end; ++t) {
    while (s < whole.student_end && student.ends[s] < teacher.ends[t]) ++s;
    const bool common = s < whole.student_end && student.ends[s] == teacher.ends[t];
    if (!common) continue;
    if (t + 1 - current.teacher_begin > most && current.teacher_end > current.teacher_begin) {
      out.push_back(current);
      current = {current.teacher_end, 0, current.student_end, 0};
    }
    current.teacher_end = t + 1;
    current.student_end = s + 1;
  }
  if (current.teacher_end > current.teacher_begin) out.push_back(current);
  return out;
}

// One position that both models predict.
struct Position {
  double kl = 0, dropped = 0, teacher_nll = 0, student_nll = 0, overlap5 = 0;
  bool same_top = false;
};

// Sums over all of a model's own tokens, for bits per byte.
struct ByteScore {
  double nats = 0;
  double bytes = 0;
};

class Judge {
 public:
  Judge(const ModelFile& teacher, const ModelFile& student, Numerics numerics, ThreadPool& threads)
      : threads_(threads),
        teacher_(Model::load(teacher, {.numerics = numerics}, threads)),
        student_(Model::load(student, {.numerics = numerics}, threads)),
        teacher_work_(teacher_, threads),
        student_work_(student_, threads),
        kept_(teacher_ids(teacher_.tokenizer(), student_.tokenizer(), student.source())),
        restricted_(static_cast<size_t>(threads.size())) {}

  const Tokenizer& teacher_tokenizer() const { return teacher_.tokenizer(); }
  const Tokenizer& student_tokenizer() const { return student_.tokenizer(); }

  void score_window(const Tokens& teacher, const Tokens& student, const Stretch& window) {
    KvCache teacher_cache(teacher_), student_cache(student_);
    for (const Stretch& part : stretches(teacher, student, window, kPassTokens)) {
      run(teacher_, teacher_cache, teacher, part.teacher_begin, part.teacher_end, teacher_work_);
      run(student_, student_cache, student, part.student_begin, part.student_end, student_work_);
      score_part(teacher, student, window, part);
    }
    ++windows_;
  }

  int64_t scored() const { return static_cast<int64_t>(positions_.size()); }
  int64_t windows() const { return windows_; }
  int64_t skipped() const { return skipped_; }

  Fidelity fidelity() const;

 private:
  static void run(const Model& model, KvCache& cache, const Tokens& tokens, size_t begin, size_t end, Workspace& work) {
    std::vector<Row> rows;
    for (size_t i = begin; i < end; ++i) rows.push_back({&cache, tokens.ids[i], true});
    forward(model, rows, work);
  }

  // Row i of a part predicts token i + 1, which must lie in the window; pairs are those of the same bytes.
  void score_part(const Tokens& teacher, const Tokens& student, const Stretch& window, const Stretch& part) {
    struct Pair {
      size_t teacher, student;  // the predicted tokens
    };
    std::vector<Pair> pairs;
    size_t s = part.student_begin;
    for (size_t t = part.teacher_begin; t < part.teacher_end && t + 1 < window.teacher_end; ++t) {
      while (s < part.student_end && student.ends[s] < teacher.ends[t]) ++s;
      const bool aligned = s < part.student_end && s + 1 < window.student_end && student.ends[s] == teacher.ends[t] &&
                           student.ends[s + 1] == teacher.ends[t + 1];
      if (aligned)
        pairs.push_back({t + 1, s + 1});
      else
        ++skipped_;
    }
    const size_t first = positions_.size();
    positions_.resize(first + pairs.size());
    threads_.run([&](int thread) {
      for (size_t i = static_cast<size_t>(thread); i < pairs.size(); i += static_cast<size_t>(threads_.size()))
        positions_[first + i] = compare(
            teacher_work_.logits(static_cast<int64_t>(pairs[i].teacher - 1 - part.teacher_begin)),
            student_work_.logits(static_cast<int64_t>(pairs[i].student - 1 - part.student_begin)),
            teacher.ids[pairs[i].teacher], student.ids[pairs[i].student], restricted_[static_cast<size_t>(thread)]);
    });
    add_bytes(teacher, part.teacher_begin, part.teacher_end, window.teacher_end, teacher_work_, teacher_bytes_);
    add_bytes(student, part.student_begin, part.student_end, window.student_end, student_work_, student_bytes_);
  }

  void add_bytes(const Tokens& tokens, size_t begin, size_t end, size_t window_end, Workspace& work, ByteScore& score) {
    std::vector<double> nats(end - begin, 0.0);
    threads_.run([&](int thread) {
      for (size_t i = begin + static_cast<size_t>(thread); i < end && i + 1 < window_end;
           i += static_cast<size_t>(threads_.size())) {
        const std::span<const float> logits = work.logits(static_cast<int64_t>(i - begin));
        nats[i - begin] = log_sum_exp(logits) - static_cast<double>(logits[static_cast<size_t>(tokens.ids[i + 1])]);
      }
    });
    for (size_t i = begin; i < end && i + 1 < window_end; ++i) {
      score.nats += nats[i - begin];
      score.bytes += static_cast<double>(tokens.ends[i + 1] - tokens.ends[i]);
    }
  }

  Position compare(std::span<const float> teacher, std::span<const float> student, int32_t teacher_next,
                   int32_t student_next, std::vector<float>& scratch) const {
    Position out;
    const double teacher_lse = log_sum_exp(teacher), student_lse = log_sum_exp(student);
    out.teacher_nll = teacher_lse - static_cast<double>(teacher[static_cast<size_t>(teacher_next)]);
    out.student_nll = student_lse - static_cast<double>(student[static_cast<size_t>(student_next)]);
    double kept_lse = teacher_lse;
    if (!kept_.empty()) {  // the teacher restricted to what the student can say, renormalised
      scratch.resize(kept_.size());
      for (size_t i = 0; i < kept_.size(); ++i) scratch[i] = teacher[static_cast<size_t>(kept_[i])];
      teacher = scratch;
      kept_lse = log_sum_exp(teacher);
      out.dropped = std::max(0.0, 1.0 - std::exp(kept_lse - teacher_lse));
    }
    out.kl = kl_divergence(teacher, kept_lse, student, student_lse);
    const std::vector<int32_t> a = top_indices(teacher, 5), b = top_indices(student, 5);
    out.same_top = a[0] == b[0];
    for (const int32_t id : a)
      out.overlap5 += std::find(b.begin(), b.end(), id) != b.end() ? 1.0 / static_cast<double>(a.size()) : 0.0;
    return out;
  }

  ThreadPool& threads_;
  Model teacher_, student_;
  Workspace teacher_work_, student_work_;
  std::vector<int32_t> kept_;
  std::vector<std::vector<float>> restricted_;  // scratch, one a thread
  std::vector<Position> positions_;
  ByteScore teacher_bytes_, student_bytes_;
  int64_t windows_ = 0, skipped_ = 0;
};

Spread spread_of(std::vector<double> values) {
  Spread spread;
  const auto n = static_cast<double>(values.size());
  double sum = 0.0, squares = 0.0;
  for (const double v : values) sum += v;
  spread.mean = sum / n;
  for (const double v : values) squares += (v - spread.mean) * (v - spread.mean);
  spread.stderr_ = n > 1 ? std::sqrt(squares / (n - 1) / n) : 0.0;
  std::sort(values.begin(), values.end());
  const auto at = [&](double share) { return values[static_cast<size_t>(share * (n - 1))]; };
  spread.p50 = at(0.5), spread.p90 = at(0.9), spread.p99 = at(0.99), spread.max = values.back();
  return spread;
}

Fidelity Judge::fidelity() const {
  Fidelity out;
  double teacher_nll = 0, student_nll = 0;
  for (const Position& position : positions_) {
    out.kl_values.push_back(position.kl);
    teacher_nll += position.teacher_nll;
    student_nll += position.student_nll;
    out.dropped_mass += position.dropped;
    out.top1_agreement += position.same_top ? 1.0 : 0.0;
    out.top5_overlap += position.overlap5;
  }
  const auto n = static_cast<double>(positions_.size());
  out.kl = spread_of(out.kl_values);
  out.top1_agreement /= n;
  out.top5_overlap /= n;
  out.dropped_mass /= n;
  const auto pair = [](double teacher, double student) { return Pair{teacher, student, student / teacher}; };
  out.perplexity = pair(std::exp(teacher_nll / n), std::exp(student_nll / n));
  const auto bits = [](const ByteScore& score) { return score.nats / std::log(2.0) / score.bytes; };
  out.bits_per_byte = pair(bits(teacher_bytes_), bits(student_bytes_));
  return out;
}

int64_t count_tokens(const Tokenizer& tokenizer, const std::vector<Document>& text, int64_t limit) {
  int64_t total = 0;
  for (const Document& document : text) total += static_cast<int64_t>(tokenizer.encode(document_text(document)).size());
  return limit > 0 ? std::min(limit, total) : total;
}

Fidelity run_mode(const ModelFile& teacher, const ModelFile& student, Numerics numerics,
                  const std::vector<Document>& text, const VerifyOptions& options, ThreadPool& threads,
                  VerifyResults& results, const Progress& progress) {
  Judge judge(teacher, student, numerics, threads);
  const int64_t total = count_tokens(judge.teacher_tokenizer(), text, options.max_tokens);
  const auto enough = [&] { return options.max_tokens > 0 && judge.scored() >= options.max_tokens; };
  const char* stage = numerics == Numerics::Fp32 ? "verify fp32" : "verify deployed";
  for (const Document& document : text) {
    if (enough()) break;
    const std::string plain = document_text(document);
    const Tokens teacher_tokens(judge.teacher_tokenizer(), plain), student_tokens(judge.student_tokenizer(), plain);
    const Stretch whole{0, teacher_tokens.ids.size(), 0, student_tokens.ids.size()};
    for (const Stretch& window :
         stretches(teacher_tokens, student_tokens, whole, static_cast<size_t>(options.context))) {
      if (enough()) break;
      if (window.teacher_end - window.teacher_begin < 2) continue;
      judge.score_window(teacher_tokens, student_tokens, window);
      report(progress, {.stage = stage,
                        .unit = "tokens",
                        .done = std::min(total, judge.scored() + judge.skipped()),
                        .total = total});
    }
  }
  if (judge.scored() == 0) throw input_error("--data", "holds no position to score", "a text of at least two tokens");
  report(progress, {.stage = stage, .unit = "tokens", .done = total, .total = total});
  results.windows = judge.windows();
  results.scored_tokens = judge.scored();
  results.skipped_tokens = judge.skipped();
  return judge.fidelity();
}

}  // namespace

VerifyResults verify(const ModelFile& teacher, const ModelFile& student, const std::vector<Document>& text,
                     const VerifyOptions& options, ThreadPool& threads, const Progress& progress) {
  const int64_t longest = std::min(teacher.config().context_length, student.config().context_length);
  if (options.context > longest)
    throw usage_error("--context", "is longer than the models' context", "at most " + std::to_string(longest),
                      std::to_string(options.context));
  VerifyResults results;
  Sha256 hash;
  for (const Document& document : text) hash.add(document_text(document)).add("\n<|endoftext|>\n");
  results.text_sha256 = hash.hex();
  if (options.numerics != "deployed")
    results.fp32 = run_mode(teacher, student, Numerics::Fp32, text, options, threads, results, progress);
  if (options.numerics != "fp32")
    results.deployed = run_mode(teacher, student, Numerics::Deployed, text, options, threads, results, progress);
  return results;
}

std::vector<GateResult> judge(const std::map<std::string, double>& gates, const VerifyResults& results,
                              const std::optional<Efficiency>& teacher, const std::optional<Efficiency>& student,
                              uint64_t student_bytes) {
  const Fidelity& fidelity = results.deployed ? *results.deployed : *results.fp32;
  std::vector<GateResult> out;
  for (const auto& [name, limit] : gates) {
    GateResult gate{name, limit, 0.0, false};
    const bool minimum = name == "top1" || name == "decode_ratio";
    if (name == "kl")
      gate.value = fidelity.kl.mean;
    else if (name == "ppl_ratio")
      gate.value = fidelity.perplexity.ratio;
    else if (name == "bits_per_byte_ratio")
      gate.value = fidelity.bits_per_byte.ratio;
    else if (name == "top1")
      gate.value = fidelity.top1_agreement;
    else if (name == "bytes")
      gate.value = static_cast<double>(student_bytes);
    else if (name == "decode_ratio" && teacher && student)
      gate.value = student->decode_tokens_per_s / teacher->decode_tokens_per_s;
    else
      throw usage_error("gate " + printable(name), "is unknown or not measured",
                        "kl, ppl_ratio, bytes, bits_per_byte_ratio, top1 or decode_ratio (with speed measured)");
    gate.pass = minimum ? gate.value >= limit : gate.value <= limit;
    out.push_back(gate);
  }
  return out;
}

}  // namespace attar::runtime
