#include "runtime/formats/numerics.h"

#include "runtime/base/error.h"

namespace attar {

std::optional<Numerics> find_numerics(std::string_view name) {
  if (name == "fp32") return Numerics::Fp32;
  if (name == "deployed") return Numerics::Deployed;
  return std::nullopt;
}

Numerics numerics_of(const std::string& name, const std::string& where) {
  if (const std::optional<Numerics> known = find_numerics(name)) return *known;
  throw usage_error(where, "is unknown", "fp32 or deployed", printable(name));
}

}  // namespace attar
