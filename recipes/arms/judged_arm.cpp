#include "recipes/arms/judged_arm.h"

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>

#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/judge/verify.h"

namespace attar {
namespace {

using Json = nlohmann::json;
using runtime::WindowSum;

std::vector<WindowSum> window_sums(std::span<const double> values, std::span<const size_t> ends) {
  std::vector<WindowSum> windows;
  size_t begin = 0;
  for (const size_t end : ends) {
    if (end == begin) continue;  // no position of it is the same for both vocabularies
    WindowSum& window = windows.emplace_back();
    for (size_t i = begin; i < end; ++i) window.value += values[i];
    window.size = static_cast<double>(end - begin);
    begin = end;
  }
  return windows;
}

Json values_json(const std::vector<WindowSum>& windows) {
  Json json = Json::array();
  for (const WindowSum& window : windows) json.push_back(window.value);
  return json;
}

std::vector<WindowSum> windows_of(const Json& values, const Json& sizes) {
  std::vector<WindowSum> windows;
  for (size_t i = 0; i < sizes.size(); ++i) windows.push_back({values.at(i), sizes.at(i)});
  return windows;
}

}  // namespace

std::string name_of(const Arm& arm) {
  return std::string(arm.initialised ? "initialised" : "scratch") + (arm.taught ? "-KD" : "-CE");
}

void judge(const ArmJudge& by, const std::string& folder, const std::string& kept, JudgedArm& arm,
           const Progress& progress) {
  runtime::VerifyOptions how;
  how.context = by.context;
  how.numerics = "fp32";
  how.chat_template = by.chat_template;
  ThreadPool pool(by.threads);
  const runtime::VerifyResults judged =
      runtime::verify(by.teacher, ModelFile::open(folder), by.text, how, pool, progress, kept);
  const runtime::Fidelity& fidelity = *judged.fp32;
  arm.kl = window_sums(fidelity.kl_values, fidelity.window_ends);
  arm.nll = window_sums(fidelity.nll_values, fidelity.window_ends);
  arm.top1 = window_sums(fidelity.same_top, fidelity.window_ends);
  arm.teacher_nll = std::log(fidelity.perplexity.teacher);
  arm.text_sha256 = judged.text_sha256;
  arm.context = judged.context;
  arm.scored_tokens = judged.scored_tokens;
}

void keep_figures(const std::string& path, const std::string& identity, const JudgedArm& arm) {
  Json sizes = Json::array();
  for (const WindowSum& window : arm.kl) sizes.push_back(window.size);
  const Json json = {{"identity", identity},
                     {"initialised", arm.arm.initialised},
                     {"taught", arm.arm.taught},
                     {"seed", arm.seed},
                     {"tokens", arm.tokens},
                     {"sizes", sizes},
                     {"kl", values_json(arm.kl)},
                     {"nll", values_json(arm.nll)},
                     {"top1", values_json(arm.top1)},
                     {"teacher_nll", arm.teacher_nll},
                     {"text_sha256", arm.text_sha256},
                     {"context", arm.context},
                     {"scored_tokens", arm.scored_tokens}};
  write_file_atomically(path, json.dump() + "\n");
}

std::optional<JudgedArm> kept_figures(const std::string& path, const std::string& identity) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  try {
    const Json json = Json::parse(read_file(path));
    if (json.at("identity") != identity) return std::nullopt;
    JudgedArm arm{
        .arm = {json.at("initialised"), json.at("taught")}, .seed = json.at("seed"), .tokens = json.at("tokens")};
    const Json& sizes = json.at("sizes");
    arm.kl = windows_of(json.at("kl"), sizes), arm.nll = windows_of(json.at("nll"), sizes),
    arm.top1 = windows_of(json.at("top1"), sizes);
    arm.teacher_nll = json.at("teacher_nll"), arm.text_sha256 = json.at("text_sha256");
    arm.context = json.at("context"), arm.scored_tokens = json.at("scored_tokens");
    return arm;
  } catch (const Json::exception&) {
    throw input_error(path, "is damaged", "", "", "delete it: this arm is trained again");
  }
}

}  // namespace attar
