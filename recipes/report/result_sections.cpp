// What came of a run: the verdict, gates, size and speed, fidelity, samples.
#include <cmath>
#include <nlohmann/json.hpp>

#include "recipes/report/chart.h"
#include "recipes/report/page.h"
#include "recipes/report/sections.h"
#include "runtime/judge/digits.h"
#include "runtime/judge/headline.h"

namespace attar {
namespace {

using runtime::with_digits;
using runtime::with_spread;

std::string capital(std::string text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 'a' + 'A');
  return text;
}

std::string tile(const std::string& label_html, const std::string& number, const std::string& about) {
  return unbroken("<div class=\"tile\"><span>" + label_html + "</span><b>" + number + "</b><span>" + about +
                  "</span></div>\n");
}

// "98.4 MB" and what the number stands beside; nothing for what was not measured.
std::string tiles(const RunSummary& run) {
  std::string out =
      tile(term("bytes", "File size"), megabytes(run.student.bytes), "teacher " + megabytes(run.teacher_bytes));
  if (!std::isnan(run.student.kl)) {
    out += tile(term("kl", "KL to the teacher"), runtime::to_spread(run.student.kl, run.student.kl_stderr),
                std::isnan(run.student.kl_stderr)
                    ? "nats a token"
                    : term("spread", "±") + " " + with_digits(run.student.kl_stderr, 1) + " nats a token");
    out += tile(term("top1_agreement", "Same likeliest token"),
                runtime::to_spread(100.0 * run.student.top1, 100.0 * run.student.top1_stderr) + " %",
                "of " + whole(run.scored_tokens) + " positions");
  }
  if (!std::isnan(run.decode.tokens_per_s))
    out += tile(
        term("decode_tokens_per_s", "Generation"), runtime::to_spread(run.decode.tokens_per_s, run.decode.half_iqr),
        "tokens/s, teacher " + runtime::to_spread(run.teacher_decode.tokens_per_s, run.teacher_decode.half_iqr));
  return "<div class=\"tiles\">" + out + "</div>\n";
}

std::string gate_label_html(const ReportGate& gate) {
  const GateWords words = gate_words(gate.name);
  return term(words.term, words.label) + " <code>" + escaped(gate.name) + "</code>";
}

std::string gates_table(const RunSummary& run, const std::string& stage) {
  Table table{.caption_html = term("gate", "Gates") + "<span>The limits that the recipe sets.</span>",
              .head_html = {"what", "limit", "found", ""}};
  for (const ReportGate& gate : run.gates)
    if (gate.stage == stage)
      table.rows.push_back({{gate_label_html(gate), escaped(gate.limit_is) + " " + gate_limit(gate), gate_value(gate),
                             gate.pass ? "<span class=\"pass\">passed</span>" : "<span class=\"miss\">missed</span>"}});
  return html(table);
}

std::string headline_table(const std::string& caption, const std::vector<runtime::HeadlineRow>& rows) {
  Table table{.caption_html = caption, .head_html = {"", "teacher", "student", "ratio"}};
  for (const runtime::HeadlineRow& row : rows) {
    const bool part = row.label.rfind("  ", 0) == 0;
    const std::string label = part ? escaped(row.label.substr(2)) : term(row.key, row.label);
    table.rows.push_back(
        {{label, row.teacher, row.student, row.ratio.empty() ? "" : row.ratio + " ×"}, part ? "sub" : ""});
  }
  return html(table);
}

std::string fidelity_tables(const Json& results) {
  constexpr const char* kModes[][2] = {{"deployed", " numbers: what users run, and what the gates judge."},
                                       {"fp32", " numbers: the reference, everything in 32-bit floats."}};
  std::string out;
  for (const auto& [mode, about] : kModes)
    if (results.contains(mode) && results.at(mode).is_object())
      out += headline_table("Fidelity, " + std::string(mode) + "<span>In " + term(mode, mode) + about + "</span>",
                            runtime::fidelity_rows(results.at(mode).dump()));
  return out;
}

std::string tasks_table(const Json& results) {
  Table table{.caption_html =
                  "Tasks<span>Items answered right, with the 95 % interval of the difference, and items where "
                  "both choose the same answer.</span>",
              .head_html = {"task", "items", "teacher", "student", "difference", "agreement"},
              .css = "numbers cards"};
  for (const Json& task : results.value("tasks", Json::array())) {
    const Json accuracy = task.value("accuracy", Json::object());
    const auto points = [&](const char* key) { return with_digits(100.0 * number_at(accuracy, key), 2); };
    const bool interval = !std::isnan(number_at(accuracy, "low95"));
    table.rows.push_back(
        {{escaped(text_at(task, "name")), whole(number_at(task, "items")),
          percent(number_at(accuracy, "teacher"), kUnknown), percent(number_at(accuracy, "student"), kUnknown),
          points("difference") + (interval ? " (" + points("low95") + " to " + points("high95") + ")" : "") + " points",
          percent(number_at(task, "agreement"), kUnknown)}});
  }
  return html(table);
}

// Whether the middle half of the runs of a model is spread over more than a third of their median.
bool varied(const Json& model) {
  const auto wide = [&](const std::string& rate) {
    return number_at(model, (rate + "_iqr_tokens_per_s").c_str()) >
           number_at(model, (rate + "_tokens_per_s").c_str()) / 3.0;
  };
  return model.is_object() && (wide("prefill") || wide("decode"));
}

std::string speed_caption(const Json& report, const Json& measured) {
  const Json student = measured.value("student", Json::object());
  if (!student.is_object() || student.empty()) return "";
  const Json& machine = report.at("measurements").at("machine");
  const double runs = number_at(student, "decode_runs");
  std::string about =
      "On " + escaped(text_at(machine, "cpu")) + " (" + escaped(text_at(machine, "isa")) + "), " + threads_of(machine);
  if (!std::isnan(runs))
    about += "; medians of at least " + whole(std::min(runs, number_at(student, "prefill_runs"))) +
             " runs, the two models in turns, " + term("spread", "±") + " half of what lies between the quartiles";
  about += ".";
  if (varied(student) || varied(measured.value("teacher", Json())))
    about += " Some runs took far longer than others: the machine had other work, and these speeds say little.";
  return "Size and speed<span>" + about + "</span>";
}

std::string samples(const Json& measured) {
  std::string out;
  for (const Json& sample : measured.value("samples", Json::array()))
    out += "<div class=\"sample\"><p>" + escaped(text_at(sample, "prompt")) +
           "</p><div class=\"pair\"><div><small>teacher</small>" + visible_text(text_at(sample, "teacher")) +
           "</div><div><small>student</small>" + visible_text(text_at(sample, "student")) + "</div></div></div>\n";
  if (out.empty()) return "";
  std::string how;
  if (measured.contains("samples_decoding")) {
    const Json& decoding = measured.at("samples_decoding");
    how = "Decoded greedily (temperature 0) with a repetition penalty of " +
          with_digits(number_at(decoding, "repetition_penalty"), 2) + ", at most " +
          whole(number_at(decoding, "max_tokens")) + " tokens, in " + escaped(text_at(decoding, "numerics")) +
          " numbers. ";
  }
  return "<h3>Side by side</h3>" +
         paragraph(how + "↵ is a line break, → a tab, · a space where it would not be seen.", "soft") + out;
}

}  // namespace

