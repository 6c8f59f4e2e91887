// What every command works with: the global flags, where output goes, and the way to the server.
#pragma once

#include <caged/http_client.hpp>
#include <core/cli/cli.hpp>
#include <core/cli/render.hpp>
#include <core/config/environment.hpp>
#include <core/config/sandbox_request.hpp>
#include <optional>
#include <string>

namespace caged::cli {

// Flags every command takes.
struct global_flags {
  std::string api_url;
  std::string api_key;
  std::string data;
  std::string format;      // table json yaml; "" = table
  std::string config;      // --config of commands that read .caged.yaml
  bool json = false;
  bool quiet = false;
  bool no_color = false;
  bool no_start = false;
};

// Where the server is and what opens it.
struct endpoint {
  std::string url;
  std::string key;
  std::string found_by;     // for messages: "--api-url", "CAGED_API_URL", a file
};

// Whether a command may start a server of its own when none answers.
enum class start_policy : std::uint8_t { unset = 0, never, if_needed };

class session {
 public:
  session(global_flags flags, config::environment env, std::filesystem::path program);

  const global_flags& flags() const noexcept { return flags_; }
  const config::environment& env() const noexcept { return env_; }
  const std::filesystem::path& program() const noexcept { return program_; }

  output_format format() const noexcept;
  bool machine() const noexcept { return format() != output_format::table; }
  colors out_colors() const noexcept { return out_colors_; }
  colors err_colors() const noexcept { return err_colors_; }

  // Finds the server (and starts one when that is allowed). Cached.
  result<endpoint> find_server(start_policy policy);
  // A client of that server. `cancel_fd` as in http::client_options.
  result<http::client> connect(start_policy policy = start_policy::never, int cancel_fd = -1);

  // The data folder in force: --data, CAGED_DATA, the default.
  std::filesystem::path data_dir() const;

  // Writes to standard output; false when nobody reads it any more.
  bool print(std::string_view text) const;
  // A note for people on standard error; dropped by --quiet.
  void note(std::string_view text) const;
  // One document in the format asked for (json when it is "table": the caller has no table for it).
  void print_document(const json& value) const;
  // An item of a stream as one line of JSON.
  void print_line(const json& value) const;

 private:
  global_flags flags_;
  config::environment env_;
  std::filesystem::path program_;
  colors out_colors_ = colors::off;
  colors err_colors_ = colors::off;
  std::optional<endpoint> endpoint_;
};

// Writes all of it to the descriptor, through EINTR and EAGAIN; false when the other side has gone.
bool write_all(int fd, std::string_view bytes);

// "/v1/sandboxes/<id>" + rest, the id percent-encoded.
std::string sandbox_path(std::string_view id, std::string_view rest = {});
// "?a=b&c=d", values percent-encoded; empty values are left out.
std::string query(const std::vector<std::pair<std::string, std::string>>& parameters);

}  // namespace caged::cli
