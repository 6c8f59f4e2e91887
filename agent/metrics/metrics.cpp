#include "metrics/metrics.hpp"

#include <sys/statvfs.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "proc_fs.hpp"

namespace caged::agent {
namespace {

using namespace std::chrono_literals;

double ticks_per_second() { return static_cast<double>(::sysconf(_SC_CLK_TCK)); }

// Inside a PID namespace /proc/stat still counts the whole machine, which is neither true of the box nor its business.
bool sees_whole_machine() {
  char name[64] = "";
  const ssize_t n = ::readlink("/proc/self/ns/pid", name, sizeof name - 1);
  return n > 0 && std::strcmp(name, "pid:[4026531836]") == 0;  // PROC_PID_INIT_INO
}

double machine_busy_seconds() {
  const std::string text = read_small("/proc/stat", 512);
  if (text.rfind("cpu ", 0) != 0) return 0;
  // user nice system idle iowait irq softirq steal
  std::uint64_t busy = 0;
  char* at = const_cast<char*>(text.c_str()) + 4;
  for (int field = 0; field < 8; ++field) {
    const std::uint64_t value = std::strtoull(at, &at, 10);
    if (field != 3 && field != 4) busy += value;
  }
  return static_cast<double>(busy) / ticks_per_second();
}

// A process that ends hands its time to the parent that waits for it, so the sum never goes back.
double box_busy_seconds() {
  std::uint64_t ticks = 0;
  for (const process_row& row : read_processes()) ticks += row.ticks + row.children_ticks;
  return static_cast<double>(ticks) / ticks_per_second();
}

std::uint64_t number_after(const std::string& text, const char* label) {
  const std::size_t at = text.find(label);
  return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at + std::strlen(label), nullptr, 10);
}

struct memory_reading {
  std::uint64_t used_kb = 0, total_kb = 0;
};

memory_reading read_memory() {
  const std::string info = read_small("/proc/meminfo");
  memory_reading m;
  m.total_kb = number_after(info, "MemTotal:");
  m.used_kb = m.total_kb - std::min(m.total_kb, number_after(info, "MemAvailable:"));
  // A control group of our own with a limit tells more exactly.
  const std::string limit = read_small("/sys/fs/cgroup/memory.max", 64),
                    used = read_small("/sys/fs/cgroup/memory.current", 64);
  if (!limit.empty() && limit[0] != 'm' && !used.empty()) {
    m.total_kb = std::strtoull(limit.c_str(), nullptr, 10) / 1024;
    m.used_kb = std::strtoull(used.c_str(), nullptr, 10) / 1024;
  } else if (!sees_whole_machine()) {
    std::uint64_t pages = 0;
    for (const process_row& row : read_processes()) pages += row.resident_pages;
    m.used_kb = pages * static_cast<std::uint64_t>(::getpagesize()) / 1024;
  }
  return m;
}

}  // namespace

metrics_sampler::metrics_sampler(std::string disk_path) : disk_path_(std::move(disk_path)), last_(read_cpu()) {}

metrics_sampler::cpu_reading metrics_sampler::read_cpu() {
  static const bool whole = sees_whole_machine();
  return {std::chrono::steady_clock::now(), whole ? machine_busy_seconds() : box_busy_seconds()};
}

json metrics_sampler::sample() {
  const cpu_reading now = read_cpu();
  const double seconds = std::chrono::duration<double>(now.at - last_.at).count();
  if (seconds >= 0.2) {
    const double processors = std::max(1.0, static_cast<double>(::sysconf(_SC_NPROCESSORS_ONLN)));
    percent_ = std::clamp((now.busy_seconds - last_.busy_seconds) / seconds / processors * 100.0, 0.0, 100.0);
    last_ = now;
  }
  const auto rows = read_processes();
  const memory_reading memory = read_memory();
  struct statvfs disk {};
  if (::statvfs(disk_path_.c_str(), &disk) != 0) ::statvfs("/", &disk);
  const double unit = static_cast<double>(disk.f_frsize) / 1048576.0;
  const auto mb = [](double value) { return static_cast<std::int64_t>(value + 0.5); };
  json value = json::object();
  value["cpu_percent"] = static_cast<double>(static_cast<int>(percent_ * 100)) / 100;
  value["memory_used_mb"] = mb(static_cast<double>(memory.used_kb) / 1024);
  value["memory_total_mb"] = mb(static_cast<double>(memory.total_kb) / 1024);
  value["disk_used_mb"] = mb(static_cast<double>(disk.f_blocks - disk.f_bfree) * unit);
  value["disk_total_mb"] = mb(static_cast<double>(disk.f_blocks) * unit);
  value["num_processes"] = rows.size();
  // The last process number of a namespace of our own counts the processes and threads it has ever had.
  if (!sees_whole_machine()) {
    const std::string load = read_small("/proc/loadavg", 128);
    const std::size_t last = load.rfind(' ');
    if (last != std::string::npos) value["tasks_started"] = std::strtoull(load.c_str() + last + 1, nullptr, 10);
  }
  value["timestamp"] =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  return value;
}

}  // namespace caged::agent
