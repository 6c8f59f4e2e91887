// What `caged run` says at the end: what the command did, as the host saw it.
#pragma once

#include <caged/json.hpp>
#include <chrono>
#include <core/cli/render.hpp>
#include <string>

namespace caged::cli {

struct run_facts {
  std::string sandbox_id;
  int exit_code = 125;                    // of our process
  json exit;                              // the exit frame
  json sandbox;                           // the record, for cost; null when it could not be read
  json metrics;                           // counters; null when this machine has none
  json changes;                           // files; null when the backend cannot tell
  std::chrono::milliseconds total{0};     // from the first request to the end of the command
};

// One document (for --summary-json). What is not known is null, never zero.
json summary_document(const run_facts& facts);

// A few lines for people.
std::string summary_text(const json& summary, colors use);

}  // namespace caged::cli
