# Everything a builder may choose. Compiler flags live in CMakePresets.json, only there.
option(CAGED_TESTS "Build the tests" ON)
option(CAGED_FUZZ "Build the libFuzzer targets (clang only)" OFF)
set(CAGED_SANITIZER "" CACHE STRING "Name of the sanitizer the flags enable; part of the plugin fingerprint")

set(CAGED_TEST_FLAGS "" CACHE STRING "Compiler flags for tests, after the preset's")

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
# One setting for programs and shared objects lets all of them share one precompiled header.
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
# Programs are compiled like shared objects: gcc ignores, and clang refuses, a header precompiled with another of the two.
set(CMAKE_CXX_COMPILE_OPTIONS_PIE "-fPIC")
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")
set(CAGED_PLUGIN_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib/caged/plugins")

find_program(CAGED_CCACHE ccache)
if(CAGED_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER "${CAGED_CCACHE}")
  # A precompiled header is only cacheable with these sloppiness settings (ccache manual, "Precompiled headers").
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND};-E;env;CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime;CCACHE_BASEDIR=${PROJECT_SOURCE_DIR};CCACHE_NOHASHDIR=1;${CAGED_CCACHE}")
endif()
