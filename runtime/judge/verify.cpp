#include "runtime/judge/verify.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <functional>
#include <span>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/host/float_environment.h"
#include "runtime/base/sha256.h"
#include "runtime/formats/model_text.h"
#include "runtime/formats/tokenizer/shared_vocabulary.h"
#include "runtime/judge/aligned_text.h"
#include "runtime/judge/score.h"
#include "runtime/judge/scored_so_far.h"
#include "runtime/judge/statistics/standard_error.h"
#include "runtime/kernels/vocabulary_math.h"

namespace attar::runtime {
namespace {

constexpr size_t kPassTokens = 64;  // teacher tokens whose logits are held at once

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

// One of the two models and its rows of the current part.
struct Side {
  Model model;
  Workspace work;
  std::vector<double> lse;  // (rows) log-sum-exp
  ByteScore score{};

  Side(const ModelFile& file, const LoadOptions& options, ThreadPool& threads)
      : model(Model::load(file, options, threads)), work(model, threads) {}

  // Runs tokens [begin, end) of a window. Row i predicts token i + 1; the window's last row predicts nothing in it.
  void run(KvCache& cache, const TextTokens& tokens, size_t begin, size_t end) {
    std::vector<Row> rows;
    for (size_t i = begin; i < end; ++i) rows.push_back({&cache, tokens.ids[i], true});
    forward(model, rows, work, {}, Answers::Summed);
    lse.resize(rows.size());
    for (size_t i = 0; i < lse.size(); ++i) lse[i] = finite_logits(model, work.summed(static_cast<int64_t>(i))).lse;
    for (size_t i = begin; i < end && i + 1 < tokens.ids.size(); ++i) {
      if (tokens.counted[i + 1] == 0) continue;
      score.nats += nll(i - begin, tokens.ids[i + 1]);
      score.bytes += static_cast<double>(tokens.ends[i + 1] - tokens.ends[i]);
    }
  }
  std::span<const float> logits(size_t row) const { return work.logits(static_cast<int64_t>(row)); }
  double nll(size_t row, int32_t token) const {
    return lse[row] - static_cast<double>(logits(row)[static_cast<size_t>(token)]);
  }
};

class Judge {
 public:
  Judge(const ModelFile& teacher, const ModelFile& student, const LoadOptions& of_student, ThreadPool& threads)
      : threads_(threads),
        teacher_(teacher, {.numerics = of_student.numerics}, threads),
        student_(student, of_student, threads),
        kept_(teacher_ids(teacher_.model.tokenizer(), student_.model.tokenizer(), student.source(),
                          "or compare the bits per byte that `attar eval` gives each")),
        restricted_(static_cast<size_t>(threads.size())) {}

  // Scores the next window of at most `most` tokens, its BOS included; false when the document holds no more.
  // `after_part` is called whenever some tokens of it are done.
  bool score_next(const AlignedText& document, Stretch& at, size_t most, const std::function<void()>& after_part) {
    const Tokenizer &teacher = teacher_.model.tokenizer(), &student = student_.model.tokenizer();
    const size_t before = at.teacher_end > 0 ? std::max(teacher.start().size(), student.start().size()) : 0;
    at = next_stretch(document, at, std::max<size_t>(1, most - before));
    if (at.teacher_end == at.teacher_begin) return false;
    const AlignedText window(window_of(teacher, document.teacher, at.teacher_begin, at.teacher_end),
                             window_of(student, document.student, at.student_begin, at.student_end));
    if (window.teacher.ids.size() < 2) return true;
    KvCache teacher_cache(teacher_.model), student_cache(student_.model);
    Stretch part;
    while (true) {
      part = next_stretch(window, part, kPassTokens);
      if (part.teacher_end == part.teacher_begin) break;
      teacher_.run(teacher_cache, window.teacher, part.teacher_begin, part.teacher_end);
      student_.run(student_cache, window.student, part.student_begin, part.student_end);
      compare_part(window, part);
      after_part();
    }
    window_ends_.push_back(positions_.size());
    return true;
  }

