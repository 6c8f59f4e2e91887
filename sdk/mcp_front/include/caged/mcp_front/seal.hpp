// Seals by HMAC-SHA256 with a key that lives as long as the process.
#pragma once

#include <array>

#include <caged/mcp/dialog.hpp>

namespace caged::mcp {

class hmac_sealer : public sealer {
 public:
  hmac_sealer();
  std::string seal(const std::string& text) const override;
  std::optional<std::string> open(const std::string& sealed) const override;

 private:
  std::string mac(const std::string& text) const;
  std::array<std::byte, 32> key_;
};

}  // namespace caged::mcp
