// What this processor can do, found at run time: cpuid and the operating system's register state, or its list (arm64).
#pragma once

#include <string>

#include "runtime/base/host/isa.h"

namespace attar {

struct CpuFeatures {
  bool avx2 = false;    // with FMA and F16C
  bool avx512 = false;  // F, BW, DQ, VL
  bool avx512_vnni = false;
  bool avx512_bf16 = false;
  bool avx512_vbmi = false;
  bool avx_vnni = false;
  bool neon = false;         // of arm64: always
  bool dot_product = false;  // FEAT_DotProd
  bool i8mm = false;         // FEAT_I8MM with it
  bool simd128 = false;      // of WebAssembly: always

  Isa best_isa() const;
};

const CpuFeatures& cpu_features();
std::string cpu_model();  // "Intel(R) Xeon(R) ...", read anew each time: the kernel takes its time to say it
const char* isa_name(Isa isa);

}  // namespace attar
