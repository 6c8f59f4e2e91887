# How a target of this project is made. Used by every room, so that each CMakeLists names only its sources.

add_library(caged_flags INTERFACE)
target_compile_options(caged_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # gcc 12 warns about coroutine frames it allocated itself.
  target_compile_options(caged_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-mismatched-new-delete>)
  if(CMAKE_UNITY_BUILD)
    # In a unity batch every source counts as a header, whose anonymous namespaces the compiler then distrusts.
    target_compile_options(caged_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-subobject-linkage>)
  endif()
endif()

# caged_library(name SOURCES ... [LIBS ...]): a static library of a room of core.
function(caged_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS;INCLUDE" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC ${ARG_LIBS} PRIVATE caged_flags)
  target_include_directories(${name} PUBLIC "${PROJECT_SOURCE_DIR}" ${ARG_INCLUDE})
  target_precompile_headers(${name} REUSE_FROM caged_pch)
  target_link_libraries(${name} PUBLIC caged::sdk)
endfunction()

# caged_test(name SOURCES ... LIBS ... [LABELS ...] [TIMEOUT seconds]): one GoogleTest binary, one ctest entry. LABELS is
# a list: unit, contract, integration, security …; "threaded" beside unit
# puts it into the everyday ThreadSanitizer run, "single_threaded" keeps it out of the whole one too.
function(caged_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LIBS;LABELS;DEFINES" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBS} caged::sdk caged_flags GTest::gtest GTest::gmock GTest::gtest_main)
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}")
  target_compile_definitions(${name} PRIVATE ${ARG_DEFINES}
    CAGED_BUILD_DIR="${CMAKE_BINARY_DIR}" CAGED_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  # Tests are compiled for speed of compiling; what they test is compiled as it ships.
  target_compile_options(${name} PRIVATE ${CAGED_TEST_FLAGS})
  target_precompile_headers(${name} REUSE_FROM caged_test_pch)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
  add_test(NAME ${name} COMMAND ${name})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}")
endfunction()

# caged_programs_below(out folder...): the programs, shared libraries and plugins of these folders and those below.
function(caged_programs_below out)
  set(found "")
  foreach(folder IN LISTS ARGN)
    get_property(targets DIRECTORY "${folder}" PROPERTY BUILDSYSTEM_TARGETS)
    foreach(target IN LISTS targets)
      get_target_property(type ${target} TYPE)
      if(type MATCHES "^(EXECUTABLE|SHARED_LIBRARY|MODULE_LIBRARY)$")
        list(APPEND found ${target})
      endif()
    endforeach()
    get_property(below DIRECTORY "${folder}" PROPERTY SUBDIRECTORIES)
    if(below)
      caged_programs_below(more ${below})
      list(APPEND found ${more})
    endif()
  endforeach()
  set(${out} "${found}" PARENT_SCOPE)
endfunction()
