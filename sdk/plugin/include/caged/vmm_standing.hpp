// Optional interface of a vmm backend: where it stands among the others when nobody asked for one by name.
#pragma once

#include <string_view>

namespace caged {

// Found by plugin::extension<vmm_standing>(). A backend without it stands at 0. Of those that are loaded the highest
// is the default; configuration (`default_backend`) and requests go first.
class vmm_standing {
 public:
  static constexpr std::string_view interface_name = "caged.vmm_standing.v1";
  virtual ~vmm_standing() = default;

  // Positive: stronger than namespaces on a shared kernel; negative: weaker. Constant; 0 or less while the machine
  // cannot run it well.
  virtual int standing() const noexcept = 0;
};

}  // namespace caged
