// The instruction sets that kernels exist for. A header of its own, for files that are compiled for one of them: what
// such a file includes must hold no inline function, of the standard library neither, since the linker keeps one copy
// of it for the whole program, and could keep theirs.
#pragma once

namespace attar {

// Of x86-64; of arm64, where the second has the dot-product extension and the third int8 matrix products too; of
// WebAssembly. A higher one of an architecture implies its lower ones, and Scalar.
enum class Isa { Scalar, Avx2, Avx512Vnni, Neon, NeonDot, NeonI8mm, Simd128 };

}  // namespace attar
