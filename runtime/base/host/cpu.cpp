#include "runtime/base/host/cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include <string>

#include "runtime/base/host/kernel_file.h"

namespace attar {
namespace {

#if defined(__x86_64__)
// Two features that __builtin_cpu_supports() of clang 14 has no names for (Intel SDM, CPUID leaves 1 and 7.1).
bool has_f16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
bool has_avx_vnni() {
  constexpr unsigned kAvxVnniBit = 1u << 4;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax & kAvxVnniBit) != 0;
}
#endif

CpuFeatures detect() {
  CpuFeatures features;
#if defined(__x86_64__)
  __builtin_cpu_init();
  features.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  features.avx512 = features.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  features.avx512_vnni = features.avx512 && __builtin_cpu_supports("avx512vnni");
  features.avx512_bf16 = features.avx512 && __builtin_cpu_supports("avx512bf16");
  features.avx512_vbmi = features.avx512 && __builtin_cpu_supports("avx512vbmi");
  features.avx_vnni = features.avx2 && has_avx_vnni();
#elif defined(__aarch64__)
  features.neon = true;
  features.dot_product = (::getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
  features.i8mm = features.dot_product && (::getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0;
#elif defined(__wasm_simd128__)
  features.simd128 = true;
#endif
  return features;
}

}  // namespace

Isa CpuFeatures::best_isa() const {
  if (avx512_vnni) return Isa::Avx512Vnni;
  if (avx2) return Isa::Avx2;
  if (i8mm) return Isa::NeonI8mm;
  if (dot_product) return Isa::NeonDot;
  if (neon) return Isa::Neon;
  if (simd128) return Isa::Simd128;
  return Isa::Scalar;
}

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

std::string cpu_model() {
#if defined(__wasm__)
  return "WebAssembly";
#endif
  const std::string text = kernel_file("/proc/cpuinfo"), name = kernel_value(text, "model name");
  if (!name.empty()) return name;
  const std::string part = kernel_value(text, "CPU part");  // arm64 has numbers alone
  return part.empty() ? "unknown" : "arm64, implementer " + kernel_value(text, "CPU implementer") + ", part " + part;
}

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::Avx512Vnni:
      return "avx512_vnni";
    case Isa::Avx2:
      return "avx2";
    case Isa::NeonI8mm:
      return "neon_i8mm";
    case Isa::NeonDot:
      return "neon_dot";
    case Isa::Neon:
      return "neon";
    case Isa::Simd128:
      return "simd128";
    case Isa::Scalar:
      return "scalar";
  }
  return "unknown";
}

}  // namespace attar
