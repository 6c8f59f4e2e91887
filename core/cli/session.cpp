#include <core/cli/session.hpp>

#include <core/cli/server.hpp>

#include <poll.h>
#include <unistd.h>

namespace caged::cli {

session::session(global_flags flags, config::environment env, std::filesystem::path program)
    : flags_(std::move(flags)), env_(std::move(env)), program_(std::move(program)) {
  const auto no_color = env_("NO_COLOR");
  const auto term = env_("TERM");
  const bool allowed = !flags_.no_color && !(no_color && !no_color->empty()) && term.value_or("") != "dumb";
  if (allowed && ::isatty(STDOUT_FILENO) == 1) out_colors_ = colors::on;
  if (allowed && ::isatty(STDERR_FILENO) == 1) err_colors_ = colors::on;
}

output_format session::format() const noexcept {
  if (flags_.json || flags_.format == "json") return output_format::json;
  return flags_.format == "yaml" ? output_format::yaml : output_format::table;
}

result<endpoint> session::find_server(start_policy policy) {
  if (endpoint_) return *endpoint_;
  if (flags_.no_start) policy = start_policy::never;
  server_search search{flags_.api_url, flags_.api_key, flags_.data, env_, data_dir()};
  auto found = find_endpoint(search);
  if (!found && found.error().reason == "no_local_server" && policy == start_policy::if_needed) {
    note("no server is running on " + data_dir().string() + "; starting one");
    auto started = start_server(program_, data_dir(), env_);
    if (!started) return started.error();
    note("server started at " + started->url + " (log: " + (data_dir() / "server.log").string() + ")");
    found = *started;
  }
  if (!found) return found.error();
  endpoint_ = *found;
  return *endpoint_;
}

result<http::client> session::connect(start_policy policy, int cancel_fd) {
  auto where = find_server(policy);
  if (!where) return where.error();
  http::client_options options;
  options.base_url = where->url;
  options.api_key = where->key;
  options.cancel_fd = cancel_fd;
  return http::client::make(std::move(options));
}

std::filesystem::path session::data_dir() const {
  std::error_code ignored;
  if (!flags_.data.empty()) return std::filesystem::absolute(flags_.data, ignored).lexically_normal();
  return config::default_data_dir(env_);
}

bool session::print(std::string_view text) const { return write_all(STDOUT_FILENO, text); }

void session::note(std::string_view text) const {
  if (flags_.quiet) return;
  write_all(STDERR_FILENO, colored("caged: ", tint::dim, err_colors_) + printable_lines(text) + "\n");
}

void session::print_document(const json& value) const {
  print(document_text(value, format() == output_format::yaml ? output_format::yaml : output_format::json));
}

void session::print_line(const json& value) const {
  print(format() == output_format::yaml ? "---\n" + document_text(value, output_format::yaml) : to_text(value) + "\n");
}

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      // Somebody made the terminal non-blocking; wait for it instead of losing output.
      pollfd p{fd, POLLOUT, 0};
      ::poll(&p, 1, -1);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

std::string sandbox_path(std::string_view id, std::string_view rest) {
  return "/v1/sandboxes/" + http::encode_component(id) + std::string(rest);
}

std::string query(const std::vector<std::pair<std::string, std::string>>& parameters) {
  std::string out;
  for (const auto& [name, value] : parameters) {
    if (value.empty()) continue;
    out += (out.empty() ? "?" : "&") + name + "=" + http::encode_component(value);
  }
  return out;
}

}  // namespace caged::cli
