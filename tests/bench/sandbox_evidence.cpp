// What it costs to be observed: the same C project built in a box with all evidence and in one with none.
#include <stdexcept>

#include "process.hpp"
#include "sandbox_bench.hpp"

namespace caged::bench {
namespace {

// Twelve modules of thirty functions, a library and a program that links and is run: about as many compiler processes
// and files as a small C library has.
constexpr const char* make_project = R"(
mkdir -p /workspace/p && cd /workspace/p
for m in $(seq 1 12); do
  { echo "#include <stdio.h>"; echo "#include <stdlib.h>"; echo "#include <string.h>"
    for f in $(seq 1 30); do
      echo "int m${m}_f$f(int n) { char b[64]; int s = 0; for (int i = 0; i < n; ++i) { snprintf(b, sizeof b, \"%d\", i ^ s); s += (int)strlen(b) + atoi(b); } return s; }"
    done; } > m$m.c
done
echo 'int m1_f1(int); int main(void) { return m1_f1(10) < 0; }' > main.c
printf 'O=$(patsubst %%.c,%%.o,$(wildcard m*.c))\nall: run\nlib.a: $(filter-out main.o,$O)\n\tar rcs $@ $^\nprog: main.o lib.a\n\tcc -o $@ main.o lib.a\nrun: prog\n\t./prog\n%%.o: %%.c\n\tcc -O1 -c -o $@ $<\n' > Makefile
)";

double build(http::client& c, const sandbox& box) {
  json body = json::object();
  body["command"] = "cd /workspace/p && rm -f *.o lib.a prog && make -s -j2 && echo built";
  json answer;
  const double took = time_us([&] { answer = c.call("POST", box.route("/exec"), body).value(); });
  if (answer.at("stdout") != json("built\n")) throw std::runtime_error("the project did not build: " + answer.dump());
  return took / 1000;
}

}  // namespace

void measure_evidence(server& s, const settings& how, std::vector<comparison>& out) {
  server unobserved(s.program(), "plugins: {vmm: {jail: {evidence: {exec: false, files: false}}}}\n");
  http::client with = s.connect(), without = unobserved.connect();
  sandbox seen(with), unseen(without);
  for (auto* pair : {&seen, &unseen}) {
    json body = json::object();
    body["command"] = make_project;
    (void)(pair == &seen ? with : without).call("POST", pair->route("/exec"), body).value();
  }
  comparison line;
  line.name = "evidence";
  line.what = "make of a C project, every execution and file change recorded";
  line.ours.unit = line.peer.unit = "ms";
  line.peer_name = "the same with evidence off";
  line.ratio_at_most = 1.05;
  alternate(
      how.rounds, std::max(3, how.samples / 10), line.ours, [&] { return build(with, seen); }, line.peer,
      [&] { return build(without, unseen); });
  out.push_back(line);
}

}  // namespace caged::bench
