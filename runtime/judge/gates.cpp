#include "runtime/judge/gates.h"

#include <algorithm>

#include "runtime/base/error.h"

namespace attar::runtime {
namespace {

// What gates judge; users run deployed numbers.
struct Measured {
  const VerifyResults& results;
  const std::optional<Efficiency>&teacher, &student;
  uint64_t student_bytes;
};

enum class Needs { Nothing, Deployed, Speed, Tasks };
struct Gate {
  const char* name;
  Limit limit_is;
  Needs needs;
  double (*value)(const Measured&);  // of what was measured, as `needs` says
};

template <auto Get>
double of_fidelity(const Measured& m) {
  return Get(*m.results.deployed);
}
template <auto Get>
double of_tasks(const Measured& m) {
  return Get(m.results.tasks);
}
double size_in_bytes(const Measured& m) {
  return static_cast<double>(m.student_bytes);
}
double decode_ratio(const Measured& m) {
  return m.student->decode.tokens_per_s / m.teacher->decode.tokens_per_s;
}

constexpr Gate kGates[] = {
    {"kl", Limit::AtMost, Needs::Deployed, of_fidelity<[](const Fidelity& f) { return f.kl.mean; }>},
    {"ppl_ratio", Limit::AtMost, Needs::Deployed, of_fidelity<[](const Fidelity& f) { return f.perplexity.ratio; }>},
    {"bytes", Limit::AtMost, Needs::Nothing, size_in_bytes},
    {"bits_per_byte_ratio", Limit::AtMost, Needs::Deployed,
     of_fidelity<[](const Fidelity& f) { return f.bits_per_byte.ratio; }>},
    {"top1", Limit::AtLeast, Needs::Deployed, of_fidelity<[](const Fidelity& f) { return f.top1_agreement; }>},
    {"decode_ratio", Limit::AtLeast, Needs::Speed, decode_ratio},
    {"accuracy_ratio", Limit::AtLeast, Needs::Tasks, of_tasks<accuracy_ratio>},
    {"agreement", Limit::AtLeast, Needs::Tasks, of_tasks<agreement>},
};

bool has(Needs needs, const Measured& m) {
  switch (needs) {
    case Needs::Nothing:
      return true;
    case Needs::Deployed:
      return m.results.deployed.has_value();
    case Needs::Speed:
      return m.teacher && m.student;
    case Needs::Tasks:
      return !m.results.tasks.empty();
  }
  return false;
}
const char* words(Needs needs) {
  return needs == Needs::Speed   ? "speed measured (no --no-bench)"
         : needs == Needs::Tasks ? "items to answer (--tasks FILE)"
                                 : "--numerics deployed or both";
}

const Gate* find_gate(const std::string& name) {
  const Gate* found = std::find_if(std::begin(kGates), std::end(kGates), [&](const Gate& g) { return name == g.name; });
  return found == std::end(kGates) ? nullptr : found;
}

}  // namespace

std::vector<std::string> gate_list() {
  std::vector<std::string> names;
  for (const Gate& gate : kGates) names.emplace_back(gate.name);
  return names;
}

std::string gate_names() {
  std::string names;
  for (const Gate& gate : kGates) names += (names.empty() ? "" : ", ") + std::string(gate.name);
  return names;
}

bool is_gate(const std::string& name) {
  return find_gate(name) != nullptr;
}

bool judges_deployed(const std::string& name) {
  const Gate* gate = find_gate(name);
  return gate != nullptr && gate->needs == Needs::Deployed;
}
bool judges_tasks(const std::string& name) {
  const Gate* gate = find_gate(name);
  return gate != nullptr && gate->needs == Needs::Tasks;
}

std::vector<GateResult> judge(const std::map<std::string, double>& gates, const VerifyResults& results,
                              const std::optional<Efficiency>& teacher, const std::optional<Efficiency>& student,
                              uint64_t student_bytes) {
  const Measured measured{results, teacher, student, student_bytes};
  std::vector<GateResult> out;
  for (const auto& [name, limit] : gates) {
    const Gate* gate = find_gate(name);
    if (gate == nullptr) throw usage_error("gate " + printable(name), "is unknown", "one of " + gate_names());
    if (!has(gate->needs, measured))
      throw usage_error("gate " + name, "judges what was not measured", words(gate->needs));
    const double value = gate->value(measured);
    out.push_back(
        {name, gate->limit_is, limit, value, gate->limit_is == Limit::AtLeast ? value >= limit : value <= limit});
  }
  return out;
}

void check_gates(const std::map<std::string, double>& gates, const VerifyOptions& options, bool speed_is_measured) {
  VerifyResults results;
  if (is_verified(options, Numerics::Deployed)) results.deployed.emplace();
  if (!options.tasks.empty()) results.tasks.emplace_back();
  std::optional<Efficiency> speed;
  if (speed_is_measured) speed.emplace();
  judge(gates, results, speed, speed, 0);
}

}  // namespace attar::runtime
