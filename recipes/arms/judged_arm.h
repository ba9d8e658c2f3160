// One training of the comparison, as it was judged: what it diverges by in each window of the evaluation text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/progress.h"
#include "runtime/formats/model_file.h"
#include "runtime/formats/text_file.h"
#include "runtime/judge/statistics/standard_error.h"

namespace attar {

// What a training starts from, and what it learns by.
struct Arm {
  bool initialised = true;  // from the student as it was given; else from random weights in its shape
  bool taught = true;       // by the losses that were asked for; else by cross-entropy alone
  bool operator==(const Arm&) const = default;
};
std::string name_of(const Arm& arm);  // "initialised-KD", "scratch-CE"

struct JudgedArm {
  Arm arm{};
  uint64_t seed = 0;
  int64_t tokens = 0;  // learned from
  // (W) of each window: nats of KL(teacher || student), nats of the text's own tokens, how many positions agree on the
  // likeliest token; sizes are positions, the same in all three.
  std::vector<runtime::WindowSum> kl{}, nll{}, top1{};
  double teacher_nll = 0.0;  // nats a token that the teacher gives the text
  std::string text_sha256{};
  int64_t context = 0, scored_tokens = 0;
};

// How arms are judged: in fp32, in windows of `context` tokens.
struct ArmJudge {
  const ModelFile& teacher;
  const std::vector<Document>& text;
  std::string chat_template{};
  int64_t context = 0;
  int threads = 1;
};
// The model in `folder`. `kept`: as of verify (runtime/judge/verify.h).
void judge(const ArmJudge& by, const std::string& folder, const std::string& kept, JudgedArm& arm,
           const Progress& progress);

// In `path`, under the hash of all that decided them. Nothing: they are not there, or were decided by something else.
void keep_figures(const std::string& path, const std::string& identity, const JudgedArm& arm);
std::optional<JudgedArm> kept_figures(const std::string& path, const std::string& identity);

}  // namespace attar
