// The door of one broken module: a correct descriptor, but for what its macros change. Includes nothing heavy: there
// are many of it.
#include "tests/modules/broken.hpp"

#ifndef DOOR_BEHAVIOUR
#define DOOR_BEHAVIOUR ""
#endif
#ifndef DOOR_SYMBOL
#define DOOR_SYMBOL caged_plugin_v1
#endif
#ifndef DOOR_MAGIC
#define DOOR_MAGIC CAGED_PLUGIN_MAGIC
#endif
#ifndef DOOR_SIZE
#define DOOR_SIZE sizeof(caged_plugin_descriptor)
#endif
#ifndef DOOR_ABI
#define DOOR_ABI CAGED_PLUGIN_ABI
#endif
#ifndef DOOR_KIND
#define DOOR_KIND "tool"
#endif
#ifndef DOOR_NAME
#define DOOR_NAME "broken"
#endif
#ifndef DOOR_EVENT_SCHEMA
#define DOOR_EVENT_SCHEMA caged_broken_event_schema
#endif
#ifndef DOOR_NEEDS
#define DOOR_NEEDS 0
#endif
#ifndef DOOR_SCHEMA
#define DOOR_SCHEMA \
  R"({"type":"object","additionalProperties":false,"properties":{"colour":{"enum":["red","blue"],"default":"red"}}})"
#endif
#ifndef DOOR_CREATE
#define DOOR_CREATE &caged_broken_create
#endif
// One piece of the fingerprint that is to differ, "boost=other"; "" = none.
#ifndef DOOR_FINGERPRINT
#define DOOR_FINGERPRINT ""
#endif

#ifdef DOOR_CALLS_NOWHERE
extern "C" int caged_test_defined_nowhere();
extern "C" int caged_broken_call() { return caged_test_defined_nowhere(); }
#endif
#ifdef DOOR_CALLS_ABSENT
extern "C" int caged_test_absent();
extern "C" int caged_broken_call() { return caged_test_absent(); }
#endif

extern "C" {
const char* const caged_broken_behaviour = DOOR_BEHAVIOUR;

extern const caged_plugin_descriptor DOOR_SYMBOL;
const caged_plugin_descriptor DOOR_SYMBOL = {DOOR_MAGIC,
                                             DOOR_SIZE,
                                             DOOR_ABI,
                                             caged_broken_fingerprint(DOOR_FINGERPRINT),
                                             DOOR_KIND,
                                             DOOR_NAME,
                                             "1.0",
                                             "Broken on purpose",
                                             DOOR_EVENT_SCHEMA,
                                             0,
                                             0,
                                             DOOR_NEEDS,
                                             DOOR_SCHEMA,
                                             DOOR_CREATE,
                                             &caged_broken_destroy,
                                             &caged_broken_find_interface};
}
