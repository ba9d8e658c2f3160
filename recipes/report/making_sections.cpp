// How a run was made: training curves, what pruning and quantizing did, data, files, stages, provenance.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "recipes/report/chart.h"
#include "recipes/report/page.h"
#include "recipes/report/sections.h"
#include "runtime/judge/digits.h"

namespace attar {
namespace {

using runtime::with_digits;

std::string millions(double count) {
  return with_digits(count * 1e-6, 3) + " M";
}

std::string spaced(std::string name) {
  std::replace(name.begin(), name.end(), '_', ' ');
  return name.ends_with(" kl") ? name.substr(0, name.size() - 2) + "KL" : name;
}

// What a part of the loss counts.
std::string loss_unit(const std::string& key) {
  return key == "hidden" || key == "feature" ? "" : ", nats a token";
}

// How often the student's likeliest token was the teacher's while it learned; nothing without a teacher.
std::string agreement_curve(const std::string& stage, const Json& results) {
  Series agreement{"agreement"};
  for (const Json& point : results.value("curve", Json::array()))
    if (const double share = number_at(point, "agreement"); !std::isnan(share))
      agreement.points.emplace_back(number_at(point, "tokens"), 100.0 * share);
  if (agreement.points.empty()) return "";
  return line_chart({escaped(stage) + ": top-1 agreement with the teacher",
                     "Of the tokens that a step learned from; pale: each step, bold: the mean around it.",
                     "tokens learned from", "tokens, %"},
                    {agreement});
}

// `results` of a training: a chart of each scale would hide one behind the other, so one a part of the loss.
std::string training_curve(const std::string& stage, const Json& results) {
  std::vector<Series> series;
  for (const Json& point : results.value("curve", Json::array()))
    for (const auto& [key, value] : point.items()) {
      if (key == "step" || key == "tokens" || key == "agreement" || !value.is_number()) continue;
      auto found = std::find_if(series.begin(), series.end(), [&](const Series& s) { return s.name == spaced(key); });
      if (found == series.end()) found = series.insert(series.end(), Series{spaced(key)});
      found->points.emplace_back(number_at(point, "tokens"), value.get<double>());
    }
  std::string about = whole(number_at(results, "tokens")) + " tokens in " + whole(number_at(results, "steps")) +
                      " steps; pale: each step, bold: the mean around it.";
  return line_chart({escaped(stage) + ": loss", about, "tokens learned from", "loss" + loss_unit("loss")}, series) +
         agreement_curve(stage, results);
}

std::string prune_html(const Json& stage) {
  const Json& results = stage.at("results");
  std::vector<std::pair<std::string, double>> bars;
  for (const Json& layer : results.value("layers", Json::array()))
    bars.emplace_back(std::to_string(layer.value("layer", 0)), 100.0 * number_at(layer, "relative_error"));
  return bar_chart(
      {escaped(text_at(stage, "name")) + ": error left in each layer",
       "After the weights that are left were fitted again; " + term("relative_error", "relative error") + ".", "layer",
       "error, %"},
      bars);
}

// A row a role, a column a layer.
std::vector<HeatRow> errors_by_role(const Json& tensors) {
  std::vector<HeatRow> rows;
  for (const Json& tensor : tensors) {
    const std::string role = spaced(text_at(tensor, "role"));
    auto found = std::find_if(rows.begin(), rows.end(), [&](const HeatRow& row) { return row.name == role; });
    if (found == rows.end()) found = rows.insert(rows.end(), HeatRow{role});
    found->cells.push_back(100.0 * number_at(tensor, "relative_error"));
  }
  return rows;
}

// What was left of each block's error when it had learned; nothing where none did.
std::string learned_blocks_html(const std::string& stage, const Json& results) {
  std::vector<std::pair<std::string, double>> bars;
  for (const Json& block : results.value("blocks", Json::array()))
    bars.emplace_back(std::to_string(block.value("layer", 0)),
                      100.0 * number_at(block, "error_after") / number_at(block, "error_before"));
  if (bars.empty()) return "";
  return bar_chart({stage + ": error that learning left in each block",
                    "Of what the block gives, on text that it did not learn from; 100 %: the error before it learned.",
                    "layer", "error, %"},
                   bars);
}

std::string quantize_html(const Json& stage) {
  const Json& results = stage.at("results");
  const std::string name = escaped(text_at(stage, "name"));
  Table types{.caption_html = name + ": tensor types", .head_html = {"type", "tensors", "size", "share of the file"}};
  const Json by_type = results.value("types", Json::object()), by_role = results.value("bits", Json::object());
  const double all = number_at(results, "tensor_bytes");
  for (const auto& [type, used] : by_type.items())
    types.rows.push_back({{escaped(type), whole(number_at(used, "tensors")), megabytes(number_at(used, "bytes")),
                           with_digits(100.0 * number_at(used, "bytes") / all, 2) + " %"}});
  std::vector<HeatRow> bits;
  for (const auto& [role, layers] : by_role.items()) {
    HeatRow row{spaced(role)};
    for (const Json& value : layers) row.cells.push_back(value.get<double>());
    bits.push_back(row);
  }
  return html(types) +
         heat_map({name + ": bits a weight", "A row a kind of matrix, a column a layer.", "", ""}, bits, " bits") +
         heat_map({name + ": error of each matrix",
                   term("relative_error", "Relative error") + " in percent, weighted by the calibration text" +
                       (results.contains("qad") || results.contains("blocks") ? ", before the codes learned." : "."),
                   "", ""},
                  errors_by_role(results.value("tensors", Json::array())), " %") +
         learned_blocks_html(name, results);
}

std::string duration(double seconds) {
  if (std::isnan(seconds)) return "–";
  if (seconds < 120.0) return with_digits(seconds, 2) + "&nbsp;s";
  const long minutes = std::lround(seconds / 60.0), whole_s = std::lround(seconds);
  if (minutes < 60) return std::to_string(whole_s / 60) + "&nbsp;min " + std::to_string(whole_s % 60) + "&nbsp;s";
  return std::to_string(minutes / 60) + "&nbsp;h " + std::to_string(minutes % 60) + "&nbsp;min";
}

// What a cached signal has left open.
std::string gaps(const Json& results) {
  const double open = number_at(results, "unsignalled_share"), dropped = number_at(results, "dropped_mass");
  if (!(open > 0) && !(dropped > 0)) return "";
  const auto share = [](double value) { return with_digits(value > 0 ? 100 * value : 0, 2) + " %"; };
  return ", which says nothing about " + share(open) + " of them" +
         (dropped >= 0 ? " and lacks " + share(dropped) + " of the teacher's mass" : "");
}

std::string removed_layers(const Json& results) {
  const size_t n = results.value("removed_layers", Json::array()).size();
  return n == 0 ? "" : ", " + std::to_string(n) + (n == 1 ? " layer removed" : " layers removed");
}

std::string split_sizes(const Json& results) {
  std::string text;
  for (const auto& [split, use] : {std::pair("train", " tokens to learn from"),
                                   {"calibration", " tokens to calibrate with"},
                                   {"evaluation", " tokens to judge on"}})
    if (const double tokens = number_at(results.value(split, Json::object()), "tokens"); tokens > 0)
      text += (text.empty() ? "" : ", ") + whole(tokens) + use;
  return text;
}

// The facts of a stage in words.
std::string facts(const Json& stage) {
  const Json& results = stage.at("results");
  const std::string kind = text_at(stage, "kind");
  if (kind == "teacher") {
    std::string text = millions(number_at(results, "parameters")) + " parameters";
    if (results.contains("pretrain"))
      text += "; trained here on " + whole(number_at(results.at("pretrain"), "tokens")) + " tokens to a loss of " +
              with_digits(number_at(results.at("pretrain"), "final_loss"), 3);
    return text;
  }
  if (kind == "prune")
    return millions(number_at(results, "parameters_before")) + " parameters to " +
           millions(number_at(results, "parameters_after")) + removed_layers(results) + ", a vocabulary of " +
           whole(number_at(results, "vocabulary"));
  if (kind == "distill")
    return whole(number_at(results, "steps")) + " steps, " + whole(number_at(results, "tokens")) + " tokens, signal " +
           escaped(text_at(results, "signal")) + gaps(results);
  if (kind == "quantize" && results.contains("bits_per_weight"))
    return escaped(spaced(text_at(results, "plan"))) + ", preset " + escaped(text_at(results, "preset")) + ", " +
           with_digits(number_at(results, "bits_per_weight"), 3) + " bits a weight" +
           (results.contains("predicted_kl") ? ", predicted KL " + with_digits(number_at(results, "predicted_kl"), 2)
                                             : "") +
           (results.contains("calibration_tokens")
                ? ", " + whole(number_at(results, "calibration_tokens")) + " tokens of calibration text"
                : "");
  if (kind == "data") return split_sizes(results);
  if (kind == "verify") return whole(number_at(results, "scored_tokens")) + " positions";
  std::string names;
  for (const auto& [key, value] : results.items())
    if (!value.is_null()) names += (names.empty() ? "" : ", ") + escaped(key);
  return names;
}

std::string notes_html(const Json& stages) {
  std::string out;
  for (const Json& stage : stages) {
    std::string lines;
    for (const Json& note : stage.value("notes", Json::array()))
      lines += "<li>" + escaped(note.get<std::string>()) + "</li>";
    if (!lines.empty())
      out += "<p class=\"soft\">" + escaped(text_at(stage, "name")) + "</p><ul class=\"notes\">" + lines + "</ul>";
  }
  return out.empty() ? "" : "<h3>Notes and fallbacks</h3>" + out;
}

std::string plain(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.is_number_float() ? with_digits(value, 6) : value.dump();
}

void add_rows(const Json& object, Table& table) {
  for (const auto& [key, value] : object.items())
    table.rows.push_back({{escaped(key == "matrix_kernels" ? "MKL's kernels (MKL_CBWR)" : spaced(key)),
                           "<code>" + escaped(plain(value)) + "</code>"}});
}

// A cell: what of a split was dropped, and why.
std::string dropped_documents(const Json& split) {
  const Json near = split.value("near_duplicates", Json::object());
  if (near.empty()) return whole(number_at(split, "dropped"));
  return whole(number_at(split, "dropped")) + ", and " + whole(number_at(near, "dropped")) + " of " +
         whole(number_at(near, "of")) + " as " + term("near_duplicates", "near-duplicates");
}

}  // namespace

std::string curves_html(const Json& report) {
  std::string out;
  for (const Json& stage : report.at("results").at("stages")) {
    const Json& results = stage.at("results");
    const std::string name = text_at(stage, "name");
    if (results.contains("pretrain")) out += training_curve(name + ", pretraining", results.at("pretrain"));
    if (text_at(stage, "kind") == "distill") out += training_curve(name, results);
    if (results.contains("qad")) out += training_curve(name + ", learning on the grid", results.at("qad"));
  }
  return section("How it learned", out);
}

std::string compression_html(const Json& report) {
  std::string out;
  for (const Json& stage : report.at("results").at("stages")) {
    if (text_at(stage, "kind") == "prune") out += prune_html(stage);
    if (text_at(stage, "kind") == "quantize") out += quantize_html(stage);
  }
  return section("What was taken away", out);
}

std::string data_html(const Json& report) {
  Table table{.caption_html =
                  "Texts<span>Documents that share 13 words in a row with the evaluation text are dropped "
                  "from training and calibration, with the training text from calibration.</span>",
              .head_html = {"split", "documents", "tokens", "dropped", "from"},
              .css = "numbers words cards"};
  for (const Json& stage : report.at("results").at("stages")) {
    if (text_at(stage, "kind") != "data") continue;
    for (const auto& [split, of] : stage.at("results").items()) {
      if (!of.is_object() || number_at(of, "documents") == 0) continue;
      std::string sources;
      for (const Json& source : of.value("sources", Json::array()))
        sources += (sources.empty() ? "" : "; ") + escaped(source.get<std::string>());
      table.rows.push_back({{escaped(split), whole(number_at(of, "documents")), whole(number_at(of, "tokens")),
                             split == "evaluation" ? "" : dropped_documents(of), sources}});
    }
  }
  return section("Data", html(table));
}

std::string files_html(const Json& report) {
  Table table{.caption_html = "Files<span>In the run's folder.</span>",
              .head_html = {"path", "size", "what"},
              .css = "numbers words cards"};
  for (const Json& stage : report.at("results").at("stages")) {
    if (text_at(stage, "kind") != "export") continue;
    for (const auto& [format, of] : stage.at("results").items()) {
      if (!of.is_object()) continue;
      const bool gguf = format == "gguf";
      const std::string what =
          gguf ? "GGUF, architecture " + text_at(of, "architecture")
               : "Hugging Face directory, " +
                     (of.contains("dtype") ? text_at(of, "dtype") + ", " : std::string("compressed-tensors, ")) +
                     text_at(of, "values");
      table.rows.push_back({{"<code>export/" + (gguf ? "model.gguf" : escaped(format) + "/") + "</code>",
                             megabytes(number_at(of, "bytes")), escaped(what)}});
    }
  }
  return section("What was written", html(table));
}

std::string stages_html(const Json& report) {
  const Json &stages = report.at("results").at("stages"), &spent = report.at("measurements").at("stages");
  Table table{.caption_html = "In the order they ran",
              .head_html = {"stage", "time", "peak memory", "what came of it"},
              .css = "cards"};
  for (size_t i = 0; i < stages.size(); ++i) {
    const Json& measured = spent.at(i).at("measurements");
    table.rows.push_back({{escaped(text_at(stages[i], "name")), duration(number_at(measured, "seconds")),
                           megabytes(number_at(measured, "peak_rss_bytes")), facts(stages[i])}});
  }
  return section("Stages", html(table) + notes_html(stages));
}

std::string provenance_html(const Json& report) {
  const Json &results = report.at("results"), &measurements = report.at("measurements");
  std::string commands;
  for (const Json& command : measurements.value("commands", Json::array()))
    commands += escaped(command.get<std::string>()) + "\n";
  Table hashes{.caption_html = "Provenance", .head_html = {}, .css = "facts"};
  for (const Json& stage : results.at("stages"))
    if (text_at(stage, "kind") == "teacher") {
      const Json& teacher = stage.at("results");
      for (const auto& [label, key] : {std::pair("teacher", "model"),
                                       {"teacher calls itself", "name"},
                                       {"licence", "license"},
                                       {"licence text", "license_link"}})
        if (const std::string text = text_at(teacher, key); !text.empty())
          hashes.rows.push_back({{label, escaped(text)}});
    }
  add_rows(results.at("provenance"), hashes);
  Table machine{.caption_html = "Machine", .head_html = {}, .css = "facts"};
  add_rows(measurements.value("machine", Json::object()), machine);
  return section(
      "How to make it again",
      (commands.empty() ? "" : "<pre class=\"code\" tabindex=\"0\">" + commands + "</pre>") +
          "<details><summary>The recipe with every default written out</summary><pre class=\"code\" tabindex=\"0\">" +
          escaped(text_at(results, "recipe")) + "</pre></details>" + html(hashes) + html(machine));
}

}  // namespace attar
