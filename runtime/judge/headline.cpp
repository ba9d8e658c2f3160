#include "runtime/judge/headline.h"

#include <cmath>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>

#include "runtime/judge/digits.h"

namespace attar::runtime {
namespace {

using Json = nlohmann::ordered_json;

std::string shown(double value, const char* format) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

// Known to the byte: at least three digits.
std::string counted(double value) {
  return value < 10.0 ? with_digits(value, 3) : shown(value, "%.1f");
}

struct Quantity {
  const char* label;
  const char* key;
  double scale;
  std::string (*text)(double);
  const char* iqr = nullptr;  // key of a measured rate's spread
  int ratio_digits = 3;
};
constexpr Quantity kSize = {"file size, MB", "bytes", 1e-6, counted};
constexpr Quantity kEfficiency[] = {
    kSize,
    {"parameters, M", "parameters", 1e-6, counted},
    {"bits per weight", "bits_per_weight", 1.0, [](double value) { return shown(value, "%.2f"); }},
    {"prompt, tokens/s", "prefill_tokens_per_s", 1.0, nullptr, "prefill_iqr_tokens_per_s"},
    {"generation, tokens/s", "decode_tokens_per_s", 1.0, nullptr, "decode_iqr_tokens_per_s"},
    {"time to first token, s", "time_to_first_token_s", 1.0, [](double value) { return with_digits(value, 2); },
     nullptr, 2},
    {"peak memory, MB", "peak_rss_bytes", 1e-6, [](double value) { return shown(value, "%.0f"); }},
};
constexpr Quantity kFidelity[] = {
    {"perplexity", "perplexity", 1.0, [](double value) { return with_digits(value, 4); }},
    {"bits per byte", "bits_per_byte", 1.0, [](double value) { return with_digits(value, 4); }},
};

double number(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || !found->is_number() ? std::numeric_limits<double>::quiet_NaN() : found->get<double>();
}

HeadlineRow row_of(const Quantity& quantity, double teacher, double student) {
  return {quantity.key, quantity.label, quantity.text(teacher * quantity.scale),
          quantity.text(student * quantity.scale), with_digits(student / teacher, quantity.ratio_digits)};
}

// Of a rate, whose ratio is as unsure as both together.
HeadlineRow rate_row(const Quantity& quantity, const Json& teacher, const Json& student) {
  const double a = number(teacher, quantity.key), b = number(student, quantity.key);
  const double a_half = 0.5 * number(teacher, quantity.iqr), b_half = 0.5 * number(student, quantity.iqr);
  return {quantity.key, quantity.label, with_spread(a, a_half), with_spread(b, b_half),
          to_spread(b / a, b / a * std::sqrt(a_half / a * a_half / a + b_half / b * b_half / b))};
}

// `text` in a column of `width` characters: to the right, or to the left when the width is negative.
std::string padded(const std::string& text, int width) {
  int characters = 0;
  for (const char c : text) characters += (static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0;
  const std::string space(static_cast<size_t>(std::max(0, std::abs(width) - characters)), ' ');
  return width < 0 ? text + space : space + text;
}

std::string line(const HeadlineRow& row, const std::string& ratio) {
  std::string text = "  " + padded(row.label, -28) + padded(row.teacher, 18) + " " + padded(row.student, 18);
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
    if (!has("teacher") || !has("student")) continue;
    const Json &teacher = measured.at("teacher"), &student = measured.at("student");
    rows.push_back(quantity.iqr != nullptr ? rate_row(quantity, teacher, student)
                                           : row_of(quantity, teacher.at(quantity.key), student.at(quantity.key)));
  }
  return rows;
}

std::vector<HeadlineRow> fidelity_rows(const std::string& fidelity_json) {
  const Json f = Json::parse(fidelity_json);
  std::vector<HeadlineRow> rows;
  for (const Quantity& quantity : kFidelity)
    rows.push_back(row_of(quantity, number(f.at(quantity.key), "teacher"), number(f.at(quantity.key), "student")));
  const Json& kl = f.at("kl");
  const auto of_student = [&](const char* key, const char* label, const std::string& text) {
    rows.push_back({key, label, "", text, ""});
  };
  of_student("kl", "KL to the teacher, nats", with_spread(kl.at("mean"), number(kl, "stderr")));
  of_student("kl", "  median", with_digits(kl.at("p50"), 2));
  of_student("kl", "  99 % of positions below", with_digits(kl.at("p99"), 2));
  of_student("kl", "  largest", with_digits(kl.at("max"), 2));
  of_student("top1_agreement", "same likeliest token, %",
             with_spread(100.0 * number(f, "top1_agreement"), 100.0 * number(f, "top1_stderr")));
  of_student("top5_overlap", "five likeliest in common, %", shown(100.0 * number(f, "top5_overlap"), "%.1f"));
  if (f.at("dropped_mass").get<double>() > 0.0)
    of_student("dropped_mass", "dropped mass, %", with_digits(100.0 * number(f, "dropped_mass"), 2));
  return rows;
}

std::string headline_title() {
  return line({"", "", "teacher", "student", ""}, "ratio");
}

std::string headline_note() {
  return "  ± of KL and shares is the standard error, from the windows; of speeds half of what lies between the\n"
         "  quartiles of the runs\n";
}

std::string headline_lines(const std::vector<HeadlineRow>& rows) {
  std::string text;
  for (const HeadlineRow& row : rows) text += line(row, row.ratio.empty() ? "" : row.ratio + "x");
  return text;
}

}  // namespace attar::runtime
