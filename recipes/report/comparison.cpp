// Several runs side by side.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "recipes/report/chart.h"
#include "recipes/report/page.h"
#include "recipes/report/report.h"
#include "recipes/report/run_summary.h"
#include "runtime/judge/digits.h"

namespace attar {
namespace {

using runtime::with_spread;

std::vector<RunSummary> summaries(const std::vector<NamedReport>& reports) {
  std::vector<RunSummary> runs;
  for (const NamedReport& report : reports) {
    runs.push_back(summary_of(Json::parse(report.json)));
    runs.back().name = report.name;
  }
  return runs;
}

struct Column {
  const char* name;
  std::string (*cell)(const RunSummary&);
};
std::string rate(const ReportedRate& rate) {
  return with_spread(rate.tokens_per_s, rate.half_iqr);
}
constexpr Column kColumns[] = {
    {"file", [](const RunSummary& run) { return megabytes(run.student.bytes); }},
    {"than the teacher", [](const RunSummary& run) { return size_words(run.student.bytes, run.teacher_bytes); }},
    {"KL, nats", [](const RunSummary& run) { return with_spread(run.student.kl, run.student.kl_stderr); }},
    {"same top token", [](const RunSummary& run) { return percent(run.student.top1, run.student.top1_stderr); }},
    {"perplexity ratio", [](const RunSummary& run) { return runtime::with_digits(run.student.perplexity_ratio, 4); }},
    {"prompt, tokens/s", [](const RunSummary& run) { return rate(run.prefill); }},
    {"generation, tokens/s", [](const RunSummary& run) { return rate(run.decode); }},
    {"gates",
     [](const RunSummary& run) {
       return std::string(run.gates.empty() ? "none" : run.passes() ? "passed" : "MISSED");
     }},
};

// Whether one teacher was much slower beside one run than beside another: the machine had other work too.
bool speeds_drifted(const std::vector<RunSummary>& runs) {
  constexpr double kDrift = 1.25;
  for (const RunSummary& a : runs)
    for (const RunSummary& b : runs)
      if (a.teacher_sha256 == b.teacher_sha256 && a.machine == b.machine &&
          a.teacher_decode.tokens_per_s > kDrift * b.teacher_decode.tokens_per_s)
        return true;
  return false;
}

// Whether those that were verified differ in something.
template <class Value>
bool differ(const std::vector<RunSummary>& runs, Value value) {
  std::set<std::string> values;
  for (const RunSummary& run : runs)
    if (!run.verify_stage.empty()) values.insert(value(run));
  return values.size() > 1;
}

struct Caveat {
  const char* words;
  std::string (*differing)(const RunSummary&);
};
// Of numbers from a teacher and a text.
constexpr Caveat kFidelityCaveats[] = {
    {"They have different teachers: KL and ratios are not to one standard.",
     [](const RunSummary& run) { return run.teacher_sha256; }},
    {"They were judged on different texts: fidelity does not compare.",
     [](const RunSummary& run) { return run.text_sha256; }},
    {"They were judged with windows of different length, or on more or less of the text.",
     [](const RunSummary& run) { return whole(run.context) + " " + whole(run.scored_tokens); }},
    {"Some were judged in fp32 numbers, some in deployed ones.", [](const RunSummary& run) { return run.numerics; }},
};
std::string machine_of(const RunSummary& run) {
  return run.machine;
}

bool fidelity_compares(const std::vector<RunSummary>& runs) {
  return std::none_of(std::begin(kFidelityCaveats), std::end(kFidelityCaveats),
                      [&](const Caveat& caveat) { return differ(runs, caveat.differing); });
}
bool speeds_compare(const std::vector<RunSummary>& runs) {
  return !differ(runs, machine_of) && !speeds_drifted(runs);
}

// What makes numbers hard to compare, a line each.
std::vector<std::string> caveats(const std::vector<RunSummary>& runs) {
  std::vector<std::string> lines;
  for (const Caveat& caveat : kFidelityCaveats)
    if (differ(runs, caveat.differing)) lines.emplace_back(caveat.words);
  if (differ(runs, machine_of))
    lines.emplace_back("They were measured on different machines or with different threads: speeds do not compare.");
  if (speeds_drifted(runs))
    lines.emplace_back(
        "The same teacher wrote more than a quarter faster beside one than beside another: the machine had other work, "
        "speeds do not compare.");
  for (const RunSummary& run : runs)
    if (run.verify_stage.empty()) lines.push_back(run.name + " was not verified.");
  return lines;
}

// The run with the least value, where the next one is further away than both are unsure; else nullptr.
template <class Value, class Unsure>
const RunSummary* clearly_least(const std::vector<RunSummary>& runs, Value value, Unsure unsure) {
  const RunSummary *least = nullptr, *next = nullptr;
  for (const RunSummary& run : runs) {
    if (std::isnan(value(run))) continue;
    if (least == nullptr || value(run) < value(*least))
      next = least, least = &run;
    else if (next == nullptr || value(run) < value(*next))
      next = &run;
  }
  if (next == nullptr) return nullptr;
  const auto known = [](double number) { return std::isnan(number) ? 0.0 : number; };
  const double both = std::hypot(known(unsure(*least)), known(unsure(*next)));
  return value(*next) - value(*least) > both ? least : nullptr;
}

// "B is the smallest (60 MB); A is closest to its teacher (KL 0.18) and writes fastest (640 tokens/s)"
std::string comparison_verdict(const std::vector<RunSummary>& runs) {
  std::string text;
  const RunSummary* last = nullptr;
  const auto add = [&](const RunSummary* run, const std::string& what) {
    text += (text.empty() ? "" : run == last ? " and " : "; ") + (run == last ? "" : run->name + " ") + what;
    last = run;
  };
  const auto bytes = [](const RunSummary& run) { return run.student.bytes; };
  if (const auto* run = clearly_least(runs, bytes, [&](const RunSummary& r) { return 0.005 * bytes(r); }))
    add(run, "is the smallest (" + megabytes(run->student.bytes) + ")");
  const auto kl = [](const RunSummary& run) { return run.student.kl; };
  if (const auto* run = clearly_least(runs, kl, [](const RunSummary& r) { return 2.0 * r.student.kl_stderr; });
      run != nullptr && fidelity_compares(runs))
    add(run, "is closest to its teacher (KL " + runtime::to_spread(run->student.kl, run->student.kl_stderr) + ")");
  const auto slowness = [](const RunSummary& run) { return -run.decode.tokens_per_s; };
  if (const auto* run = clearly_least(runs, slowness, [](const RunSummary& r) { return 2.0 * r.decode.half_iqr; });
      run != nullptr && speeds_compare(runs))
    add(run, "writes fastest (" + runtime::to_spread(run->decode.tokens_per_s, run->decode.half_iqr) + " tokens/s)");
  return text.empty() ? "No run stands out" : text;
}

// NaN has no JSON: null.
Json number_or_null(double value) {
  return std::isnan(value) ? Json(nullptr) : Json(value);
}

size_t characters(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

}  // namespace

std::string comparison_json(const std::vector<NamedReport>& reports) {
  const std::vector<RunSummary> runs = summaries(reports);
  Json list = Json::array();
  for (const RunSummary& run : runs) {
    Json gates = Json::array();
    for (const ReportGate& gate : run.gates)
      gates.push_back({{"stage", gate.stage},
                       {"name", gate.name},
                       {"limit_is", gate.limit_is},
                       {"limit", gate.limit},
                       {"value", gate.value},
                       {"pass", gate.pass}});
    list.push_back({{"name", run.name},
                    {"teacher", run.teacher},
                    {"teacher_bytes", number_or_null(run.teacher_bytes)},
                    {"bytes", number_or_null(run.student.bytes)},
                    {"parameters", number_or_null(run.parameters)},
                    {"numerics", run.numerics},
                    {"kl", number_or_null(run.student.kl)},
                    {"kl_stderr", number_or_null(run.student.kl_stderr)},
                    {"top1_agreement", number_or_null(run.student.top1)},
                    {"top1_stderr", number_or_null(run.student.top1_stderr)},
                    {"perplexity_ratio", number_or_null(run.student.perplexity_ratio)},
                    {"prefill_tokens_per_s", number_or_null(run.prefill.tokens_per_s)},
                    {"decode_tokens_per_s", number_or_null(run.decode.tokens_per_s)},
                    {"gates", gates}});
  }
  return Json({{"schema_version", 1}, {"runs", list}, {"caveats", caveats(runs)}}).dump(1) + "\n";
}

std::string comparison_table(const std::vector<NamedReport>& reports) {
  const std::vector<RunSummary> runs = summaries(reports);
  std::string text;
  const auto add_line = [&](const std::string& name, auto cell) {
    text += "  " + name + std::string(name.size() < 22 ? 22 - name.size() : 0, ' ');
    for (const RunSummary& run : runs) {
      const std::string shown = cell(run);
      const size_t width = std::max<size_t>(20, characters(run.name) + 2);
      text += std::string(width - std::min(width - 1, characters(shown)), ' ') + shown;
    }
    text += "\n";
  };
  add_line("", [](const RunSummary& run) { return run.name; });
  for (const Column& column : kColumns) add_line(column.name, column.cell);
  text += "\n" + comparison_verdict(runs) + ".\n";
  for (const std::string& line : caveats(runs)) text += line + "\n";
  return text;
}

std::string comparison_html(const std::vector<NamedReport>& reports) {
  const std::vector<RunSummary> runs = summaries(reports);
  Table table{.caption_html = "The runs<span>" + term("kl", "KL") + " and shares with " + term("spread", "±") +
                              " the standard error, speeds with half of what lies between the quartiles.</span>",
              .head_html = {"run"},
              .css = "numbers cards"};
  for (const Column& column : kColumns) table.head_html.push_back(column.name);
  std::vector<Dot> dots;
  for (size_t i = 0; i < runs.size(); ++i) {
    const RunSummary& run = runs[i];
    std::vector<std::string> cells{std::to_string(i + 1) + "&nbsp; " + escaped(run.name)};
    for (const Column& column : kColumns) cells.push_back(escaped(column.cell(run)));
    if (!run.passes()) cells.back() = "<span class=\"miss\">missed</span>";
    table.rows.push_back({cells});
    if (std::isnan(run.student.kl) || std::isnan(run.student.bytes)) continue;
    const double speed = std::isnan(run.decode.tokens_per_s) ? 0.0 : run.decode.tokens_per_s;
    dots.push_back({run.student.bytes * 1e-6, run.student.kl, speed, run.name, static_cast<int>(i + 1)});
  }
  std::string body = "<header><h1>" + std::to_string(runs.size()) + " runs compared</h1><p class=\"verdict\">" +
                     unbroken(escaped(comparison_verdict(runs))) + "</p>";
  for (const std::string& line : caveats(runs)) body += paragraph(unbroken(escaped(line)), "alert");
  const bool one_teacher = std::all_of(runs.begin(), runs.end(), [&](const RunSummary& run) {
    return run.teacher == runs[0].teacher && run.teacher_sha256 == runs[0].teacher_sha256;
  });
  if (one_teacher && !runs[0].teacher.empty())
    body += paragraph("Students of " + escaped(runs[0].teacher) + ", which takes " + megabytes(runs[0].teacher_bytes) +
                      ".");
  body += "</header>" + html(table) +
          dot_chart({"Size, divergence and speed",
                     "Down and to the left is better; the larger a dot, the faster it writes.", "file, MB", "KL, nats"},
                    dots);
  Table missed{.caption_html = "Missed gates", .head_html = {"run", "gate", "limit", "found"}, .css = "numbers cards"};
  for (const RunSummary& run : runs)
    for (const ReportGate& gate : run.gates)
      if (!gate.pass)
        missed.rows.push_back({{escaped(run.name), escaped(gate_words(gate.name).label),
                                escaped(gate.limit_is) + " " + gate_limit(gate), gate_value(gate)}});
  return page(std::to_string(runs.size()) + " runs compared", body + html(missed), "Made by Attar " ATTAR_VERSION ".");
}

}  // namespace attar
