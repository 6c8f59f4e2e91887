"""What a sandbox that is a virtual machine costs: clones against their own cold boot, forks of a running one, pause.

CAGED_BUILD_DIR=build python3 tests/bench/qemu.py [--clones N] [--sizes 128,512,2048]
Needs root, qemu-system-x86, linux-image-cloud-amd64 and erofs-utils. Prints one JSON object.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../integration/qemu"))
from house import Server, make_template  # noqa: E402


def spread(samples):
    ordered = sorted(samples)
    return {"n": len(ordered), "median_ms": round(statistics.median(ordered) * 1e3, 1),
            "p99_ms": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1e3, 1)}


def timed(work):
    began = time.perf_counter()
    out = work()
    return time.perf_counter() - began, out


def private_memory(folder, box):
    with open(f"{folder}/machines/boxes/{box}/box.json", encoding="utf-8") as record:
        pid = json.load(record)["machine"]
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as rollup:
        rows = dict(line.split(":", 1) for line in rollup.read().splitlines()[1:])
    return sum(int(rows[key].split()[0]) for key in ("Private_Clean", "Private_Dirty")) // 1024


def first_output(server):
    def both():
        box = server.make()["id"]
        assert server.run_in(box, "echo out")["stdout"] == "out\n"
        return box
    return timed(both)


def one_by_one(server, count, settle):
    samples, private = [], []
    for _ in range(count):
        time.sleep(settle)  # for the clone made ahead
        took, box = first_output(server)
        samples.append(took)
        private.append(private_memory(server.folder, box))
        server.api("DELETE", "/v1/sandboxes/" + box)
    return spread(samples), statistics.median(private)


def at_once(server, count):
    done = []
    threads = [threading.Thread(target=lambda: done.append(first_output(server))) for _ in range(count)]
    took, _ = timed(lambda: ([t.start() for t in threads], [t.join() for t in threads]))
    for _, box in done:
        server.api("DELETE", "/v1/sandboxes/" + box)
    assert len(done) == count, f"{len(done)} of {count} came"
    return {**spread([d[0] for d in done]), "all_ms": round(took * 1e3)}


def running_fork(server, count):
    """The fork call, and how long the source stood still, which the server's log tells."""
    box = server.make()["id"]
    server.run_in(box, "(i=0; while true; do i=$((i+1)); echo $i > /tmp/count; done) >/dev/null 2>&1 &")
    calls = []
    for _ in range(count):
        took, (status, made) = timed(lambda: server.api("POST", f"/v1/sandboxes/{box}/fork", {}))
        assert status in (200, 201, 202), made
        calls.append(took)
        server.api("DELETE", "/v1/sandboxes/" + made["id"])
    with open(server.folder + "/server.log", encoding="utf-8") as log:
        still = [int(ms) for ms in re.findall(f"the box {box} stood still for ([0-9]+) ms", log.read())]
    server.api("DELETE", "/v1/sandboxes/" + box)
    return {"call": spread(calls), "source_stood_still": spread([ms / 1e3 for ms in still])}


def pauses(server, size):
    box = server.make(memory_mb=size)["id"]
    server.run_in(box, f"dd if=/dev/urandom of=/dev/shm/x bs=1M count={size // 8} 2>/dev/null")
    paused, (status, told) = timed(lambda: server.api("POST", f"/v1/sandboxes/{box}/pause"))
    assert status == 204, told
    resumed, (status, told) = timed(lambda: server.api("POST", f"/v1/sandboxes/{box}/resume"))
    assert status == 204, told
    out, _ = timed(lambda: server.run_in(box, "echo out"))
    server.api("DELETE", "/v1/sandboxes/" + box)
    return {"pause_ms": round(paused * 1e3), "resume_ms": round(resumed * 1e3), "first_output_ms": round(out * 1e3)}


def cold_boot(folder):
    boots = []
    for name in os.listdir(folder + "/machines/bases"):
        with open(f"{folder}/machines/bases/{name}/base.json", encoding="utf-8") as record:
            boots.append(json.load(record)["boot_ms"])
    return boots


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--clones", type=int, default=20)
    options.add_argument("--sizes", default="128,512,2048")
    options = options.parse_args()
    folder = tempfile.mkdtemp(prefix="caged-qemu-bench-")
    make_template(folder + "/template")
    server = Server(os.environ["CAGED_BUILD_DIR"], folder,
                    {"templates": {"host": folder + "/template"}, "data_dir": folder + "/machines"})
    report = {}
    try:
        server.start()
        server.api("DELETE", "/v1/sandboxes/" + first_output(server)[1])
        report["cold_boot_ms"] = cold_boot(folder)[0]
        report["create_to_first_output"], report["private_mib"] = one_by_one(server, options.clones, 4)
        report["times_faster_than_cold"] = round(
            report["cold_boot_ms"] / report["create_to_first_output"]["median_ms"], 1)
        report["at_once"] = at_once(server, options.clones)
        report["fork_of_running"] = running_fork(server, 10)
        report["pause_to_disk"] = {size: pauses(server, int(size)) for size in options.sizes.split(",") if size}
        report["load"] = os.getloadavg()
        print(json.dumps(report, indent=1))
    finally:
        if server.process is not None and server.process.poll() is None:
            for box in server.sandboxes():
                server.api("DELETE", "/v1/sandboxes/" + box["id"])
            server.process.terminate()
            server.process.wait()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