  // Tokens of the window behind `at` in which no more than `most` are scored. The first of a window is not, unless what
  // every text begins with stands before it.
  size_t window_for(const AlignedText& document, const Stretch& at, int64_t most) const {
    const std::vector<uint8_t>& counted = document.teacher.counted;
    const size_t before = at.teacher_end > 0 ? teacher_tokenizer().start().size() : 0;
    size_t t = at.teacher_end + (before > 0 ? 0 : 1);
    for (; t < counted.size() && most - counted[t] >= 0; ++t) most -= counted[t];
    return t < counted.size() ? before + t - at.teacher_end : SIZE_MAX;
  }
  const Tokenizer& teacher_tokenizer() const { return teacher_.model.tokenizer(); }
  AlignedText read(const ModelText& text) const {
    return {tokens_of(teacher_.model.tokenizer(), text), tokens_of(student_.model.tokenizer(), text)};
  }
  int64_t scored() const { return static_cast<int64_t>(positions_.size()); }
  int64_t windows() const { return static_cast<int64_t>(window_ends_.size()); }
  int64_t skipped() const { return skipped_; }
  std::string kv_format() const { return name_of(student_.model.kv_format()); }
  // Fallbacks that the two models took.
  std::vector<std::string> notes() const {
    std::vector<std::string> lines;
    for (const std::string& note : teacher_.model.notes()) lines.push_back("teacher: " + note);
    for (const std::string& note : student_.model.notes()) lines.push_back("student: " + note);
    return lines;
  }

  Fidelity fidelity() const;

  // Where the judge stands, in front of a window: `place` in the text, counts, and sums, without the positions.
  ScoredSoFar mark(std::vector<int64_t> place) const {
    place.insert(place.end(), {scored(), windows(), skipped_});
    return {.counts = std::move(place),
            .numbers = {teacher_.score.nats, teacher_.score.bytes, student_.score.nats, student_.score.bytes}};
  }
  // The mark with its positions and the ends of its windows, for a run that goes on from there.
  ScoredSoFar until(ScoredSoFar mark) const {
    const int64_t n = mark.counts[mark.counts.size() - 3], windows = mark.counts[mark.counts.size() - 2];
    for (const Position& p : std::span(positions_).first(static_cast<size_t>(n)))
      mark.numbers.insert(mark.numbers.end(),
                          {p.kl, p.dropped, p.teacher_nll, p.student_nll, p.overlap5, p.same_top ? 1.0 : 0.0});
    mark.numbers.insert(mark.numbers.end(), window_ends_.begin(), window_ends_.begin() + windows);
    return mark;
  }
  // -> the place
  std::vector<int64_t> restore(const ScoredSoFar& scored) {
    const size_t n = scored.counts.size();
    const int64_t positions = scored.counts[n - 3], windows = scored.counts[n - 2];
    assert(scored.numbers.size() == static_cast<size_t>(4 + 6 * positions + windows));  // its hash is right
    skipped_ = scored.counts[n - 1];
    const double* next = scored.numbers.data();
    for (Side* side : {&teacher_, &student_}) side->score.nats = *next++, side->score.bytes = *next++;
    for (int64_t i = 0; i < positions; ++i, next += 6)
      positions_.push_back({next[0], next[1], next[2], next[3], next[4], next[5] != 0.0});
    for (int64_t i = 0; i < windows; ++i) window_ends_.push_back(static_cast<size_t>(*next++));
    return {scored.counts.begin(), scored.counts.end() - 3};
  }

 private:
  // Rows are compared where both models stand at the same byte and the next token is the same for both.
  void compare_part(const AlignedText& window, const Stretch& part) {
    struct Rows {
      size_t teacher, student;
    };
    std::vector<Rows> rows;
    for (size_t t = part.teacher_begin; t < part.teacher_end && t + 1 < window.partner.size(); ++t) {
      if (window.teacher.counted[t + 1] == 0) continue;
      const size_t s = window.partner[t];
      const bool aligned = s != AlignedText::kNone && window.partner[t + 1] == s + 1 &&
                           teacher_id(window.student.ids[s + 1]) == window.teacher.ids[t + 1];
      if (aligned)
        rows.push_back({t, s});
      else
        ++skipped_;
    }
    const size_t first = positions_.size();
    positions_.resize(first + rows.size());
    threads_.run([&](int thread) {
      for (size_t i = static_cast<size_t>(thread); i < rows.size(); i += static_cast<size_t>(threads_.size())) {
        const auto [t, s] = rows[i];
        Position& position = positions_[first + i];
        position = compare(t - part.teacher_begin, s - part.student_begin, restricted_[static_cast<size_t>(thread)]);
        position.teacher_nll = teacher_.nll(t - part.teacher_begin, window.teacher.ids[t + 1]);
        position.student_nll = student_.nll(s - part.student_begin, window.student.ids[s + 1]);
      }
    });
  }

  int32_t teacher_id(int32_t student_id) const {
    return kept_.empty() ? student_id : kept_[static_cast<size_t>(student_id)];
  }