std::string header_html(const RunSummary& run) {
  std::string out =
      "<header><h1>" + escaped(run.name) + "</h1><p class=\"verdict\">" + unbroken(capital(verdict(run))) + "</p>";
  for (const std::string& line : warnings(run)) out += paragraph(escaped(line), "alert");
  std::string lead = "A student of " + escaped(run.teacher.empty() ? "a teacher without a name" : run.teacher) +
                     (run.teacher_license.empty() ? "" : " (" + escaped(run.teacher_license) + ")");
  if (!std::isnan(run.parameters))
    lead += ": " + with_digits(run.teacher_parameters * 1e-6, 3) + " M parameters became " +
            with_digits(run.parameters * 1e-6, 3) + " M, " + megabytes(run.teacher_bytes) + " became " +
            megabytes(run.student.bytes);
  lead += ".";
  if (!run.verify_stage.empty())
    lead += " Judged on " + whole(run.scored_tokens) + " positions of held-out text in " +
            term(run.numerics, run.numerics) + " numbers.";
  return out + paragraph(lead) + tiles(run) + "</header>\n";
}

std::string comparison_with_baseline(const RunSummary& run) {
  if (!run.baseline || run.verify_stage.empty()) return "";
  Table table{.caption_html =
                  "The student beside quantizing alone<span>Judged on the same text; the teacher beside "
                  "itself is the control.</span>",
              .head_html = {"", "file", "KL", "same top token"}};
  const auto row = [&](const std::string& name, const Judged& model, const char* css) {
    table.rows.push_back(
        {{name, megabytes(model.bytes), with_spread(model.kl, model.kl_stderr), percent(model.top1, model.top1_stderr)},
         css});
  };
  row("teacher", {.bytes = run.teacher_bytes, .kl = 0, .top1 = 1}, "");
  table.rows.back().cells_html[2] = "0";
  row(term("baseline", "quantize only"), *run.baseline, "");
  row("this student", run.student, "own");
  return html(table) + dot_chart({"Size and divergence", "Down and to the left is better.", "file, MB", "KL, nats"},
                                 {{run.teacher_bytes * 1e-6, 0, 0, "teacher", 1},
                                  {run.baseline->bytes * 1e-6, run.baseline->kl, 0, "quantize only", 2},
                                  {run.student.bytes * 1e-6, run.student.kl, 0, "this student", 3}});
}

std::string verification_html(const Json& report, size_t stage, const std::string& heading, const RunSummary& run) {
  const Json& verified = report.at("results").at("stages").at(stage);
  const Json& results = verified.at("results");
  const Json& measured = report.at("measurements").at("stages").at(stage).at("measurements");
  std::string scored = "Scored: " + whole(number_at(results, "scored_tokens")) + " positions in " +
                       whole(number_at(results, "windows")) + " " + term("window", "windows") + " of at most " +
                       whole(number_at(results, "context")) + " tokens";
  if (const double skipped = number_at(results, "skipped_tokens"); skipped > 0)
    scored += "; " + whole(skipped) + " more left out where the two cut the text into other tokens";
  scored += ". The text's SHA-256 is <code>" + escaped(text_at(results, "text_sha256")) + "</code>.";
  return section(heading,
                 paragraph(scored, "soft") + gates_table(run, text_at(verified, "name")) + fidelity_tables(results) +
                     tasks_table(results) +
                     headline_table(speed_caption(report, measured), runtime::efficiency_rows(measured.dump())) +
                     samples(measured));
}

}  // namespace attar
