"""The QEMU backend with real machines: its contract, then sandboxes through REST; one cold boot for all of it."""

import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from house import Server, make_template  # noqa: E402

BUILD = sys.argv.pop(1)
CLONES = int(os.environ.get("CAGED_QEMU_CLONES", "4"))  # the long form: 50


def machines(folder):
    """Numbers of the processes that hold a disk of this test, relays aside."""
    out = []
    for entry in glob.glob("/proc/[0-9]*/comm"):
        try:
            with open(entry, encoding="utf-8") as comm:
                if not comm.read().startswith("qemu-system"):
                    continue
            pid = int(entry.split("/")[2])
            held = [os.readlink(fd) for fd in glob.glob(f"/proc/{pid}/fd/*")]
            if any(target.startswith(folder) for target in held):
                out.append(pid)
        except OSError:
            continue
    return out


class Qemu(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="caged-qemu-")
        make_template(cls.folder + "/template")
        settings = {"templates": {"host": cls.folder + "/template"}, "data_dir": cls.folder + "/machines"}
        file = cls.folder + "/contract.json"
        with open(file, "w", encoding="utf-8") as out:
            json.dump(settings, out)
        cls.contract = subprocess.run(
            [BUILD + "/bin/caged-plugin-check", "--config", file, "--deadline", "120",
             BUILD + "/lib/caged/plugins/caged-vmm-qemu.so"], capture_output=True, text=True, check=False)
        cls.left = machines(cls.folder)
        cls.server = Server(BUILD, cls.folder, settings)
        if cls.contract.returncode == 0:
            cls.server.start()

    @classmethod
    def tearDownClass(cls):
        if cls.server.process is not None:
            for box in cls.server.sandboxes():
                cls.server.api("DELETE", "/v1/sandboxes/" + box["id"])
        cls.server.kill()
        for pid in machines(cls.folder):
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(cls.folder, ignore_errors=True)

    def test_keeps_the_contract(self):
        self.assertEqual(self.contract.returncode, 0, self.contract.stdout + self.contract.stderr)
        self.assertEqual(self.left, [])

    def test_a_sandbox_is_a_machine_of_its_own(self):
        made = self.server.make()
        box = made["id"]
        self.assertEqual(made["backend"], "qemu")
        told = self.server.run_in(box, "id -u; hostname; cat /etc/hostname; cat /proc/version")
        self.assertEqual(told["exit_code"], 0, told)
        lines = told["stdout"].splitlines()
        self.assertEqual(lines[:3], ["0", box, box])
        with open("/proc/version", encoding="utf-8") as own:
            self.assertNotEqual(lines[3], own.read().strip())
        self.assertEqual(self.server.run_in(box, "exit 7")["exit_code"], 7)
        self.assertEqual(self.server.run_in(box, "ls /sys/class/net")["stdout"].split(), ["lo"])
        clock = int(self.server.run_in(box, "date +%s")["stdout"])
        self.assertLess(abs(clock - time.time()), 5)

    def test_pause_frees_the_machine_and_resume_finds_the_process(self):
        box = self.server.make()["id"]
        counter = "i=0; while true; do i=$((i+1)); echo $i > /tmp/count; sleep 0.1; done"
        self.server.run_in(box, f"echo kept > /workspace/file; ({counter}) >/dev/null 2>&1 & echo $! > /tmp/pid")
        self.server.wait_for(lambda: self.server.run_in(box, "cat /tmp/count")["stdout"] not in ("", "\n"), 30)
        before = machines(self.folder)
        self.assertEqual(self.server.api("POST", f"/v1/sandboxes/{box}/pause")[0], 204)
        self.assertEqual(len(machines(self.folder)), len(before) - 1)
        self.server.kill()
        self.server.start()
        self.assertEqual(self.server.api("POST", f"/v1/sandboxes/{box}/resume")[0], 204)
        told = self.server.run_in(box, "cat /tmp/count; kill -0 $(cat /tmp/pid) && cat /workspace/file")
        self.assertEqual(told["exit_code"], 0, told)
        first, kept = told["stdout"].split()
        self.assertEqual(kept, "kept")
        self.server.wait_for(lambda: int(self.server.run_in(box, "cat /tmp/count")["stdout"] or 0) > int(first), 30)

    def test_forks_of_a_running_sandbox_are_no_twins(self):
        box = self.server.make()["id"]
        self.server.run_in(box, "(i=0; while true; do i=$((i+1)); echo $i > /tmp/count; sleep 0.1; done) >/dev/null 2>&1 &"
                                " echo $! > /tmp/pid; echo kept > /workspace/file")
        status, told = self.server.api("POST", f"/v1/sandboxes/{box}/fork", {"count": 3})
        self.assertIn(status, (200, 201, 202), told)
        forks = [one["id"] for one in told["sandboxes"]]
        for one in forks:
            self.server.wait_for(lambda: self.server.api("GET", f"/v1/sandboxes/{one}")[1]["status"] == "running", 60)
        seen = []
        for one in [box, *forks]:
            told = self.server.run_in(one, "kill -0 $(cat /tmp/pid) && cat /workspace/file /etc/hostname /etc/machine-id "
                                           "/proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid; "
                                           "head -c 16 /dev/urandom | od -An -tx1")
            self.assertEqual(told["exit_code"], 0, told)
            kept, name, machine, boot, uuid, drawn = told["stdout"].splitlines()
            self.assertEqual((kept, name), ("kept", one))
            seen.append((machine, boot, uuid, drawn))
        for column in zip(*seen):
            self.assertEqual(len(set(column)), len(seen), column)

    def test_snapshot_and_restore(self):
        box = self.server.make()["id"]
        self.server.run_in(box, "echo kept > /workspace/file")
        status, kept = self.server.api("POST", f"/v1/sandboxes/{box}/snapshots", {"name": "one"})
        self.assertIn(status, (200, 201), kept)
        self.server.run_in(box, "echo lost > /workspace/file")
        status, told = self.server.api("POST", f"/v1/snapshots/{kept['id']}/restore", {})
        self.assertEqual(status, 200, told)
        self.assertEqual(self.server.run_in(box, "cat /workspace/file")["stdout"], "kept\n")
        self.assertEqual(self.server.api("DELETE", f"/v1/snapshots/{kept['id']}")[0], 204)
        self.assertEqual(self.server.run_in(box, "cat /workspace/file")["stdout"], "kept\n")

    def test_survives_the_host_and_tells_the_loss_of_the_machine(self):
        box = self.server.make()["id"]
        self.server.run_in(box, "echo kept > /workspace/file")
        self.server.kill()
        self.server.start()
        self.assertEqual(self.server.run_in(box, "cat /workspace/file")["stdout"], "kept\n")
        with open(glob.glob(f"{self.folder}/machines/boxes/{box}/box.json")[0], encoding="utf-8") as record:
            os.kill(json.load(record)["machine"], signal.SIGKILL)
        began = time.monotonic()
        self.server.wait_for(lambda: self.server.api("GET", "/v1/sandboxes/" + box)[1]["status"] == "error", 30)
        self.assertLess(time.monotonic() - began, 2)
        self.assertNotEqual(self.server.api("POST", f"/v1/sandboxes/{box}/exec", {"command": "true"})[0], 200)

    def test_the_machine_process_is_confined(self):
        box = self.server.make()["id"]
        with open(f"{self.folder}/machines/boxes/{box}/box.json", encoding="utf-8") as record:
            pid = json.load(record)["machine"]
        with open(f"/proc/{pid}/status", encoding="utf-8") as status:
            facts = dict(line.split(":\t", 1) for line in status.read().splitlines() if ":\t" in line)
        self.assertNotIn("0", facts["Uid"].split())
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            self.assertEqual(int(facts[kind], 16), 0, kind)
        self.assertEqual((facts["NoNewPrivs"], facts["Seccomp"]), ("1", "2"))
        for space in ("mnt", "net", "pid", "ipc", "uts", "cgroup"):
            self.assertNotEqual(os.readlink(f"/proc/{pid}/ns/{space}"), os.readlink(f"/proc/self/ns/{space}"), space)
        self.assertFalse(os.path.exists(f"/proc/{pid}/root/etc/passwd"))
        self.assertFalse(os.path.exists(f"/proc/{pid}/root/{self.folder}"))

    def test_a_qemu_that_obeys_the_guest_reaches_nothing(self):
        """Whoever breaks out of the guest commands QEMU: here its own monitor does."""
        box = self.server.make()["id"]
        other = self.server.make()["id"]
        folder = f"{self.folder}/machines/boxes"
        with socket.create_server(("127.0.0.1", 0)) as listener:
            monitor = Monitor(f"{folder}/{box}/qmp.sock")
            for name, arguments in (
                    ("blockdev-add", {"driver": "file", "node-name": "a", "filename": "/etc/passwd", "read-only": True}),
                    ("blockdev-add", {"driver": "file", "node-name": "b", "filename": f"{folder}/{other}/disk"}),
                    ("blockdev-add", {"driver": "file", "node-name": "c", "filename": "/base/../base/memory"}),
                    ("blockdev-add", {"driver": "host_device", "node-name": "d", "filename": "/dev/kvm"}),
                    ("chardev-add", {"id": "e", "backend": {"type": "file", "data": {"out": "/escaped"}}}),
                    ("chardev-add", {"id": "f", "backend": {"type": "socket", "data": {"server": False, "addr": {
                        "type": "inet", "data": {"host": "127.0.0.1", "port": str(listener.getsockname()[1])}}}}}),
                    ("chardev-add", {"id": "g", "backend": {"type": "socket", "data": {"server": False, "addr": {
                        "type": "unix", "data": {"path": f"{folder}/{other}/agent.sock"}}}}}),
                    ("chardev-add", {"id": "h", "backend": {"type": "socket", "data": {"server": True, "wait": False,
                        "addr": {"type": "inet", "data": {"host": "0.0.0.0", "port": "0"}}}}}),
                    ("object-add", {"qom-type": "memory-backend-file", "id": "i", "size": 4096, "share": True,
                                    "mem-path": "/base/../base/memory"}),
                    ("object-add", {"qom-type": "rng-random", "id": "j", "filename": "/dev/kvm"})):
                told = monitor.call(name, arguments)
                self.assertIn("error", told, (name, arguments))
            monitor.close()
        self.assertEqual(self.server.run_in(box, "echo alive")["stdout"], "alive\n")
        # A process of its own would be the end of it, not of the host.
        mark = self.folder + "/escaped"
        monitor = Monitor(f"{folder}/{box}/qmp.sock")
        monitor.call("migrate", {"uri": f"exec:touch {mark}"})
        time.sleep(0.3)
        self.assertFalse(os.path.exists(mark))
        self.assertEqual(self.server.run_in(other, "echo alive")["stdout"], "alive\n")

    def test_clones_draw_different_numbers(self):
        boxes = [self.server.make()["id"] for _ in range(CLONES)]
        seen = set()
        for box in boxes:
            told = self.server.run_in(box, "cat /proc/sys/kernel/random/uuid; head -c 16 /dev/urandom | od -An -tx1")
            seen.update(told["stdout"].split("\n")[:2])
        self.assertEqual(len(seen), 2 * CLONES)
        for box in boxes:
            self.server.api("DELETE", "/v1/sandboxes/" + box)


class Monitor:
    """QEMU's monitor as somebody inside it would use it."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(path)
        self.lines = self.socket.makefile("rw", encoding="utf-8")
        self.lines.readline()
        self.call("qmp_capabilities", {})

    def call(self, name, arguments):
        try:
            self.lines.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
            self.lines.flush()
            while line := self.lines.readline():
                told = json.loads(line)
                if "event" not in told:
                    return told
        except ConnectionError:  # the filter of its system calls has ended it
            pass
        return {"error": "it is gone"}

    def close(self):
        self.lines.close()
        self.socket.close()


if __name__ == "__main__":
    lacking = [name for name, there in (("qemu-system-x86", shutil.which("qemu-system-x86_64")),
                                        ("linux-image-cloud-amd64", glob.glob("/boot/vmlinuz-*-cloud-amd64")),
                                        ("erofs-utils", shutil.which("mkfs.erofs")), ("root", os.geteuid() == 0))
               if not there]
    if lacking:
        print("SKIPPED, AND THE QEMU BACKEND IS NOT TESTED: it needs " + ", ".join(lacking) + ".")
        sys.exit(77)
    unittest.main()
