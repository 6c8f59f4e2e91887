// Turns a class into a plugin: one include, one class, one macro. Include it in exactly one .cpp of the plugin.
//
//   class hello : public caged::tool {
//    public:
//     hello(caged::host& host, const caged::json& config);
//     caged::task<void> open() override;
//   };
//   CAGED_PLUGIN(hello, .summary = "Says hello.", .needs = CAGED_NEEDS_OPERATIONS)
//
// Name, version and configuration schema come from caged_add_plugin(… NAME … VERSION … SCHEMA …) unless they are given
// here (.name, .version, .config_schema). The kind follows from the interface that the class implements.
#pragma once

#include <caged_plugin.h>

#include <caged/billing.hpp>
#include <caged/event.hpp>
#include <caged/fingerprint.hpp>
#include <caged/json.hpp>
#include <caged/plugin.hpp>
#include <caged/storage.hpp>
#include <caged/vmm.hpp>
#include <concepts>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <type_traits>

// caged_add_plugin() defines these.
#ifndef CAGED_PLUGIN_NAME
#define CAGED_PLUGIN_NAME ""
#endif
#ifndef CAGED_PLUGIN_VERSION
#define CAGED_PLUGIN_VERSION CAGED_SDK_VERSION
#endif
// The exported constant. Plugins that are linked into a program, for adopt(), get a symbol each.
#ifndef CAGED_PLUGIN_SYMBOL
#define CAGED_PLUGIN_SYMBOL caged_plugin_v1
#endif

namespace caged {

namespace detail {
namespace {
#ifdef CAGED_PLUGIN_SCHEMA_FILE
constexpr char plugin_schema_text[] =
#include CAGED_PLUGIN_SCHEMA_FILE
    ;
#else
// No schema: the plugin takes no configuration, and says so.
constexpr char plugin_schema_text[] = R"({"type":"object","properties":{},"additionalProperties":false})";
#endif
}  // namespace
}  // namespace detail

// What the author may say about a plugin.
struct plugin_manifest {
  const char* name = CAGED_PLUGIN_NAME;
  const char* version = CAGED_PLUGIN_VERSION;
  const char* summary = "";
  std::uint64_t offers = 0;  // CAGED_OFFERS_*
  std::uint64_t needs = 0;  // CAGED_NEEDS_*
  const char* config_schema = detail::plugin_schema_text;
};

namespace detail {

// The kind's interface of a class, and the kind's name.
template <class Class>
struct kind_of {
  static constexpr bool vmm = std::derived_from<Class, vmm_backend>;
  static constexpr bool store = std::derived_from<Class, storage>;
  static constexpr bool way_in = std::derived_from<Class, transport>;
  static constexpr bool adds = std::derived_from<Class, tool>;
  static constexpr bool bills = std::derived_from<Class, billing_provider>;
  static_assert(vmm + store + way_in + adds + bills == 1,
                "a plugin class derives from exactly one of caged::vmm_backend, caged::storage, caged::transport, "
                "caged::tool, caged::billing_provider");
  using other = std::conditional_t<way_in, transport, std::conditional_t<bills, billing_provider, tool>>;
  using type = std::conditional_t<vmm, vmm_backend, std::conditional_t<store, storage, other>>;
  static constexpr const char* name = vmm ? "vmm" : store ? "storage" : way_in ? "transport" : bills ? "billing" : "tool";
};

inline void copy_reason(std::string_view text, char* out, std::uint64_t size) noexcept {
  if (size == 0) return;
  const std::size_t length = text.size() < size - 1 ? text.size() : static_cast<std::size_t>(size - 1);
  std::memcpy(out, text.data(), length);
  out[length] = '\0';
}

template <class Class>
std::int32_t create_plugin(void* host_pointer, const char* config, std::uint64_t config_size, void** out, char* reason,
                           std::uint64_t reason_size) noexcept {
  try {
    const json parsed = json::parse(std::string_view(config, static_cast<std::size_t>(config_size)));
    auto made = std::make_unique<Class>(*static_cast<host*>(host_pointer), parsed);
    *out = static_cast<plugin*>(made.release());
    return 0;
  } catch (const bad_result& e) {
    copy_reason(describe(e.failure), reason, reason_size);
  } catch (const std::exception& e) {
    copy_reason(e.what(), reason, reason_size);
  } catch (...) {
    copy_reason("an exception that is no std::exception", reason, reason_size);
  }
  return 1;
}

inline void destroy_plugin(void* object) noexcept { delete static_cast<plugin*>(object); }

template <class Class>
void* find_plugin_interface(void* object, const char* name) noexcept {
  using kind = typename kind_of<Class>::type;
  auto* made = static_cast<Class*>(static_cast<plugin*>(object));
  if (kind::interface_name == name) return static_cast<kind*>(made);
  return made->find_extension(name);
}

template <class Class>
constexpr caged_plugin_descriptor describe_plugin(plugin_manifest m) noexcept {
  static_assert(std::is_constructible_v<Class, host&, const json&>,
                "a plugin class has a constructor (caged::host&, const caged::json& config)");
  static_assert(sizeof(caged_plugin_descriptor) == CAGED_PLUGIN_V1_SIZE);
  return {CAGED_PLUGIN_MAGIC,
          sizeof(caged_plugin_descriptor),
          CAGED_PLUGIN_ABI,
          CAGED_FINGERPRINT,
          kind_of<Class>::name,
          m.name,
          m.version,
          m.summary,
          event_schema_number,
          0,
          m.offers,
          m.needs,
          m.config_schema,
          &create_plugin<Class>,
          &destroy_plugin,
          &find_plugin_interface<Class>};
}

}  // namespace detail
}  // namespace caged

// CAGED_PLUGIN(class, .summary = "…", .offers = …, .needs = …): exports the class as this file's plugin. At file scope.
#define CAGED_PLUGIN(class_name, ...)                                                                  \
  extern "C" __attribute__((visibility("default"))) const caged_plugin_descriptor CAGED_PLUGIN_SYMBOL; \
  constinit const caged_plugin_descriptor CAGED_PLUGIN_SYMBOL =                                        \
      ::caged::detail::describe_plugin<class_name>(::caged::plugin_manifest{__VA_ARGS__});
