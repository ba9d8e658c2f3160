#include "recipes/cli/summary.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "recipes/report/report.h"
#include "runtime/base/words/byte_size.h"
#include "runtime/base/words/utf8.h"
#include "runtime/judge/digits.h"

namespace attar::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kShown = 12;  // entries of a list

void line(const char* label, const std::string& text) {
  std::printf("%-14s %s\n", label, visible(text).c_str());
}

template <class... Values>
std::string text_of(const char* format, Values... values) {
  char text[160];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

std::string text_of(const Json& item) {
  return item.is_string() ? item.get<std::string>() : item.dump();
}

// "down Q4_K 22, Q6_K 8"
std::string counted(const std::string& role, const Json& types) {
  std::string text = role;
  for (const auto& [type, count] : types.items())
    text += (text == role ? " " : ", ") + type + (types.size() > 1 || count > 1 ? " " + count.dump() : "");
  return text;
}

void print_notes(const Json& json) {
  for (const Json& note : json.value("notes", Json::array())) line("note", text_of(note));
}

void print_fallbacks(const Json& json, Detail detail) {
  const auto all = json.value("fallbacks", std::vector<std::string>());
  if (all.empty()) return;
  if (detail == Detail::All) {
    for (const std::string& fallback : all) line("fallback", fallback);
    return;
  }
  std::string text;
  for (const std::string& group : grouped_fallbacks(all)) text += group + "; ";
  line("fallbacks", text + "--verbose names them");
}

void print_tensors(const Json& tensors) {
  std::printf("\n%-32s %-8s %12s %11s  %s\n", "tensor", "type", "bytes", "error", "why this type");
  for (const Json& tensor : tensors)
    std::printf("%-32s %-8s %12lld %11.3e  %s\n", tensor.at("name").get<std::string>().c_str(),
                tensor.at("type").get<std::string>().c_str(), tensor.at("bytes").get<long long>(),
                tensor.at("relative_error").get<double>(), tensor.at("reason").get<std::string>().c_str());
}

// What learning took away of the blocks' errors, all together.
std::string learned_blocks(const Json& blocks) {
  double before = 0.0, after = 0.0;
  for (const Json& block : blocks)
    before += block.at("error_before").get<double>(), after += block.at("error_after").get<double>();
  return text_of("%zu learned: their outputs' error is %.1f %% less", blocks.size(), 100.0 * (1.0 - after / before));
}

std::string accuracy_text(const Json& task, const char* value, const char* error) {
  if (!task.contains(value)) return "";
  const std::string share = text_of("%.1f %%", 100.0 * task.at(value).get<double>());
  const bool known = task.contains(error) && task.at(error).is_number();
  return known ? share + text_of(" \u00b1 %.1f", 100.0 * task.at(error).get<double>()) : share;
}

// A perplexity beyond all numbers is null in JSON.
double perplexity_of(const Json& value) {
  return value.is_number() ? value.get<double>() : HUGE_VAL;
}

std::string spread_text(const Json& text, const std::string& key) {
  const Json& error = text.at(key + "_stderr");
  return runtime::with_spread(perplexity_of(text.at(key)), error.is_number() ? error.get<double>() : 0.0);
}

// In a column of so many characters, of which a ± takes two bytes.
std::string right_in(size_t columns, const std::string& text) {
  const auto characters =
      static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
  return std::string(columns - std::min(columns, characters), ' ') + text;
}

}  // namespace

std::vector<std::string> grouped_fallbacks(const std::vector<std::string>& lines) {
  std::map<std::string, size_t> counts;
  std::vector<std::string> order, out;
  for (const std::string& one : lines) {
    const size_t colon = one.find(": ");
    const std::string what = colon == std::string::npos ? one : one.substr(colon + 2);
    if (counts[what]++ == 0) order.push_back(what);
  }
  for (const std::string& what : order)
    out.push_back(std::to_string(counts[what]) + (counts[what] == 1 ? " tensor: " : " tensors: ") + what);
  return out;
}

