# What `cmake --install` puts where. Component `sdk`: all that a plugin author needs, found by find_package(caged-sdk).
# Component `host`: programs and plugins.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(caged_cmake_dir "${CMAKE_INSTALL_LIBDIR}/cmake/caged-sdk")
set(caged_plugin_dir "lib/caged/plugins")  # where a host in bin/ looks
file(RELATIVE_PATH caged_lib_from_bin "/${CMAKE_INSTALL_BINDIR}" "/${CMAKE_INSTALL_LIBDIR}")
file(RELATIVE_PATH caged_lib_from_plugins "/${caged_plugin_dir}" "/${CMAKE_INSTALL_LIBDIR}")

set_target_properties(caged_sdk PROPERTIES EXPORT_NAME sdk)
set_target_properties(caged_sdk_interface PROPERTIES EXPORT_NAME sdk-interface)
set_target_properties(caged_sdk_testing PROPERTIES INSTALL_RPATH "$ORIGIN")
set_target_properties(caged-plugin-check PROPERTIES EXPORT_NAME plugin-check INSTALL_RPATH "$ORIGIN/${caged_lib_from_bin}")

install(TARGETS caged_sdk caged_sdk_interface caged_sdk_testing caged-plugin-check EXPORT caged-sdk-targets
  RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT sdk
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT sdk NAMELINK_COMPONENT sdk
  INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/sdk/plugin/include/" "${PROJECT_SOURCE_DIR}/sdk/testing/include/"
  DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT sdk FILES_MATCHING PATTERN "*.hpp")
install(FILES "${PROJECT_SOURCE_DIR}/sdk/abi/caged_plugin.h" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT sdk)
install(DIRECTORY "${PROJECT_SOURCE_DIR}/sdk/template" DESTINATION "${CMAKE_INSTALL_DATADIR}/caged" COMPONENT sdk)

install(EXPORT caged-sdk-targets NAMESPACE caged:: DESTINATION "${caged_cmake_dir}" COMPONENT sdk)
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/caged-sdk-config.cmake.in"
  "${CMAKE_BINARY_DIR}/caged-sdk-config.cmake" INSTALL_DESTINATION "${caged_cmake_dir}")
# Exact: C++ crosses between host and plugin, so that another version is another contract.
write_basic_package_version_file("${CMAKE_BINARY_DIR}/caged-sdk-config-version.cmake" COMPATIBILITY ExactVersion)
install(FILES "${CMAKE_BINARY_DIR}/caged-sdk-config.cmake" "${CMAKE_BINARY_DIR}/caged-sdk-config-version.cmake"
  "${PROJECT_SOURCE_DIR}/cmake/CagedPlugin.cmake" DESTINATION "${caged_cmake_dir}" COMPONENT sdk)

install(DIRECTORY "${PROJECT_SOURCE_DIR}/policies" DESTINATION "share/caged" COMPONENT host
  FILES_MATCHING PATTERN "*.lua")
get_property(caged_shipped GLOBAL PROPERTY CAGED_SHIPPED_PLUGINS)
foreach(plugin IN LISTS caged_shipped)
  set_target_properties(${plugin} PROPERTIES INSTALL_RPATH "$ORIGIN/${caged_lib_from_plugins}")
  install(TARGETS ${plugin} LIBRARY DESTINATION "${caged_plugin_dir}" COMPONENT host)
endforeach()
if(TARGET caged_qemu_memory)
  install(TARGETS caged_qemu_memory LIBRARY DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT host)
endif()
foreach(program caged caged-agent caged-egress caged-mcp-server caged-mcp-listen caged_jail_launcher caged_qemu_launcher)
  if(TARGET ${program})
    set_target_properties(${program} PROPERTIES INSTALL_RPATH "$ORIGIN/${caged_lib_from_bin}")
    install(TARGETS ${program} RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT host)
  endif()
endforeach()
