// Who wants to hear that a list or a resource has changed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <caged/mcp/call.hpp>

namespace caged::mcp {

// Single-threaded, like the dialogs in it.
class audience {
 public:
  class hearer {
   public:
    virtual ~hearer() = default;
    virtual void changed(list_kind which) = 0;
    virtual void resource_changed(const std::string& uri) = 0;
  };

  void add(std::weak_ptr<hearer> one);
  void tell_changed(list_kind which);
  void tell_resource_changed(const std::string& uri);

 private:
  std::vector<std::shared_ptr<hearer>> present();
  std::vector<std::weak_ptr<hearer>> members_;
};

}  // namespace caged::mcp
