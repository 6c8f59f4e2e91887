# caged_add_plugin(target KIND kind NAME name SOURCES ... [LIBS ...] [SCHEMA file]): a plugin shared object
# `caged-<kind>-<name>.so`. Works in this tree and, through find_package(caged-sdk), out of it.
function(caged_add_plugin target)
  cmake_parse_arguments(ARG "" "KIND;NAME;SCHEMA" "SOURCES;LIBS" ${ARGN})
  add_library(${target} MODULE ${ARG_SOURCES})
  target_link_libraries(${target} PRIVATE caged::sdk ${ARG_LIBS})
  set_target_properties(${target} PROPERTIES PREFIX "" OUTPUT_NAME "caged-${ARG_KIND}-${ARG_NAME}"
    CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN OFF)
  if(CAGED_PLUGIN_OUTPUT_DIRECTORY)
    set_target_properties(${target} PROPERTIES LIBRARY_OUTPUT_DIRECTORY "${CAGED_PLUGIN_OUTPUT_DIRECTORY}")
  endif()
  if(TARGET caged_pch)
    target_link_libraries(${target} PRIVATE caged_flags)
  endif()
endfunction()
