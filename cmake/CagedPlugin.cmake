# caged_add_plugin(target KIND kind NAME name [VERSION version] SOURCES ... [LIBS ...] [SCHEMA file.json]): a plugin,
# the shared object `caged-<kind>-<name>.so`. Works in this tree and, through find_package(caged-sdk), out of it.
#
# SCHEMA is the JSON Schema of the configuration; it is compiled in. In this tree `<target>_static` is the same plugin
# for linking into a test program (built only when something links it): its descriptor is the extern "C" symbol
# `caged_plugin_v1_<kind>_<name>` (dashes become underscores), for plugin_host::adopt().

# One setting for all: default visibility. Hidden symbols would give each plugin statics of its own where host and
# plugin must share one (Asio's service ids, type information).
function(caged_plugin_settings_ target kind name version schema)
  target_link_libraries(${target} PRIVATE caged::sdk)
  target_compile_definitions(${target} PRIVATE "CAGED_PLUGIN_NAME=\"${name}\"" "CAGED_PLUGIN_VERSION=\"${version}\"")
  if(schema)
    get_filename_component(schema "${schema}" ABSOLUTE BASE_DIR "${CMAKE_CURRENT_SOURCE_DIR}")
    if(NOT EXISTS "${schema}")
      message(FATAL_ERROR "caged_add_plugin(${target}): the SCHEMA file ${schema} does not exist")
    endif()
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${schema}")
    file(READ "${schema}" text)
    set(included "${CMAKE_CURRENT_BINARY_DIR}/caged-${kind}-${name}.schema.inc")
    # CONFIGURE, not WRITE: an unchanged schema must not make its plugin compile again.
    file(CONFIGURE OUTPUT "${included}" CONTENT "R\"caged_schema(@text@)caged_schema\"\n" @ONLY)
    target_compile_definitions(${target} PRIVATE "CAGED_PLUGIN_SCHEMA_FILE=\"${included}\"")
  endif()
  if(TARGET caged_pch)
    target_link_libraries(${target} PRIVATE caged_flags)
    target_precompile_headers(${target} REUSE_FROM caged_pch)
  endif()
endfunction()

function(caged_add_plugin target)
  cmake_parse_arguments(ARG "" "KIND;NAME;VERSION;SCHEMA" "SOURCES;LIBS" ${ARGN})
  if(ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "caged_add_plugin(${target}): unknown arguments: ${ARG_UNPARSED_ARGUMENTS}")
  endif()
  foreach(needed KIND NAME SOURCES)
    if(NOT ARG_${needed})
      message(FATAL_ERROR "caged_add_plugin(${target}): ${needed} is missing")
    endif()
  endforeach()
  set(kinds vmm transport storage tool billing)
  if(NOT ARG_KIND IN_LIST kinds)
    message(FATAL_ERROR "caged_add_plugin(${target}): KIND is \"${ARG_KIND}\", expected one of: ${kinds}")
  endif()
  if(NOT ARG_NAME MATCHES "^[a-z][a-z0-9-]*$")
    message(FATAL_ERROR "caged_add_plugin(${target}): NAME is \"${ARG_NAME}\", expected lower-case letters, digits and "
      "dashes, beginning with a letter")
  endif()
  if(NOT ARG_VERSION)
    set(ARG_VERSION "${PROJECT_VERSION}")
  endif()
  if(NOT ARG_VERSION)
    set(ARG_VERSION "0.0.0")
  endif()

  add_library(${target} MODULE ${ARG_SOURCES})
  caged_plugin_settings_(${target} "${ARG_KIND}" "${ARG_NAME}" "${ARG_VERSION}" "${ARG_SCHEMA}")
  target_link_libraries(${target} PRIVATE ${ARG_LIBS})
  set_target_properties(${target} PROPERTIES PREFIX "" OUTPUT_NAME "caged-${ARG_KIND}-${ARG_NAME}")
  target_compile_features(${target} PRIVATE cxx_std_20)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
  if(CAGED_PLUGIN_OUTPUT_DIRECTORY)
    set_target_properties(${target} PROPERTIES LIBRARY_OUTPUT_DIRECTORY "${CAGED_PLUGIN_OUTPUT_DIRECTORY}")
    if(CAGED_PLUGIN_OUTPUT_DIRECTORY STREQUAL "${CMAKE_BINARY_DIR}/lib/caged/plugins")
      set_property(GLOBAL APPEND PROPERTY CAGED_SHIPPED_PLUGINS ${target})  # CagedInstall installs them
    endif()
  endif()

  if(TARGET caged_pch)
    string(REPLACE "-" "_" symbol "caged_plugin_v1_${ARG_KIND}_${ARG_NAME}")
    add_library(${target}_static OBJECT EXCLUDE_FROM_ALL ${ARG_SOURCES})
    caged_plugin_settings_(${target}_static "${ARG_KIND}" "${ARG_NAME}" "${ARG_VERSION}" "${ARG_SCHEMA}")
    target_link_libraries(${target}_static PUBLIC ${ARG_LIBS})
    target_compile_definitions(${target}_static PRIVATE "CAGED_PLUGIN_SYMBOL=${symbol}")
  endif()
endfunction()