void print_fields(const std::string& document, Detail detail) {
  const auto json = Json::parse(document);
  for (const auto& [key, value] : json.items()) {
    if (key == "schema_version" || key == "fallbacks" || key == "notes") continue;
    if (!value.is_array() && !value.is_object()) {
      std::printf("%-20s %s\n", key.c_str(), visible(text_of(value)).c_str());
      continue;
    }
    if (value.empty()) continue;
    std::printf("%s\n", key.c_str());
    size_t shown = 0;
    for (const auto& [name, item] : value.items()) {
      if (detail == Detail::Brief && ++shown > kShown) {
        std::printf("  ... %zu more (--json shows all)\n", value.size() - kShown);
        break;
      }
      std::printf("  %s\n", visible(value.is_object() ? name + ": " + text_of(item) : text_of(item)).c_str());
    }
  }
  print_fallbacks(json, detail);
  print_notes(json);
}

void print_distill(const std::string& document, Detail detail) {
  auto json = Json::parse(document);
  const Json arms = json.value("arms", Json());
  json.erase("arms");
  print_fields(json.dump(), detail);
  if (!arms.is_null()) std::printf("\n%s", arms_lines(arms.dump()).c_str());
}

void print_quantize(const std::string& document, Detail detail) {
  const auto json = Json::parse(document);
  const auto bytes = json.at("bytes").get<uint64_t>(), source = json.at("source_bytes").get<uint64_t>();
  line("file", json.at("file").get<std::string>());
  line("size", size_text(source) + " -> " + size_text(bytes) +
                   text_of(" (%.2f of it)", json.at("ratio").get<double>()) +
                   text_of(", %.2f bits a weight", json.at("bits_per_weight").get<double>()));
  std::string plan = json.at("plan");
  if (json.contains("preset")) plan += ", preset " + json.at("preset").get<std::string>();
  plan += ", importance: " + json.at("importance").get<std::string>();
  if (json.contains("calibration_tokens")) plan += " (" + json.at("calibration_tokens").dump() + " tokens)";
  if (json.contains("predicted_kl"))
    plan += ", predicted KL " + runtime::with_digits(json.at("predicted_kl").get<double>(), 2) + " nats a token";
  line("plan", plan);
  const char* label = "types";
  for (const auto& [role, types] : json.at("chosen").items()) {
    line(label, counted(role, types));
    label = "";
  }
  for (const char* key : {"sensitivities", "layers_taken", "importance_tensors"})
    if (json.contains(key)) line(key, text_of(json.at(key)));
  if (json.contains("blocks")) line("blocks", learned_blocks(json.at("blocks")));
  if (json.contains("qad")) line("learned", json.at("qad").dump());
  print_fallbacks(json, detail);
  print_notes(json);
  if (detail == Detail::All) print_tensors(json.at("tensors"));
}

void print_eval(const std::string& document) {
  const auto json = Json::parse(document);
  std::printf("%s, %s numbers\n", visible(json.at("model").get<std::string>()).c_str(),
              json.at("numerics").get<std::string>().c_str());
  if (json.contains("text")) {
    const Json& text = json.at("text");
    std::printf("\n%10s %8s %16s %16s\n%10lld %8lld %s %s\n", "tokens", "window", "perplexity", "bits per byte",
                text.at("tokens").get<long long>(), text.at("context").get<long long>(),
                right_in(16, spread_text(text, "perplexity")).c_str(),
                right_in(16, spread_text(text, "bits_per_byte")).c_str());
    std::printf("\n  \u00b1 is the standard error, from the windows.\n");
    print_notes(text);
  }
  const Json tasks = json.value("tasks", Json::array());
  if (tasks.empty()) return;
  std::printf("\n%-32s %7s %16s %16s %12s\n", "task", "items", "accuracy", "by characters", "perplexity");
  for (const Json& task : tasks) {
    std::printf("%-32s %7lld %s %s %12s\n", visible(task.at("file").get<std::string>()).c_str(),
                task.at("items").get<long long>(), right_in(16, accuracy_text(task, "accuracy", "stderr")).c_str(),
                right_in(16, accuracy_text(task, "accuracy_by_characters", "stderr_by_characters")).c_str(),
                task.contains("perplexity") ? text_of("%.4g", perplexity_of(task.at("perplexity"))).c_str() : "");
    for (const Json& item : task.value("per_item", Json::array())) std::printf("  %s\n", item.dump().c_str());
  }
}

}  // namespace attar::cli
