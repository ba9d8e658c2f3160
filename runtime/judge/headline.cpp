#include "runtime/judge/headline.h"

#include <cmath>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>

namespace attar::runtime {
namespace {

using Json = nlohmann::ordered_json;
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

struct Quantity {
  const char* label;
  const char* key;
  double scale;
  const char* format;
};
constexpr Quantity kSize = {"file size, MB", "bytes", 1e-6, "%.1f"};
constexpr Quantity kEfficiency[] = {
    kSize,
    {"parameters, M", "parameters", 1e-6, "%.1f"},
    {"bits per weight", "bits_per_weight", 1.0, "%.2f"},
    {"prompt, tokens/s", "prefill_tokens_per_s", 1.0, "%.0f"},
    {"generation, tokens/s", "decode_tokens_per_s", 1.0, "%.1f"},
    {"time to first token, s", "time_to_first_token_s", 1.0, "%.3f"},
    {"peak memory, MB", "peak_rss_bytes", 1e-6, "%.0f"},
};
constexpr Quantity kFidelity[] = {
    {"perplexity", "perplexity", 1.0, "%.3f"},
    {"bits per byte", "bits_per_byte", 1.0, "%.4f"},
};

std::string shown(double value, const char* format) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

HeadlineRow row_of(const Quantity& quantity, double teacher, double student) {
  return {quantity.label, shown(teacher * quantity.scale, quantity.format),
          shown(student * quantity.scale, quantity.format), student / teacher};
}

// `text` in a column of `width` characters: to the right, or to the left when the width is negative.
std::string padded(const std::string& text, int width) {
  int characters = 0;
  for (const char c : text) characters += (static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0;
  const std::string space(static_cast<size_t>(std::max(0, std::abs(width) - characters)), ' ');
  return width < 0 ? text + space : space + text;
}

std::string line(const HeadlineRow& row, const std::string& ratio) {
  std::string text = "  " + padded(row.label, -30) + padded(row.teacher, 14) + " " + padded(row.student, 17);
  if (!ratio.empty()) text += " " + padded(ratio, 9);
  return text + "\n";
}

}  // namespace

HeadlineRow size_row(uint64_t teacher_bytes, uint64_t student_bytes) {
  return row_of(kSize, static_cast<double>(teacher_bytes), static_cast<double>(student_bytes));
}

std::vector<HeadlineRow> efficiency_rows(const std::string& measurements_json) {
  const Json measured = Json::parse(measurements_json);
  std::vector<HeadlineRow> rows;
  for (const Quantity& quantity : kEfficiency) {
    const auto has = [&](const char* model) {
      return measured.contains(model) && measured.at(model).is_object() && measured.at(model).contains(quantity.key);
    };
    if (has("teacher") && has("student"))
      rows.push_back(
          row_of(quantity, measured.at("teacher").at(quantity.key), measured.at("student").at(quantity.key)));
  }
  return rows;
}

std::vector<HeadlineRow> fidelity_rows(const std::string& fidelity_json) {
  const Json f = Json::parse(fidelity_json);
  std::vector<HeadlineRow> rows;
  for (const Quantity& quantity : kFidelity)
    rows.push_back(row_of(quantity, f.at(quantity.key).at("teacher"), f.at(quantity.key).at("student")));
  const Json& kl = f.at("kl");
  const auto of_student = [&](const char* label, const std::string& text) { rows.push_back({label, "", text, kNone}); };
  of_student("KL to the teacher, nats", shown(kl.at("mean"), "%.5f") + " ± " + shown(kl.at("stderr"), "%.5f"));
  of_student("  its median", shown(kl.at("p50"), "%.5f"));
  of_student("  of 99 % at most", shown(kl.at("p99"), "%.4f"));
  of_student("  largest", shown(kl.at("max"), "%.3f"));
  of_student("same likeliest token, %", shown(100.0 * f.at("top1_agreement").get<double>(), "%.2f"));
  of_student("of five likeliest, %", shown(100.0 * f.at("top5_overlap").get<double>(), "%.2f"));
  if (f.at("dropped_mass").get<double>() > 0.0)
    of_student("mass outside the vocabulary", shown(f.at("dropped_mass"), "%.5f"));
  return rows;
}

std::string headline_title() {
  return line({"", "teacher", "student", kNone}, "ratio");
}

std::string headline_lines(const std::vector<HeadlineRow>& rows) {
  std::string text;
  for (const HeadlineRow& row : rows) text += line(row, std::isnan(row.ratio) ? "" : shown(row.ratio, "%.3fx"));
  return text;
}

}  // namespace attar::runtime
