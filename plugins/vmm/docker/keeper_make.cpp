// Making a box: its image, its container with every option at its strictest, and the agent in it.
#include "import.hpp"
#include "keeper.hpp"

#include <sys/stat.h>
#include <caged/random.hpp>
#include <fstream>

namespace caged::vmm::docker {
namespace {

constexpr std::uint64_t least_memory = 16ull << 20;

bool valid_id(const std::string& id) {
  if (id.empty() || id.size() > 63 || id[0] == '-' || id[0] == '.') return false;
  return id.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == std::string::npos;
}

error invalid(const std::string& message, const std::string& action, const std::string& path) {
  return fail(errc::invalid_argument, "invalid_input", message, action, path);
}

// What an image says of its processes' environment.
std::map<std::string, std::string> variables(const json& image) {
  std::map<std::string, std::string> out;
  const json::json_pointer at("/Config/Env");
  if (!image.contains(at) || !image.at(at).is_array()) return out;
  for (const auto& entry : image.at(at)) {
    const auto text = entry.get<std::string>();
    const auto equals = text.find('=');
    if (equals != std::string::npos && equals > 0) out[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return out;
}

json bind(const std::filesystem::path& from, const char* to) {
  return {{"Type", "bind"}, {"Source", from.string()}, {"Target", to}, {"ReadOnly", true}};
}

}  // namespace

result<void> keeper::check(const box_spec& spec) const {
  if (!valid_id(spec.id))
    return invalid("the id \"" + spec.id + "\" is not usable", "Use 1 to 63 letters, digits, dashes and underscores.",
                   "/id");
  if (spec.network_mode != "none")
    return fail(errc::unsupported, "network_mode_unsupported",
                "the docker backend cannot give the network mode \"" + spec.network_mode + "\" yet",
                "Use network_mode none.", "/network_mode");
  if (!(spec.cpus >= 0.01 && spec.cpus <= 1024))
    return invalid("cpus is " + std::to_string(spec.cpus) + ", expected 0.01 to 1024", "Correct cpus.", "/cpus");
  if (spec.memory_bytes < least_memory)
    return invalid("memory is " + std::to_string(spec.memory_bytes) + " bytes, expected at least 16 MiB",
                   "Give the sandbox more memory.", "/memory");
  if (spec.max_processes < 2)
    return invalid("max_processes is " + std::to_string(spec.max_processes) + ", expected at least 2",
                   "Allow more processes.", "/max_processes");
  return {};
}

result<keeper::image_facts> keeper::image(const std::string& name) {
  const auto own = options_.templates.find(name);
  const std::string wanted = own == options_.templates.end() ? name : template_repository(name) + ":latest";
  const std::string target = "/images/" + http::encode_component(wanted) + "/json";
  auto seen = engine_.call("GET", target);
  if (!seen && seen.error().code == errc::not_found && own != options_.templates.end()) {
    const std::lock_guard one_at_a_time(importing_);
    seen = engine_.call("GET", target);
    if (!seen) {
      if (auto done = import_template(engine_, own->second, template_repository(name), owner_, options_.data); !done)
        return done.error();
      seen = engine_.call("GET", target);
    }
  }
  if (!seen && (seen.error().code == errc::not_found || seen.error().code == errc::invalid_argument))
    return fail(errc::not_found, "unknown_template", "the container engine has no image \"" + name + "\"",
                "Load it into the engine (docker load, docker pull), or name a folder in plugins.vmm.docker.templates.",
                "/template");
  if (!seen) return seen.error();
  return image_facts{seen->value("Id", wanted), variables(*seen)};
}

result<void> keeper::look_at_engine(const box_spec& spec, std::vector<std::string>& walls,
                                    std::vector<std::string>& missing) {
  auto probes = probe_machine();
  if (!probes) return probes.error();
  walls = {"pidns", "mountns", "netns", "ipcns", "utsns", "no_new_privs", "capabilities"};
  const auto accepts = [](const std::vector<std::string>& list, const std::string& name) {
    return std::find(list.begin(), list.end(), name) != list.end();
  };
  for (const auto& p : *probes) {
    if (p.name == "engine" && !p.available) return fail(errc::unavailable, "no_engine", p.found, p.remedy);
    if (p.name == "engine") continue;
    if (p.available) {
      walls.push_back(p.name);
    } else if (p.required) {
      if (!accepts(options_.accept_missing, p.name) && !accepts(spec.accept_missing, p.name))
        return fail(errc::unsupported, "wall_missing", "the wall " + p.name + " is missing: " + p.found, p.remedy);
      missing.push_back(p.name);
    }
  }
  return {};
}

json keeper::container_of(const box_spec& spec, const image_facts& from,
                          const std::vector<std::string>& missing) const {
  const auto lacks = [&](const char* name) { return std::find(missing.begin(), missing.end(), name) != missing.end(); };
  json limits{
      {"NetworkMode", "none"},
      {"IpcMode", "private"},
      {"CgroupnsMode", "private"},
      {"CapDrop", {"ALL"}},
      {"CapAdd", options_.capabilities},
      {"SecurityOpt", {"no-new-privileges"}},
      {"Privileged", false},
      {"PublishAllPorts", false},
      {"AutoRemove", false},
      {"RestartPolicy", {{"Name", "no"}}},
      {"LogConfig", {{"Type", "none"}}},
      {"OomScoreAdj", 500},
      {"ShmSize", spec.memory_bytes / 2},
      {"Ulimits", json::array({{{"Name", "core"}, {"Soft", 0}, {"Hard", 0}}})},
      {"Mounts", json::array({bind(options_.agent, "/.caged/agent"), bind(folder(spec.id) / "in", "/.caged/in")})}};
  if (!lacks("cgroup.memory")) limits["Memory"] = limits["MemorySwap"] = spec.memory_bytes;
  if (!lacks("cgroup.cpu")) limits["NanoCpus"] = static_cast<std::int64_t>(spec.cpus * 1e9);
  if (!lacks("cgroup.pids")) limits["PidsLimit"] = spec.max_processes;
  return {{"Image", from.id},
          {"Hostname", spec.id},
          {"Entrypoint", {"/.caged/agent", "--handover", "/.caged/in/start.sock", "--workspace", "/workspace"}},
          {"Cmd", json::array()},
          {"User", "0:0"},
          {"WorkingDir", "/workspace"},
          {"NetworkDisabled", true},
          {"Healthcheck", {{"Test", {"NONE"}}}},
          {"StopSignal", "SIGKILL"},
          {"Labels", {{"caged.owner", owner_}, {"caged.id", spec.id}}},
          {"HostConfig", std::move(limits)}};
}

// A container of this image with a live agent. A failure leaves no container.
result<keeper::started> keeper::start(const box_spec& spec, const image_facts& from,
                                      const std::vector<std::string>& missing) {
  std::error_code ec;
  const auto in = folder(spec.id) / "in";
  std::filesystem::create_directories(in, ec);
  std::filesystem::remove(in / "start.sock", ec);
  std::filesystem::remove(folder(spec.id) / "agent.sock", ec);
  auto listening = listen_at(folder(spec.id), "agent.sock");
  if (!listening) return listening.error();
  auto begin = listen_at(in, "start.sock");
  if (!begin) return begin.error();
  // Root of a container with mapped users is nobody here; the folder's parents keep everybody else out.
  ::chmod((in / "start.sock").c_str(), 0666);
  ::chmod(in.c_str(), 0755);
  auto values = from.env;
  for (const auto& [name, value] : spec.env) values[name] = value;
  auto env = environment_file(values);
  if (!env) return env.error();
  auto made =
      engine_.call("POST", "/containers/create?name=" + container_name(spec.id), container_of(spec, from, missing));
  if (!made) return made.error();
  started out;
  out.container = made->value("Id", "");
  const auto alive = [&]() -> result<void> {
    auto seen = inspect(out.container);
    if (!seen) return seen.error();
    const json state = seen->value("State", json::object());
    if (state.value("Running", false)) return {};
    return fail(errc::internal, "agent_failed",
                "the agent in the box ended before it was ready, with status " +
                    std::to_string(state.value("ExitCode", -1)) + " " + state.value("Error", ""),
                "Look at the engine's log.");
  };
  auto begun = engine_.call("POST", "/containers/" + out.container + "/start");
  result<pid_t> pid = begun ? hand_over(begin->get(), listening->get(), env->get(), options_.start_deadline, alive)
                            : result<pid_t>(begun.error());
  std::filesystem::remove(in / "start.sock", ec);  // nobody else is to be taken for the agent
  if (pid) {
    out.pid = *pid;
    out.process = open_process(*pid);
    if (out.process) return out;
    pid = errno_error(errno, "watch the sandbox's first process");
  }
  (void)remove_container(out.container);
  return pid.error();
}

result<void> keeper::write_spec(const box_spec& spec) const {
  const auto file = folder(spec.id) / "box.json";
  std::ofstream out(file, std::ios::trunc);
  ::chmod(file.c_str(), 0600);
  out << to_text({{"id", spec.id},
                  {"image", spec.image},
                  {"snapshot", spec.snapshot},
                  {"cpus", spec.cpus},
                  {"memory", spec.memory_bytes},
                  {"disk", spec.disk_bytes},
                  {"processes", spec.max_processes},
                  {"network", spec.network_mode},
                  {"env", spec.env},
                  {"accept_missing", spec.accept_missing}});
  out.close();
  if (!out) return fail(errc::insufficient_storage, "write_failed", "cannot write " + file.string());
  return {};
}

result<box_info> keeper::make(const box_spec& spec) {
  if (auto fine = check(spec); !fine) return fine.error();
  {
    const std::lock_guard lock(guard_);
    if (live_.count(spec.id) != 0 || !making_.insert(spec.id).second)
      return fail(errc::conflict, "sandbox_exists", "a box \"" + spec.id + "\" exists already", "Choose another id.");
  }
  auto b = std::make_shared<box>();
  b->id = spec.id;
  b->spec = spec;
  const auto build = [&]() -> result<void> {
    if (auto stands = look_at_engine(spec, b->walls, b->missing); !stands) return stands;
    auto from = files_of(spec);
    if (!from) return from.error();
    std::error_code ec;
    std::filesystem::create_directories(folder(spec.id), ec);
    if (ec) return errno_error(ec.value(), "make the sandbox's folder");
    if (auto kept = write_spec(spec); !kept) return kept;
    auto ran = start(spec, *from, b->missing);
    if (!ran) return ran.error();
    b->container = std::move(ran->container);
    b->pid = ran->pid;
    b->process = std::move(ran->process);
    return {};
  };
  const auto built = build();
  if (!built) release(spec.id);
  const std::lock_guard lock(guard_);
  making_.erase(spec.id);
  if (!built) return built.error();
  live_[spec.id] = b;
  gone_.erase(spec.id);
  return describe_box(*b);
}

}  // namespace caged::vmm::docker
