#include "runtime/judge/gates.h"

#include <algorithm>

#include "runtime/base/error.h"

namespace attar::runtime {
namespace {

// What gates judge; users run deployed numbers.
struct Measured {
  const std::optional<Fidelity>& deployed;
  const std::optional<Efficiency>&teacher, &student;
  uint64_t student_bytes;
};

struct Gate {
  const char* name;
  Limit limit_is;
  std::optional<double> (*value)(const Measured&);  // nothing: it was not measured
};

template <auto Get>
std::optional<double> of_fidelity(const Measured& m) {
  return m.deployed ? std::optional<double>(Get(*m.deployed)) : std::nullopt;
}
std::optional<double> size_in_bytes(const Measured& m) {
  return static_cast<double>(m.student_bytes);
}
std::optional<double> decode_ratio(const Measured& m) {
  if (!m.teacher || !m.student) return std::nullopt;
  return m.student->decode.tokens_per_s / m.teacher->decode.tokens_per_s;
}

constexpr Gate kGates[] = {
    {"kl", Limit::AtMost, of_fidelity<[](const Fidelity& f) { return f.kl.mean; }>},
    {"ppl_ratio", Limit::AtMost, of_fidelity<[](const Fidelity& f) { return f.perplexity.ratio; }>},
    {"bytes", Limit::AtMost, size_in_bytes},
    {"bits_per_byte_ratio", Limit::AtMost, of_fidelity<[](const Fidelity& f) { return f.bits_per_byte.ratio; }>},
    {"top1", Limit::AtLeast, of_fidelity<[](const Fidelity& f) { return f.top1_agreement; }>},
    {"decode_ratio", Limit::AtLeast, decode_ratio},
};

const Gate* find_gate(const std::string& name) {
  const Gate* found = std::find_if(std::begin(kGates), std::end(kGates), [&](const Gate& g) { return name == g.name; });
  return found == std::end(kGates) ? nullptr : found;
}

}  // namespace

std::string gate_names() {
  std::string names;
  for (const Gate& gate : kGates) names += (names.empty() ? "" : ", ") + std::string(gate.name);
  return names;
}

bool is_gate(const std::string& name) {
  return find_gate(name) != nullptr;
}

std::vector<GateResult> judge(const std::map<std::string, double>& gates, const VerifyResults& results,
                              const std::optional<Efficiency>& teacher, const std::optional<Efficiency>& student,
                              uint64_t student_bytes) {
  const Measured measured{results.deployed, teacher, student, student_bytes};
  std::vector<GateResult> out;
  for (const auto& [name, limit] : gates) {
    const Gate* gate = find_gate(name);
    if (gate == nullptr) throw usage_error("gate " + printable(name), "is unknown", "one of " + gate_names());
    const std::optional<double> value = gate->value(measured);
    if (!value)
      throw usage_error("gate " + name, "judges what was not measured",
                        name == "decode_ratio" ? "speed measured (no --no-bench)" : "--numerics deployed or both");
    out.push_back(
        {name, gate->limit_is, limit, *value, gate->limit_is == Limit::AtLeast ? *value >= limit : *value <= limit});
  }
  return out;
}

void check_gates(const std::map<std::string, double>& gates, const VerifyOptions& options, bool speed_is_measured) {
  VerifyResults results;
  if (is_verified(options, Numerics::Deployed)) results.deployed.emplace();
  std::optional<Efficiency> speed;
  if (speed_is_measured) speed.emplace();
  judge(gates, results, speed, speed, 0);
}

}  // namespace attar::runtime
