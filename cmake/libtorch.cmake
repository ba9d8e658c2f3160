# LibTorch out of the pip wheel of the project's virtual environment.
set(Python_FIND_VIRTUALENV FIRST)
if(EXISTS ${PROJECT_SOURCE_DIR}/.venv/bin/python AND NOT Python_EXECUTABLE)
  set(Python_EXECUTABLE ${PROJECT_SOURCE_DIR}/.venv/bin/python)
endif()
find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)
execute_process(COMMAND ${Python_EXECUTABLE} -c "import torch; print(torch.utils.cmake_prefix_path)"
                OUTPUT_VARIABLE ATTAR_TORCH_PREFIX OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET
                RESULT_VARIABLE ATTAR_TORCH_MISSING)
if(ATTAR_TORCH_MISSING)
  message(FATAL_ERROR "torch is not installed in ${Python_EXECUTABLE}; run 'make setup', or configure with -DATTAR_WITH_TORCH=OFF")
endif()
list(APPEND CMAKE_PREFIX_PATH ${ATTAR_TORCH_PREFIX})
find_package(Torch 2.11 REQUIRED)

# The wheel's headers as SYSTEM, and no OpenMP flags of ours: at::parallel_for is LibTorch's.
add_library(attar_libtorch INTERFACE)
target_include_directories(attar_libtorch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
target_link_libraries(attar_libtorch INTERFACE ${TORCH_LIBRARIES} Threads::Threads)
get_filename_component(ATTAR_TORCH_LIB ${ATTAR_TORCH_PREFIX}/../../lib ABSOLUTE)
set(CMAKE_BUILD_RPATH ${ATTAR_TORCH_LIB})
