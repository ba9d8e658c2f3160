# Toolchain of the preset `wasm`: the runtime and its tests for WebAssembly, by Debian 12's emscripten, run by node. Libraries and headers
# come from the folder that cmake/wasm_packages.sh fills; `make check-wasm` does it all. The folder wasm/ beside this file holds what that
# emscripten's C++ library lacks.
set(EMSCRIPTEN_SYSTEM_PROCESSOR wasm32)
include(/usr/share/emscripten/cmake/Modules/Platform/Emscripten.cmake)

cmake_path(GET CMAKE_CURRENT_LIST_DIR PARENT_PATH source)
set(packages ${source}/build-wasm/packages)
list(PREPEND CMAKE_FIND_ROOT_PATH ${packages} ${packages}/usr)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${packages})
set(ENV{PKG_CONFIG_LIBDIR} ${packages}/usr/lib/pkgconfig)
set(CMAKE_HAVE_LIBC_PTHREAD ON)  # its calls are there, and say that there are no threads

set(CMAKE_CXX_FLAGS_INIT "-fwasm-exceptions -msimd128 -isystem ${CMAKE_CURRENT_LIST_DIR}/wasm")
# Memory grows as far as 32 bits go. Files are those of the machine that node runs on. A module is compiled at once: what emscripten 3.1.6
# would do else, node 18 and newer mistake for a page.
string(JOIN " " CMAKE_EXE_LINKER_FLAGS_INIT
  -fwasm-exceptions -sALLOW_MEMORY_GROWTH=1 -sMAXIMUM_MEMORY=4GB -sWASM_ASYNC_COMPILATION=0 -sWASM_BIGINT=1
  -sNODERAWFS=1 -sEXIT_RUNTIME=1)
# Where emscripten looks for its JavaScript, whichever node it runs.
set(CMAKE_CXX_LINKER_LAUNCHER env NODE_PATH=/usr/share/nodejs)
set(CMAKE_C_LINKER_LAUNCHER ${CMAKE_CXX_LINKER_LAUNCHER})
set(CMAKE_CROSSCOMPILING_EMULATOR node)
