// Template folders and archives as images of the engine.
#pragma once

#include "engine.hpp"

namespace caged::vmm::docker {

// Makes the image `repository`:latest out of a tar archive or of everything below a folder (owners and modes kept).
// `scratch` is a folder for the archive on its way. Blocks.
result<void> import_template(const engine& to, const std::filesystem::path& source, const std::string& repository,
                             const std::string& owner, const std::filesystem::path& scratch);

}  // namespace caged::vmm::docker
