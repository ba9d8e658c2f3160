#include "runtime/judge/verify.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "runtime/base/error.h"
#include "runtime/cli/flags.h"
#include "runtime/cli/terminal.h"
#include "runtime/cli/verbs.h"
#include "runtime/judge/measure.h"
#include "runtime/judge/paired_difference.h"
#include "runtime/judge/verify_json.h"

namespace attar::cli {
namespace {

struct Options {
  std::string teacher, student;
  std::vector<std::string> data;
  runtime::VerifyOptions verify;
  std::map<std::string, double> gates;
  std::string against;
  bool bench = true;
  bool context_given = false;  // otherwise a window is no longer than the models allow
};

void print_row(const char* label, double teacher, double student, const char* format) {
  char a[32], b[32];
  std::snprintf(a, sizeof a, format, teacher);
  std::snprintf(b, sizeof b, format, student);
  std::printf("  %-28s %14s %14s %9.3fx\n", label, a, b, student / teacher);
}

void print_fidelity(const char* mode, const runtime::Fidelity& f) {
  std::printf("\n%s\n", mode);
  print_row("perplexity", f.perplexity.teacher, f.perplexity.student, "%.3f");
  print_row("bits per byte", f.bits_per_byte.teacher, f.bits_per_byte.student, "%.4f");
  std::printf("  %-28s %.5f +- %.5f   median %.5f   99%% %.4f   max %.3f\n", "KL to the teacher, nats", f.kl.mean,
              f.kl.stderr_, f.kl.p50, f.kl.p99, f.kl.max);
  std::printf("  %-28s %.2f %%      of five likeliest %.2f %%\n", "same likeliest token", 100.0 * f.top1_agreement,
              100.0 * f.top5_overlap);
  if (f.dropped_mass > 0.0) std::printf("  %-28s %.5f\n", "mass outside the vocabulary", f.dropped_mass);
}

// The same verification of another student, position by position.
runtime::PairedDifference compared(const ModelFile& teacher, const runtime::VerifyResults& results,
                                   const std::vector<Document>& text, const Options& options,
                                   const runtime::VerifyOptions& how, const GlobalOptions& global) {
  ThreadPool pool(global.thread_count());
  const runtime::VerifyResults other =
      runtime::verify(teacher, ModelFile::open(options.against), text, how, pool, terminal_progress(global));
  const runtime::Fidelity& a = results.deployed ? *results.deployed : *results.fp32;
  const runtime::Fidelity& b = other.deployed ? *other.deployed : *other.fp32;
  if (a.kl_values.size() != b.kl_values.size())
    throw usage_error("--against", "is scored on other positions", "a student with the same vocabulary",
                      printable(options.against));
  return runtime::paired_difference(a.kl_values, b.kl_values);
}

int run(const Options& options, const GlobalOptions& global) {
  runtime::check_gates(options.gates, options.verify, options.bench);
  std::vector<Document> text;
  for (const std::string& path : options.data)
    for (Document& document : read_documents(path)) text.push_back(std::move(document));
  const ModelFile teacher = ModelFile::open(options.teacher), student = ModelFile::open(options.student);
  runtime::VerifyOptions how = options.verify;
  if (!options.context_given)
    how.context = std::min({how.context, teacher.config().context_length, student.config().context_length});
  runtime::VerifyResults results;
  {
    ThreadPool pool(global.thread_count());
    results = runtime::verify(teacher, student, text, how, pool, terminal_progress(global));
  }
  std::optional<runtime::PairedDifference> less;
  if (!options.against.empty()) less = compared(teacher, results, text, options, how, global);
  show_notes(results.notes, global);
  runtime::Speeds speeds;
  if (options.bench)
    speeds = runtime::measure_both(runtime::runtime_program(), options.teacher, options.student, global.thread_count(),
                                   terminal_progress(global));
  const std::vector<runtime::GateResult> judged =
      runtime::judge(options.gates, results, speeds.teacher, speeds.student, student.size_bytes());
  bool passed = true;
  for (const runtime::GateResult& gate : judged) passed &= gate.pass;
  if (global.json) {
    nlohmann::ordered_json document = nlohmann::ordered_json::parse(runtime::verify_document(results, speeds, judged));
    if (less) document["results"]["kl_against"] = {{"mean", less->mean}, {"low95", less->low}, {"high95", less->high}};
    std::printf("%s\n", document.dump(1).c_str());
    return passed ? 0 : static_cast<int>(ErrorKind::GateMissed);
  }
  std::printf("%lld tokens in %lld windows of at most %lld", static_cast<long long>(results.scored_tokens),
              static_cast<long long>(results.windows), static_cast<long long>(results.context));
  if (results.skipped_tokens > 0)
    std::printf(", %lld more left out where the two tokenize differently",
                static_cast<long long>(results.skipped_tokens));
  std::printf("\n\n  %-28s %14s %14s %10s\n", "", "teacher", "student", "ratio");
  print_row("file, MB", static_cast<double>(teacher.size_bytes()) * 1e-6,
            static_cast<double>(student.size_bytes()) * 1e-6, "%.1f");
  if (speeds.teacher && speeds.student) {
    const runtime::Efficiency &a = *speeds.teacher, &b = *speeds.student;
    print_row("prompt, tokens/s", a.prefill_tokens_per_s, b.prefill_tokens_per_s, "%.1f");
    print_row("generation, tokens/s", a.decode_tokens_per_s, b.decode_tokens_per_s, "%.1f");
    print_row("peak memory, MB", static_cast<double>(a.peak_rss_bytes) * 1e-6,
              static_cast<double>(b.peak_rss_bytes) * 1e-6, "%.0f");
  }
  if (results.fp32) print_fidelity("fp32 (reference numbers)", *results.fp32);
  if (results.deployed) print_fidelity("deployed (what users run)", *results.deployed);
  if (less)
    std::printf("\nKL minus that of %s: %.5f nats, 95 %% interval %.5f to %.5f\n", options.against.c_str(), less->mean,
                less->low, less->high);
  for (const runtime::GateResult& gate : judged)
    std::printf("gate %-20s limit %-10g value %-12g %s\n", gate.name.c_str(), gate.limit, gate.value,
                gate.pass ? "passed" : "MISSED");
  return passed ? 0 : static_cast<int>(ErrorKind::GateMissed);
}

}  // namespace

Action add_verify(CLI::App& command, const GlobalOptions& global) {
  const auto options = std::make_shared<Options>();
  add_text(command, "TEACHER", options->teacher, "the model to be faithful to");
  add_text(command, "STUDENT", options->student, "the model to judge");
  add_texts(command, "--data", options->data, "text to judge on: .txt or .jsonl, also .gz; may be given several times");
  for (const char* name : {"TEACHER", "STUDENT", "--data"}) require(command, name);
  FlagAdder flags(command);
  flags(options->gates, "gate",
        "kl, ppl_ratio, bytes, bits_per_byte_ratio at most; top1, decode_ratio at least; exit code 4 when missed");
  add_text(command, "--against", options->against,
           "another student: also print how much more or less STUDENT diverges, paired by position");
  add_switch(command, "--bench,!--no-bench", options->bench, "measure speed and memory of both models");
  visit_fields(options->verify, flags);
  return [options, &command, &global] {
    options->context_given = is_given(command, "--context");
    const std::string& numerics = options->verify.numerics;
    if (numerics != "fp32" && numerics != "deployed" && numerics != "both")
      throw usage_error("--numerics", "is unknown", "fp32, deployed or both", printable(numerics));
    if (options->verify.context < 2)
      throw usage_error("--context", "is too short", "at least 2", std::to_string(options->verify.context));
    return run(*options, global);
  };
}

}  // namespace attar::cli
