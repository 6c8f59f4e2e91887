// The functions behind the doors of the broken modules.
#pragma once

#include <caged_plugin.h>

#include <cstdint>

extern "C" {
extern const std::uint32_t caged_broken_event_schema;
// This build's fingerprint with one piece changed.
const char* caged_broken_fingerprint(const char* change);

// "open_throws", "create_hangs" …: defined by each module's door.
extern const char* const caged_broken_behaviour;

std::int32_t caged_broken_create(void* host, const char* config, std::uint64_t config_size, void** plugin, char* error,
                                 std::uint64_t error_size);
void caged_broken_destroy(void* plugin);
void* caged_broken_find_interface(void* plugin, const char* name);
}