  Position compare(size_t teacher_row, size_t student_row, std::vector<float>& scratch) const {
    Position out;
    std::span<const float> teacher = teacher_.logits(teacher_row);
    const std::span<const float> student = student_.logits(student_row);
    double teacher_lse = teacher_.lse[teacher_row];
    if (!kept_.empty()) {  // the teacher restricted to what the student can say, renormalised
      scratch.resize(kept_.size());
      for (size_t i = 0; i < kept_.size(); ++i) scratch[i] = teacher[static_cast<size_t>(kept_[i])];
      teacher = scratch;
      const double kept_lse = log_sum_exp(teacher);
      out.dropped = std::max(0.0, 1.0 - std::exp(kept_lse - teacher_lse));
      teacher_lse = kept_lse;
    }
    out.kl = kl_divergence(teacher, teacher_lse, student, student_.lse[student_row]);
    if (!std::isfinite(out.kl))  // a logit of -infinity
      throw input_error(student_.model.source(), "its divergence from the teacher is not finite", {}, {},
                        "the logits of one of the two overflow");
    const std::vector<int32_t> a = top_indices(teacher, 5), b = top_indices(student, 5);
    out.same_top = a[0] == b[0];
    for (const int32_t id : a)
      out.overlap5 += std::find(b.begin(), b.end(), id) != b.end() ? 1.0 / static_cast<double>(a.size()) : 0.0;
    return out;
  }

  ThreadPool& threads_;
  Side teacher_, student_;
  std::vector<int32_t> kept_;
  std::vector<std::vector<float>> restricted_;  // scratch, one a thread
  std::vector<Position> positions_;
  std::vector<size_t> window_ends_;  // (windows) positions up to the end of each
  int64_t skipped_ = 0;
};

Spread spread_of(std::vector<double> values, std::span<const size_t> window_ends) {
  Spread spread;
  const auto n = static_cast<double>(values.size());
  double sum = 0.0;
  for (const double v : values) sum += v;
  spread.mean = sum / n;
  spread.stderr_ = window_standard_error(values, window_ends);
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
    out.nll_values.push_back(position.student_nll);
    out.same_top.push_back(position.same_top ? 1.0 : 0.0);
    teacher_nll += position.teacher_nll;
    student_nll += position.student_nll;
    out.dropped_mass += position.dropped;
    out.top1_agreement += out.same_top.back();
    out.top5_overlap += position.overlap5;
  }
  out.window_ends = window_ends_;
  const auto n = static_cast<double>(positions_.size());
  out.kl = spread_of(out.kl_values, window_ends_);
  out.top1_agreement /= n;
  out.top1_stderr = window_standard_error(out.same_top, window_ends_);
  out.top5_overlap /= n;
  out.dropped_mass /= n;
  const auto pair = [](double teacher, double student) { return Pair{teacher, student, student / teacher}; };
  out.perplexity = pair(std::exp(teacher_nll / n), std::exp(student_nll / n));
  const auto bits = [](const ByteScore& score) { return score.nats / std::log(2.0) / score.bytes; };
  out.bits_per_byte = pair(bits(teacher_.score), bits(student_.score));
  return out;
}

// How the student is run. Error{Usage} for a kv that is none, or where only fp32 is asked for.
LoadOptions student_options(const VerifyOptions& options, Numerics numerics) {
  const bool deployed = is_verified(options, Numerics::Deployed);
  const std::optional<KvFormat> kv =
      kv_format_of(options.kv.value_or(""), "--kv", deployed ? Numerics::Deployed : Numerics::Fp32);
  return {.numerics = numerics, .kv = kv};
}

void add_note(const std::string& note, VerifyResults& results) {
  if (std::find(results.notes.begin(), results.notes.end(), note) == results.notes.end()) results.notes.push_back(note);
}

// All that decides what is scored.
std::string identity_of(const ModelFile& teacher, const ModelFile& student, const VerifyOptions& options,
                        const std::string& mode, const std::string& text_sha256) {
  return sha256(mode + ";" + std::to_string(options.context) + ";" + std::to_string(options.max_tokens) + ";" +
                options.kv.value_or("") + ";" + options.chat_template + ";" + text_sha256 + ";" +
                teacher.content_hash() + ";" + student.content_hash());
}

Fidelity run_mode(const ModelFile& teacher, const ModelFile& student, Numerics numerics,
                  const std::vector<Document>& text, const VerifyOptions& options, ThreadPool& threads,
                  VerifyResults& results, const Progress& progress, const std::string& kept) {
  const char* stage = numerics == Numerics::Fp32 ? "verify fp32" : "verify deployed";
  report(progress, {.stage = stage, .unit = "tokens"});
  Judge judge(teacher, student, student_options(options, numerics), threads);
  std::vector<AlignedText> documents;
  int64_t total = 0;
  TextReader reader(judge.teacher_tokenizer(), {.chat_template = options.chat_template});
  for (const Document& document : text)
    for (const ModelText& part : reader.read(document)) {
      documents.push_back(judge.read(part));
      const std::vector<uint8_t>& counted = documents.back().teacher.counted;
      total += std::count(counted.begin(), counted.end(), uint8_t{1});
    }
  for (const std::string& note : reader.notes()) add_note(note, results);
  if (options.max_tokens > 0) total = std::min(total, options.max_tokens);
  const auto left = [&] { return options.max_tokens > 0 ? options.max_tokens - judge.scored() : INT64_MAX; };
  const auto tell = [&] {
    report(
        progress,
        {.stage = stage, .unit = "tokens", .done = std::min(total, judge.scored() + judge.skipped()), .total = total});
  };
  size_t document = 0;
  Stretch at;
  const std::string identity = kept.empty() ? "" : identity_of(teacher, student, options, stage, results.text_sha256);
  if (const auto before = kept.empty() ? std::nullopt : take_scored(kept, identity)) {
    const std::vector<int64_t> place = judge.restore(*before);
    document = static_cast<size_t>(place.at(0));
    at.teacher_end = static_cast<size_t>(place.at(1)), at.student_end = static_cast<size_t>(place.at(2));
  }
  const auto mark = [&] {
    return judge.mark(
        {static_cast<int64_t>(document), static_cast<int64_t>(at.teacher_end), static_cast<int64_t>(at.student_end)});
  };
  ScoredSoFar whole = mark();  // in front of the window that is scored
  try {
    for (; document < documents.size(); ++document, at = {}) {
      bool more = true;
      while (more && left() > 0) {
        whole = mark();
        const size_t most = judge.window_for(documents[document], at, left());
        more = judge.score_next(documents[document], at, std::min(static_cast<size_t>(options.context), most), tell);
      }
    }
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::Interrupted && !kept.empty()) keep_scored(kept, identity, judge.until(whole));
    throw;
  }
  if (!kept.empty()) keep_scored(kept, identity, judge.until(mark()));
  if (judge.scored() == 0)
    throw input_error("--data", "holds no position that both models predict", "a text of at least two tokens");
  report(progress, {.stage = stage, .unit = "tokens", .done = total, .total = total});
  results.windows = judge.windows();
  results.scored_tokens = judge.scored();
  results.skipped_tokens = judge.skipped();
  for (const std::string& note : judge.notes()) add_note(note, results);
  if (numerics == Numerics::Deployed) results.kv_format = judge.kv_format();
  return judge.fidelity();
}

}  // namespace

