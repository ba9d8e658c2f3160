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

const char* name_of(KvFormat format) {
  return format == KvFormat::Int8 ? "int8" : "f16";
}

std::optional<KvFormat> find_kv_format(std::string_view name) {
  for (const KvFormat format : {KvFormat::F16, KvFormat::Int8})
    if (name == name_of(format)) return format;
  return std::nullopt;
}

std::optional<KvFormat> kv_format_of(const std::string& name, const std::string& where) {
  const std::optional<KvFormat> known = find_kv_format(name);
  if (!known && !name.empty()) throw usage_error(where, "is unknown", "f16 or int8", printable(name));
  return known;
}

std::optional<KvFormat> kv_format_of(const std::string& name, const std::string& where, Numerics numerics) {
  const std::optional<KvFormat> known = kv_format_of(name, where);
  if (known && numerics == Numerics::Fp32)
    throw usage_error(where, "is of deployed numbers: with fp32 keys and values are f32", "deployed numerics", name);
  return known;
}

}  // namespace attar
