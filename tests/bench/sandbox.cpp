// bench_sandbox [NAME…] [--json FILE] [--rounds N] [--samples N] [--megabytes N] [--program PATH]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>

#include "process.hpp"
#include "sandbox_bench.hpp"

namespace caged::bench {

void measure_create(server& s, const settings& how, std::vector<comparison>& out) {
  http::client c = s.connect();
  comparison first;
  first.name = "create";
  first.what = "POST /v1/sandboxes, exec echo, its output is here";
  first.ours.unit = first.peer.unit = "us";
  first.peer_name = "bwrap --unshare-all --ro-bind / / true";
  first.ratio_at_most = 1;
  comparison whole = first;
  whole.name = "create+destroy";
  whole.what = "the same and DELETE";
  whole.ratio_at_most.reset();
  const std::vector<std::string> bwrap = {"bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"};
  const auto ours = [&] {
    double to_output = 0;
    whole.ours.values.push_back(time_us([&] {
      const auto start = std::chrono::steady_clock::now();
      sandbox box(c);
      box.exec({"echo", "ready"}, "ready\n");
      to_output = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
    }));
    return to_output;
  };
  alternate(how.rounds, how.samples, first.ours, ours, first.peer,
            [&] { return time_us([&] { run_process(bwrap); }); });
  whole.peer = first.peer;
  out.push_back(first);
  out.push_back(whole);
}

void measure_exec(server& s, const settings& how, std::vector<comparison>& out) {
  http::client c = s.connect();
  sandbox box(c);
  comparison line;
  line.name = "exec";
  line.what = "POST …/exec of /bin/true in a live sandbox";
  line.ours.unit = line.peer.unit = "us";
  line.peer_name = "posix_spawn /bin/true, waitpid";
  line.ratio_at_most = 2;
  alternate(
      how.rounds, how.samples * 5, line.ours, [&] { return time_us([&] { box.exec({"/bin/true"}, ""); }); }, line.peer,
      [&] { return time_us([&] { run_process({"/bin/true"}); }); });
  out.push_back(line);
}

namespace {

struct part {
  const char* name;
  void (*measure)(server&, const settings&, std::vector<comparison>&);
};
// The idle server first: it must not have worked yet.
constexpr part parts[] = {{"server", measure_idle_server}, {"memory", measure_idle_sandbox},
                          {"create", measure_create},      {"exec", measure_exec},
                          {"terminal", measure_terminal},  {"evidence", measure_evidence},
                          {"files", measure_files}};

struct arguments {
  settings how;
  std::string json_file;
  std::string program = CAGED_BUILD_DIR "/bin/caged";
  std::vector<std::string> names;
};

int usage() {
  std::fprintf(stderr,
               "usage: bench_sandbox [NAME...] [--json FILE] [--rounds N] [--samples N] [--megabytes N] "
               "[--program PATH]\nNAME: server memory create exec terminal files evidence\n");
  return 2;
}

bool parse(int argc, char** argv, arguments& a) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (!word.starts_with("--")) {
      const auto known = [&](const part& p) { return word == p.name; };
      if (std::none_of(std::begin(parts), std::end(parts), known)) return false;
      a.names.push_back(word);
      continue;
    }
    if (++i == argc) return false;
    const std::string value = argv[i];
    if (word == "--json")
      a.json_file = value;
    else if (word == "--program")
      a.program = value;
    else if (const int number = std::atoi(value.c_str()); number < 1)
      return false;
    else if (word == "--rounds")
      a.how.rounds = number;
    else if (word == "--samples")
      a.how.samples = number;
    else if (word == "--megabytes")
      a.how.megabytes = static_cast<std::size_t>(number);
    else
      return false;
  }
  return true;
}

}  // namespace
}  // namespace caged::bench

int main(int argc, char** argv) {
  using namespace caged::bench;
  arguments a;
  if (!parse(argc, argv, a)) return usage();
  std::vector<comparison> lines;
  bool failed = false;
  try {
    server s(a.program);
    for (const part& p : parts) {
      if (!a.names.empty() && std::find(a.names.begin(), a.names.end(), p.name) == a.names.end()) continue;
      std::fprintf(stderr, "measuring %s ...\n", p.name);
      try {
        p.measure(s, a.how, lines);
      } catch (const std::exception& e) {  // one broken part does not take the others' numbers away
        std::fprintf(stderr, "error: %s: %s\n", p.name, e.what());
        failed = true;
      }
    }
  } catch (const std::exception& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return 1;
  }
  // A promise that is not kept is said, and is no failure: a later change has to keep it, a noisy machine may break it.
  return print(lines, a.json_file) && !failed ? 0 : 1;
}
