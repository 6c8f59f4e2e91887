// What the plugin asks of the launcher and how it is written on the control socket. Only the standard library: the
// launcher is static and small.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace caged::vmm::jail {

// A folder of the host that the box sees under a writable layer of its own.
struct layer {
  std::string source;  // on the host, absolute; read-only for the box
  std::string target;  // inside the box, relative to its root: "usr"
  std::string folder;  // name of its folder (upper, work) under fs/layers
};

// One box to contain. Nothing in it comes from the box; the launcher trusts the plugin and nobody else.
struct launch_spec {
  std::string id;                     // host name inside
  std::uint32_t uid_base = 0;         // first id on the host; 0: an ordinary user, who maps himself to root
  std::uint32_t uid_count = 0;
  std::uint32_t disk_base = 0;        // first id of the owners of the box's files on disk; 0: uid_base
  std::uint32_t user_uid = 0, user_gid = 0;  // who runs the host, for the map of an ordinary user
  std::uint64_t shm_bytes = 64ull << 20;
  std::uint64_t rlimit_processes = 0;  // 0: no limit of this kind (a cgroup does it)
  std::uint64_t rlimit_data = 0;
  std::uint64_t witness = 0;  // 1: executions are reported to a listener, which is handed back
  std::vector<layer> layers;
  std::vector<std::string> accept_missing;
  std::vector<std::string> agent_argv;
};

// Work inside the namespaces of a box that runs. One descriptor travels with it: the pidfd of the box's first process.
struct gate_spec {
  bool join_user = false;     // an ordinary user's host: join the user namespace too
  unsigned inner_count = 0;   // 0: open the gate; otherwise so many unconnected sockets
  int inner_family = 0;
};

// Descriptors that travel with a request, in this order.
enum class handed : std::size_t { box_folder = 0, agent_program, listen, ready, env, filter, count };
inline constexpr std::size_t handed_count = static_cast<std::size_t>(handed::count);

// Numbers under which the agent finds what it was handed.
inline constexpr int agent_listen_fd = 3;
inline constexpr int agent_ready_fd = 4;
inline constexpr int agent_env_fd = 5;

// The control socket in the launcher.
inline constexpr int control_fd = 3;
inline constexpr std::size_t message_limit = 64 * 1024;
inline constexpr unsigned inner_most = 16;  // sockets in one answer

// Messages are words, each ended by a NUL byte; a list is its length followed by its words.
class message_writer {
 public:
  message_writer& word(std::string_view text) {
    text_.append(text);
    text_.push_back('\0');
    return *this;
  }
  message_writer& number(std::uint64_t value) { return word(std::to_string(value)); }
  message_writer& list(const std::vector<std::string>& words) {
    number(words.size());
    for (const auto& w : words) word(w);
    return *this;
  }
  const std::string& text() const noexcept { return text_; }

 private:
  std::string text_;
};

// Reads what message_writer wrote. A malformed message makes ok() false and every later read empty.
class message_reader {
 public:
  explicit message_reader(std::string_view text) : rest_(text) {}

  std::string word() {
    const auto end = rest_.find('\0');
    if (end == std::string_view::npos) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    std::string out(rest_.substr(0, end));
    rest_.remove_prefix(end + 1);
    return out;
  }
  std::uint64_t number() {
    const std::string text = word();
    std::uint64_t value = 0;
    if (text.empty() || text.size() > 19) ok_ = false;
    for (char c : text) {
      if (c < '0' || c > '9') ok_ = false;
      value = value * 10 + static_cast<std::uint64_t>(c - '0');
    }
    return ok_ ? value : 0;
  }
  std::vector<std::string> list() {
    std::vector<std::string> out;
    for (std::uint64_t n = number(); ok_ && n > 0; --n) out.push_back(word());
    return out;
  }
  bool ok() const noexcept { return ok_; }
  bool at_end() const noexcept { return rest_.empty(); }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

inline std::string encode(const launch_spec& spec) {
  message_writer out;
  out.word("launch").word(spec.id).number(spec.uid_base).number(spec.uid_count).number(spec.disk_base).number(spec.user_uid);
  out.number(spec.user_gid)
      .number(spec.shm_bytes)
      .number(spec.rlimit_processes)
      .number(spec.rlimit_data)
      .number(spec.witness);
  out.number(spec.layers.size());
  for (const auto& l : spec.layers) out.word(l.source).word(l.target).word(l.folder);
  out.list(spec.accept_missing).list(spec.agent_argv);
  return out.text();
}

inline std::optional<launch_spec> decode(std::string_view text) {
  message_reader in(text);
  if (in.word() != "launch") return std::nullopt;
  launch_spec spec;
  spec.id = in.word();
  spec.uid_base = static_cast<std::uint32_t>(in.number());
  spec.uid_count = static_cast<std::uint32_t>(in.number());
  spec.disk_base = static_cast<std::uint32_t>(in.number());
  spec.user_uid = static_cast<std::uint32_t>(in.number());
  spec.user_gid = static_cast<std::uint32_t>(in.number());
  spec.shm_bytes = in.number();
  spec.rlimit_processes = in.number();
  spec.rlimit_data = in.number();
  spec.witness = in.number();
  for (std::uint64_t n = in.number(); in.ok() && n > 0; --n) {
    layer l;
    l.source = in.word();
    l.target = in.word();
    l.folder = in.word();
    spec.layers.push_back(std::move(l));
  }
  spec.accept_missing = in.list();
  spec.agent_argv = in.list();
  if (!in.ok() || !in.at_end() || spec.agent_argv.empty()) return std::nullopt;
  return spec;
}

inline std::string encode(const gate_spec& spec) {
  message_writer out;
  out.word("gate").number(spec.join_user ? 1 : 0).number(spec.inner_count);
  return out.number(static_cast<std::uint64_t>(spec.inner_family)).text();
}

inline std::optional<gate_spec> decode_gate(std::string_view text) {
  message_reader in(text);
  if (in.word() != "gate") return std::nullopt;
  gate_spec spec;
  spec.join_user = in.number() != 0;
  spec.inner_count = static_cast<unsigned>(in.number());
  spec.inner_family = static_cast<int>(in.number());
  if (!in.ok() || !in.at_end() || spec.inner_count > inner_most) return std::nullopt;
  return spec;
}

}  // namespace caged::vmm::jail
