# Compiler settings and the functions every folder uses: attar_library, attar_program, attar_test.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
if(NOT EMSCRIPTEN)  # whose modules lie where they like anyway
  set(CMAKE_POSITION_INDEPENDENT_CODE ON)
endif()
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1 -DNDEBUG")
add_compile_options(-ffunction-sections -fdata-sections)
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1")

find_program(ATTAR_CCACHE ccache)
if(ATTAR_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${ATTAR_CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${ATTAR_CCACHE})
endif()
if(NOT CMAKE_CROSSCOMPILING)  # Debian's cross compilers do not find it
  find_program(ATTAR_MOLD mold)
endif()
if(ATTAR_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

# ATTAR_SANITIZE: address (with undefined behaviour) or thread.
if(ATTAR_SANITIZE STREQUAL "thread")
  add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
  add_link_options(-fsanitize=thread)
elseif(ATTAR_SANITIZE)
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
endif()

if(ATTAR_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
endif()

# Our own code. Warnings are errors for those who work on it: another compiler's new warning stops no user's build.
# Third-party headers come in as SYSTEM.
add_library(attar_options INTERFACE)
target_compile_options(attar_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow $<$<BOOL:${ATTAR_DEVELOPER}>:-Werror>
                       -ffp-contract=off)
target_include_directories(attar_options INTERFACE ${PROJECT_SOURCE_DIR})

# For files whose loops become vectors: no branch stands in one for a trap or an errno that nobody asks for. Values are the same.
set(ATTAR_VECTOR_LOOPS "-O3;-fno-trapping-math;-fno-math-errno")

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
include(GNUInstallDirs)
include(CheckPIESupported)
check_pie_supported()

# attar_library(name SOURCES a.cpp ... LIBRARIES x y ... [TORCH])
# TORCH: links LibTorch and builds in unity batches.
function(attar_library name)
  cmake_parse_arguments(ARG "TORCH" "" "SOURCES;LIBRARIES" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC ${ARG_LIBRARIES} PRIVATE attar_options)
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR})
  if(ARG_TORCH)
    target_link_libraries(${name} PUBLIC attar_libtorch)
    set_target_properties(${name} PROPERTIES UNITY_BUILD ${ATTAR_UNITY} UNITY_BUILD_BATCH_SIZE 6)
  endif()
endfunction()

# attar_find_library(name MODULE): a system library by its pkg-config module, as the target attar_NAME: shared, or the
# archive in targets whose ATTAR_STATIC is on, and in all that are cross-compiled.
function(attar_find_library name module)
  string(TOUPPER ATTAR_${name} prefix)
  pkg_check_modules(${prefix} REQUIRED IMPORTED_TARGET GLOBAL ${module})
  find_library(${prefix}_ARCHIVE NAMES lib${name}.a HINTS ${${prefix}_LIBRARY_DIRS} ${${prefix}_LIBDIR} REQUIRED)
  add_library(attar_${name} INTERFACE)
  target_include_directories(attar_${name} SYSTEM INTERFACE ${${prefix}_INCLUDE_DIRS})
  target_link_libraries(attar_${name} INTERFACE
    "$<IF:$<OR:$<BOOL:${CMAKE_CROSSCOMPILING}>,$<BOOL:$<TARGET_PROPERTY:ATTAR_STATIC>>>,${${prefix}_ARCHIVE},PkgConfig::${prefix}>")
endfunction()

# attar_pages(program): the manual page and the shell completions of a program, which its twin PROGRAM-pages writes out of
# the same options; installed where a prefix has them.
function(attar_pages program)
  if(CMAKE_CROSSCOMPILING)
    return()
  endif()
  set(folder ${CMAKE_BINARY_DIR}/share)
  set(pages ${folder}/man/man1/${program}.1 ${folder}/bash-completion/completions/${program}
            ${folder}/zsh/site-functions/_${program} ${folder}/fish/vendor_completions.d/${program}.fish ${folder}/doc/attar/${program}.md)
  add_custom_command(OUTPUT ${pages} COMMAND ${program}-pages ${folder} DEPENDS ${program}-pages VERBATIM
                     COMMENT "Writing the pages and completions of ${program}")
  add_custom_target(${program}_pages ALL DEPENDS ${pages})
  foreach(page IN LISTS pages)
    cmake_path(RELATIVE_PATH page BASE_DIRECTORY ${folder} OUTPUT_VARIABLE relative)
    cmake_path(GET relative PARENT_PATH place)
    install(FILES ${page} DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/${place} COMPONENT programs)
  endforeach()
endfunction()

# attar_emulated(program ...): where programs are cross-compiled, a script beside the tests' other files that runs each under the
# emulator, for tests that start them by a shell.
set(ATTAR_TEST_BIN_DIR ${CMAKE_RUNTIME_OUTPUT_DIRECTORY})
if(CMAKE_CROSSCOMPILING)
  set(ATTAR_TEST_BIN_DIR ${CMAKE_BINARY_DIR}/emulated)
endif()
function(attar_emulated)
  if(NOT CMAKE_CROSSCOMPILING)
    return()
  endif()
  list(JOIN CMAKE_CROSSCOMPILING_EMULATOR " " emulator)
  foreach(program IN LISTS ARGN)
    file(GENERATE OUTPUT ${ATTAR_TEST_BIN_DIR}/${program} CONTENT "#!/bin/sh\nexec ${emulator} $<TARGET_FILE:${program}> \"$@\"\n"
         FILE_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
  endforeach()
endfunction()

# attar_test(name LABELS unit ... SOURCES a_test.cpp ... LIBRARIES x ... [TORCH] [TIMEOUT s])
# One GoogleTest program, one ctest entry. Tests find shared files by ATTAR_TEST_DATA and the programs by ATTAR_BIN.
function(attar_test name)
  cmake_parse_arguments(ARG "TORCH" "TIMEOUT" "LABELS;SOURCES;LIBRARIES" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBRARIES} attar_options GTest::gtest_main GTest::gtest)
  target_compile_definitions(${name} PRIVATE ATTAR_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
                             ATTAR_BIN_DIR="${ATTAR_TEST_BIN_DIR}")
  if(ARG_TORCH)
    set_target_properties(${name} PROPERTIES UNITY_BUILD ${ATTAR_UNITY} UNITY_BUILD_BATCH_SIZE 6)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 900)
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT})
endfunction()
