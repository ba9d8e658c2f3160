// Two symbols that attar-run defines itself, so that static linking leaves out what it never runs: the C++ demangler
// behind the standard library's message about an uncaught exception (main catches all), and everything of libsodium
// that SHA-256 does not need (its one outside call clears memory, and lives beside the start-up code of every cipher).
#include <cstdlib>
#include <cstring>

namespace __gnu_cxx {
void __verbose_terminate_handler();
void __verbose_terminate_handler() {
  std::abort();
}
}  // namespace __gnu_cxx

extern "C" void sodium_memzero(void* data, size_t size_bytes);
extern "C" void sodium_memzero(void* data, size_t size_bytes) {
  std::memset(data, 0, size_bytes);
  __asm__ volatile("" : : "r"(data) : "memory");  // the compiler may not drop it
}