bool is_verified(const VerifyOptions& options, Numerics mode) {
  if (options.numerics == "both") return true;
  const std::optional<Numerics> one = find_numerics(options.numerics);
  if (!one) throw usage_error("--numerics", "is unknown", "fp32, deployed or both", printable(options.numerics));
  return *one == mode;
}

VerifyResults verify(const ModelFile& teacher, const ModelFile& student, const std::vector<Document>& text,
                     const VerifyOptions& options, ThreadPool& threads, const Progress& progress,
                     const std::string& kept) {
  const FloatEnvironment floats;
  const int64_t longest = std::min(teacher.config().context_length, student.config().context_length);
  if (options.context > longest)
    throw usage_error("--context", "is longer than the models' context", "at most " + std::to_string(longest),
                      std::to_string(options.context));
  if (options.context < 2)
    throw usage_error("--context", "is too short", "at least 2", std::to_string(options.context));
  for (const auto& [flag, value] :
       {std::pair{"--max-tokens", options.max_tokens}, {"--task-items", options.task_items}})
    if (value < 0) throw usage_error(flag, "is negative", "at least 0", std::to_string(value));
  VerifyResults results;
  results.context = options.context;
  Sha256 hash;
  for (const Document& document : text) hash.add(document_text(document)).add("\n<|endoftext|>\n");
  results.text_sha256 = hash.hex();
  const auto file_of = [&](const char* mode) { return kept.empty() ? kept : kept + "-" + mode; };
  if (is_verified(options, Numerics::Fp32))
    results.fp32 =
        run_mode(teacher, student, Numerics::Fp32, text, options, threads, results, progress, file_of("fp32"));
  if (is_verified(options, Numerics::Deployed))
    results.deployed =
        run_mode(teacher, student, Numerics::Deployed, text, options, threads, results, progress, file_of("deployed"));
  return results;
}

std::vector<TaskComparison> verify_on_tasks(const ModelFile& teacher, const ModelFile& student,
                                            const VerifyOptions& options, ThreadPool& threads,
                                            const Progress& progress) {
  if (options.tasks.empty()) return {};
  const Numerics numerics = is_verified(options, Numerics::Deployed) ? Numerics::Deployed : Numerics::Fp32;
  return compare_on_tasks(teacher, student, options.tasks, options.task_items, student_options(options, numerics),
                          threads, progress);
}

}  // namespace attar::runtime
