// Symbols that a program with the C++ library linked in defines itself.
//
// Left out of attar-run, which never runs them: the demangler behind the library's message about an uncaught exception
// (main catches all); the facets of locales that write and read money and dates, read numbers, compare, translate, or
// serve wide characters, which come whole with the first stream; and everything of libsodium that SHA-256 does not need
// (its one outside call clears memory, and lives beside the start-up code of every cipher).
//
// Not asked of glibc, so that 2.34 will do (Ubuntu 22.04, RHEL 9): arc4random is of 2.36 and feeds std::random_device;
// _dl_find_object is of 2.35 and finds the unwind table of a place in the code.
#include <dlfcn.h>
#include <link.h>
#include <sys/random.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <locale>
#include <typeinfo>

namespace __gnu_cxx {
void __verbose_terminate_handler();
void __verbose_terminate_handler() {
  std::abort();
}
}  // namespace __gnu_cxx

// A facet of the library's strings before C++11 for one of today's, and the other way, where a locale is given another.
const std::locale::facet* std::locale::facet::_M_cow_shim(const std::locale::id*) const {
  std::abort();
}
const std::locale::facet* std::locale::facet::_M_sso_shim(const std::locale::id*) const {
  std::abort();
}

// The table of virtual functions that those facets have instead of their own: of a facet that is of no kind, so that
// has_facet says no and use_facet throws.
struct NoFacet {
  std::ptrdiff_t offset;
  const std::type_info* type;
  void (*functions[16])();
};
extern "C" const NoFacet attar_no_facet;
extern "C" [[gnu::visibility("hidden")]] const NoFacet attar_no_facet = {0, &typeid(std::locale::facet), {}};
__asm__(R"(
.macro no_facet names:vararg
.irp name, \names
.globl _ZTV\name
.set _ZTV\name, attar_no_facet
.endr
.endm
.irp c, c, w
no_facet St10moneypunctI\c\()Lb0EE, St10moneypunctI\c\()Lb1EE
no_facet NSt7__cxx1110moneypunctI\c\()Lb0EEE, NSt7__cxx1110moneypunctI\c\()Lb1EEE
no_facet St9money_getI\c\()St19istreambuf_iteratorI\c\()St11char_traitsI\c\()EEE
no_facet St9money_putI\c\()St19ostreambuf_iteratorI\c\()St11char_traitsI\c\()EEE
no_facet NSt7__cxx119money_getI\c\()St19istreambuf_iteratorI\c\()St11char_traitsI\c\()EEEE
no_facet NSt7__cxx119money_putI\c\()St19ostreambuf_iteratorI\c\()St11char_traitsI\c\()EEEE
no_facet St8time_getI\c\()St19istreambuf_iteratorI\c\()St11char_traitsI\c\()EEE
no_facet St8time_putI\c\()St19ostreambuf_iteratorI\c\()St11char_traitsI\c\()EEE
no_facet NSt7__cxx118time_getI\c\()St19istreambuf_iteratorI\c\()St11char_traitsI\c\()EEEE
no_facet St7collateI\c\()E, NSt7__cxx117collateI\c\()EE, St8messagesI\c\()E, NSt7__cxx118messagesI\c\()EE
.endr
no_facet St7num_getIcSt19istreambuf_iteratorIcSt11char_traitsIcEEE
no_facet St7num_getIwSt19istreambuf_iteratorIwSt11char_traitsIwEEE
no_facet St7num_putIwSt19ostreambuf_iteratorIwSt11char_traitsIwEEE
no_facet St8numpunctIwE, NSt7__cxx118numpunctIwEE, St5ctypeIwE, St7codecvtIwc11__mbstate_tE
no_facet St7codecvtIDsc11__mbstate_tE, St7codecvtIDic11__mbstate_tE
no_facet St7codecvtIDsDu11__mbstate_tE, St7codecvtIDiDu11__mbstate_tE
)");

// What the constructors of those facets call, and the tables that they would have: nothing. So their files stay in the
// library's archive.
extern "C" void attar_no_member();
extern "C" [[gnu::visibility("hidden")]] void attar_no_member() {}
__asm__(R"(
.macro no_member name
.globl _ZN\name
.set _ZN\name, attar_no_member
.endm
.macro no_moneypunct kind
no_member \kind\()24_M_initialize_moneypunctEP15__locale_structPKc
no_member \kind\()D0Ev
no_member \kind\()D1Ev
no_member \kind\()D2Ev
.endm
no_moneypunct St10moneypunctIcLb0EE
no_moneypunct St10moneypunctIcLb1EE
no_moneypunct St10moneypunctIwLb0EE
no_moneypunct St10moneypunctIwLb1EE
no_moneypunct St7__cxx1110moneypunctIcLb0EE
no_moneypunct St7__cxx1110moneypunctIcLb1EE
no_moneypunct St7__cxx1110moneypunctIwLb0EE
no_moneypunct St7__cxx1110moneypunctIwLb1EE
no_member St10money_base20_S_construct_patternEccc
no_member St11__timepunctIcE23_M_initialize_timepunctEP15__locale_struct
no_member St11__timepunctIwE23_M_initialize_timepunctEP15__locale_struct
no_member KSt11__timepunctIcE6_M_putEPcmPKcPK2tm
no_member KSt11__timepunctIwE6_M_putEPwmPKwPK2tm
)");

extern "C" {

void sodium_memzero(void* data, size_t size_bytes);
void sodium_memzero(void* data, size_t size_bytes) {
  std::memset(data, 0, size_bytes);
  __asm__ volatile("" : : "r"(data) : "memory");  // the compiler may not drop it
}

uint32_t arc4random() noexcept;
uint32_t arc4random() noexcept {
  uint32_t value = 0;
  while (::getrandom(&value, sizeof value, 0) != sizeof value) {
  }
  return value;
}

#if defined(__x86_64__) || defined(__aarch64__)
namespace {
struct Wanted {
  uintptr_t address;
  dl_find_object* found;
};

// A loaded object: is the address in it, and where is its table (PT_GNU_EH_FRAME)?
int look(dl_phdr_info* object, size_t, void* data) {
  const auto* wanted = static_cast<const Wanted*>(data);
  bool inside = false;
  dl_find_object found{};
  uintptr_t begin = UINTPTR_MAX, end = 0;
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr)& part = object->dlpi_phdr[i];
    const uintptr_t at = object->dlpi_addr + part.p_vaddr;
    if (part.p_type == PT_GNU_EH_FRAME) found.dlfo_eh_frame = reinterpret_cast<void*>(at);
    if (part.p_type != PT_LOAD) continue;
    inside |= wanted->address >= at && wanted->address - at < part.p_memsz;
    begin = begin < at ? begin : at;
    end = end > at + part.p_memsz ? end : at + part.p_memsz;
  }
  if (!inside || found.dlfo_eh_frame == nullptr) return 0;
  found.dlfo_map_start = reinterpret_cast<void*>(begin);
  found.dlfo_map_end = reinterpret_cast<void*>(end);
  *wanted->found = found;
  return 1;
}
}  // namespace

int _dl_find_object(void* address, dl_find_object* result) noexcept {
  Wanted wanted{reinterpret_cast<uintptr_t>(address), result};
  return ::dl_iterate_phdr(look, &wanted) == 1 ? 0 : -1;
}
#endif

}  // extern "C"
