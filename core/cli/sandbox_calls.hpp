// The calls about one sandbox that several commands make.
#pragma once

#include <core/cli/arguments.hpp>
#include <core/cli/session.hpp>

namespace caged::cli {

// Whether `.caged.yaml` of the current folder counts when --config names none.
enum class file_policy : std::uint8_t { unset = 0, only_when_named, from_folder };

// Everything a new sandbox is asked to be: CAGED_* < client configuration < .caged.yaml < flags.
result<config::sandbox_request> build_request(const session& s, const resource_flags& flags, file_policy policy);

// POST /v1/sandboxes; answers at once, mostly with status "pending".
result<json> create_sandbox(http::client& client, const config::sandbox_request& request);

// Waits until the sandbox runs, with progress on the terminal. An error when it ends otherwise; `cancelled` when the
// client's cancel descriptor became readable.
result<json> wait_until_running(const session& s, http::client& client, json sandbox);

// Why a sandbox is not running, out of its record.
error sandbox_failure(const json& sandbox);

// The table of `caged ls`, and the lines of `caged status`. Pure.
std::string sandbox_table(const json& sandboxes, colors use);
std::string sandbox_status(const json& sandbox, const json& metrics, colors use);

}  // namespace caged::cli
