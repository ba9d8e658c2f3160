# find_package(attar): the target attar::runtime, libattar_runtime with its header <attar/attar_runtime.h>.
include(${CMAKE_CURRENT_LIST_DIR}/attar-targets.cmake)
