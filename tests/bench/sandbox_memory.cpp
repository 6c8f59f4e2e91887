#include <memory>
#include <stdexcept>
#include <thread>

#include "process.hpp"
#include "sandbox_bench.hpp"

namespace caged::bench {

void measure_idle_server(server& s, const settings&, std::vector<comparison>& out) {
  std::this_thread::sleep_for(std::chrono::seconds{1});
  comparison line;
  line.name = "server";
  line.what = "idle caged serve, PSS";
  line.ours.unit = "MiB";
  line.ours.values.push_back(pss_mib(s.pid()));
  line.value_at_most = 30;
  out.push_back(line);
}

// What ten idle sandboxes add: processes named caged… that were not there before, all below them and below the server.
void measure_idle_sandbox(server& s, const settings&, std::vector<comparison>& out) {
  constexpr int count = 10;
  http::client c = s.connect();
  const auto before = processes_named("caged");
  const double server_before = pss_mib(s.pid());
  std::vector<std::unique_ptr<sandbox>> boxes;
  for (int i = 0; i < count; ++i) boxes.push_back(std::make_unique<sandbox>(c));
  std::this_thread::sleep_for(std::chrono::seconds{1});
  double sum = 0;
  int processes = 0;
  auto roots = processes_named("caged");
  for (const pid_t pid : before) roots.erase(pid);
  roots.insert(s.pid());
  for (const pid_t pid : family_of(roots)) {
    if (pid == s.pid()) continue;
    sum += pss_mib(pid);
    ++processes;
  }
  if (processes == 0) throw std::runtime_error("no process of a sandbox was found by its name");
  comparison box;
  box.name = "sandbox";
  box.what = "an idle sandbox: PSS of its " + std::to_string(processes / count) + " processes, mean of " +
             std::to_string(count);
  box.ours.unit = "MiB";
  box.ours.values.push_back(sum / count);
  box.value_at_most = 2;
  comparison grown;
  grown.name = "server per box";
  grown.what = "what the server grows by for each";
  grown.ours.unit = "MiB";
  grown.ours.values.push_back((pss_mib(s.pid()) - server_before) / count);
  out.push_back(box);
  out.push_back(grown);
}

}  // namespace caged::bench
