# The host's side of the agent protocol; included by core/sandbox/CMakeLists.txt, and by the agent's tests before that.
if(NOT TARGET caged_agent_client)
  add_library(caged_agent_client STATIC ${CMAKE_CURRENT_LIST_DIR}/agent_client.cpp ${CMAKE_CURRENT_LIST_DIR}/agent_link.cpp)
  target_include_directories(caged_agent_client PUBLIC "${PROJECT_SOURCE_DIR}")
  target_link_libraries(caged_agent_client PUBLIC caged::sdk caged_wire PRIVATE caged_flags)
  target_precompile_headers(caged_agent_client REUSE_FROM caged_pch)
endif()
