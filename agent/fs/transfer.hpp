// File content over channels: downloads that follow the reader's credit, uploads that appear at once or not at all.
#pragma once

#include <memory>

#include "connection.hpp"
#include "fs/tree.hpp"

namespace caged::agent {

// "file.read": answers with the head, then sends data and end.
void start_download(const tree& files, const std::shared_ptr<call>& asked);
// "file.write": takes data until end, then answers.
void start_upload(const tree& files, const std::shared_ptr<call>& asked);

}  // namespace caged::agent
