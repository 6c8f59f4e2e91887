// Images as archives: what `docker save` and `skopeo copy … oci-archive:` write, every piece checked by its digest.
#pragma once

#include <caged/result.hpp>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace caged::sandbox {

struct unpacked_image {
  std::vector<std::filesystem::path> layers;  // tars, lowest first, in the work folder
  std::map<std::string, std::string> env;     // what the image gives its processes
};

// Takes the archive apart into `work`, an empty folder. `image` chooses by tag where there are several; empty: the only
// one. A piece whose content is not what its digest says is refused (reason "layer_tampered"). Blocks.
result<unpacked_image> unpack_image(const std::filesystem::path& archive, const std::string& image,
                                    const std::filesystem::path& work);

}  // namespace caged::sandbox
