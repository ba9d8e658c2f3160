# LibTorch out of the pip wheel of the project's virtual environment. Its own CMake package is passed by: for a CUDA wheel
# that one wants the whole CUDA toolkit, and Attar compiles no CUDA, it only links the libraries.
set(ATTAR_TORCH_OLDEST 2.11)
set(Python_FIND_VIRTUALENV FIRST)
if(EXISTS ${PROJECT_SOURCE_DIR}/.venv/bin/python AND NOT Python_EXECUTABLE)
  set(Python_EXECUTABLE ${PROJECT_SOURCE_DIR}/.venv/bin/python)
endif()
find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)
find_package(Threads REQUIRED)
execute_process(COMMAND ${Python_EXECUTABLE} -c
                "import importlib.util as u, pathlib as p; print(p.Path(u.find_spec('torch').origin).parent.as_posix())"
                OUTPUT_VARIABLE ATTAR_TORCH OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE ATTAR_TORCH_MISSING)
if(ATTAR_TORCH_MISSING)
  message(FATAL_ERROR "torch is not installed in ${Python_EXECUTABLE}; run 'make build', or configure with -DATTAR_WITH_TORCH=OFF")
endif()
file(STRINGS ${ATTAR_TORCH}/version.py ATTAR_TORCH_VERSION REGEX "^__version__ = ")
string(REGEX MATCH "[0-9]+\\.[0-9]+(\\.[0-9]+)?" ATTAR_TORCH_VERSION "${ATTAR_TORCH_VERSION}")
if(ATTAR_TORCH_VERSION VERSION_LESS ATTAR_TORCH_OLDEST)
  message(FATAL_ERROR "torch ${ATTAR_TORCH_VERSION} in ${Python_EXECUTABLE} is too old; Attar needs ${ATTAR_TORCH_OLDEST} or newer")
endif()
message(STATUS "LibTorch ${ATTAR_TORCH_VERSION}: ${ATTAR_TORCH}")

# The wheel's headers as SYSTEM, and no OpenMP flags of ours: at::parallel_for is LibTorch's.
set(ATTAR_TORCH_LIB ${ATTAR_TORCH}/lib)
add_library(attar_libtorch INTERFACE)
target_include_directories(attar_libtorch SYSTEM INTERFACE ${ATTAR_TORCH}/include
                           ${ATTAR_TORCH}/include/torch/csrc/api/include)
# libtorch.so is empty but for what it needs, the CUDA libraries among it: it must stay linked though no symbol asks for it.
# The C++ library comes first: the CUDA wheel of 2.11 exports pieces of an older one (std::filesystem), which crash.
target_link_libraries(attar_libtorch INTERFACE -Wl,--push-state,--no-as-needed -lstdc++ ${ATTAR_TORCH_LIB}/libtorch.so
                      -Wl,--pop-state ${ATTAR_TORCH_LIB}/libtorch_cpu.so ${ATTAR_TORCH_LIB}/libc10.so Threads::Threads)
set(CMAKE_BUILD_RPATH ${ATTAR_TORCH_LIB})
