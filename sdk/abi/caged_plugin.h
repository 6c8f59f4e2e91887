/* The door of a Caged plugin: one exported constant that the host reads before any C++ of the plugin runs.
 *
 * C, fixed-width integers and zero-terminated UTF-8 text only. Append-only: fields are never moved, removed or given a
 * new meaning; a new field goes to the end and the host looks at `size` before it reads it. Behind the door lies C++
 * that must match the host exactly, which is what `fingerprint` is for. Most authors never include this file: the
 * CAGED_PLUGIN macro of <caged/define_plugin.hpp> writes the constant. */
#ifndef CAGED_PLUGIN_H
#define CAGED_PLUGIN_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* "CAGEDPL1" in memory on a little-endian machine. */
#define CAGED_PLUGIN_MAGIC UINT64_C(0x314C504445474143)
/* Number of this layout. A host takes exactly the numbers it knows; today that is 1. */
#define CAGED_PLUGIN_ABI UINT32_C(1)
/* Name of the exported constant. */
#define CAGED_PLUGIN_SYMBOL_NAME "caged_plugin_v1"

/* What a plugin gives beyond its kind's interface (`offers`). Shown by `caged plugins`; a bit promises that the call
 * behind it does not answer `unsupported`. Bits a host does not know are ignored. */
#define CAGED_OFFERS_PAUSE (UINT64_C(1) << 0)      /* "pause": vmm, pause and resume */
#define CAGED_OFFERS_SNAPSHOT (UINT64_C(1) << 1)   /* "snapshot": vmm, snapshot, restore, remove_snapshot */
#define CAGED_OFFERS_FORK (UINT64_C(1) << 2)       /* "fork": vmm, fork */
#define CAGED_OFFERS_CHANGES (UINT64_C(1) << 3)    /* "changes": vmm, mark_files and changes */
#define CAGED_OFFERS_OPERATIONS (UINT64_C(1) << 4) /* "operations": adds operations of its own */
#define CAGED_OFFERS_ROUTES (UINT64_C(1) << 5)     /* "routes": answers HTTP requests on the shared front */
#define CAGED_OFFERS_ADOPT (UINT64_C(1) << 6)      /* "adopt": vmm, live boxes survive a restart of the host */

/* What must be there before open() is called (`needs`). The host refuses the plugin, naming the service, when it is
 * not. A bit the host does not know is refused: it cannot be provided. */
#define CAGED_NEEDS_OPERATIONS (UINT64_C(1) << 0) /* "operations": service caged.operations.v1 */
#define CAGED_NEEDS_HTTP_FRONT (UINT64_C(1) << 1) /* "http_front": service caged.http_front.v1 */
#define CAGED_NEEDS_EVENT_SINK (UINT64_C(1) << 2) /* "event_sink": service caged.event_sink.v1 */
#define CAGED_NEEDS_STORAGE (UINT64_C(1) << 3)    /* "storage": a plugin of kind storage */
#define CAGED_NEEDS_VMM (UINT64_C(1) << 4)        /* "vmm": a plugin of kind vmm */
#define CAGED_NEEDS_BILLING (UINT64_C(1) << 5)    /* "billing": a plugin of kind billing */

typedef struct caged_plugin_descriptor {
  uint64_t magic;       /* CAGED_PLUGIN_MAGIC */
  uint32_t size;        /* sizeof(caged_plugin_descriptor) where the plugin was compiled */
  uint32_t abi;         /* CAGED_PLUGIN_ABI */
  const char* fingerprint; /* "sdk=0.1.0;cxx=202002;…", see <caged/fingerprint.hpp>; compared piece by piece */
  const char* kind;     /* "vmm", "transport", "storage", "tool", "billing" */
  const char* name;     /* [a-z][a-z0-9-]{0,31}, unique within the kind */
  const char* version;  /* the plugin's own, for people */
  const char* summary;  /* one line, for people */
  uint32_t event_schema; /* event catalogue it was built against; a host refuses one newer than its own */
  uint32_t reserved;    /* 0 */
  uint64_t offers;      /* CAGED_OFFERS_* */
  uint64_t needs;       /* CAGED_NEEDS_* */
  const char* config_schema; /* JSON Schema 2020-12 of the configuration, an object schema */

  /* Makes the plugin. `host` is a caged::host*, `config` UTF-8 JSON that fits config_schema, defaults filled in. Sets
   * *plugin to a caged::plugin* and returns 0; or returns another number and writes a zero-terminated reason into
   * `error` (at most error_size bytes). Throws nothing, has no effect outside the process, and runs on a thread of its
   * own with a deadline. */
  int32_t (*create)(void* host, const char* config, uint64_t config_size, void** plugin, char* error,
                    uint64_t error_size);
  /* Ends what create() made. Throws nothing. */
  void (*destroy)(void* plugin);
  /* The interface of that name, "caged.vmm.v1", or NULL. Throws nothing. */
  void* (*find_interface)(void* plugin, const char* name);
} caged_plugin_descriptor;

/* The size every plugin of ABI 1 has at least. */
#define CAGED_PLUGIN_V1_SIZE UINT32_C(112)

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* CAGED_PLUGIN_H */
