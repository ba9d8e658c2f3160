// The instruction sets that kernels exist for. A header of its own, for files that are compiled for one of them: what
// such a file includes must hold no inline function, of the standard library neither, since the linker keeps one copy
// of it for the whole program, and could keep theirs.
#pragma once

namespace attar {

enum class Isa { Scalar, Avx2, Avx512Vnni };  // a higher one implies the lower ones

}  // namespace attar
