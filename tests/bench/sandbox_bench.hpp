// The parts of bench_sandbox; each measures on a running server and adds its lines.
#pragma once

#include "report.hpp"
#include "server.hpp"

namespace caged::bench {

struct settings {
  int rounds = 5;
  int samples = 20;  // per round
  std::size_t megabytes = 64;
};

// sandbox.cpp
void measure_create(server& s, const settings& how, std::vector<comparison>& out);
void measure_exec(server& s, const settings& how, std::vector<comparison>& out);
// sandbox_evidence.cpp
void measure_evidence(server& s, const settings& how, std::vector<comparison>& out);
// sandbox_streams.cpp
void measure_terminal(server& s, const settings& how, std::vector<comparison>& out);
void measure_files(server& s, const settings& how, std::vector<comparison>& out);
// sandbox_memory.cpp; the first one wants a server that has done nothing yet.
void measure_idle_server(server& s, const settings& how, std::vector<comparison>& out);
void measure_idle_sandbox(server& s, const settings& how, std::vector<comparison>& out);

}  // namespace caged::bench
