#!/usr/bin/env python3
"""The checker itself: each rule finds a planted violation and stays quiet on a good tree."""

import os
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rules  # noqa: E402
from house_rules import House  # noqa: E402

JAIL_CMAKE = "caged_add_plugin(caged_vmm_jail KIND vmm NAME jail SOURCES jail.cpp)\n"
JAIL = "#include <caged/vmm.hpp>\nnamespace caged::vmm::jail {}\n"


class HouseRules(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        for name in rules.TOP_LEVEL:
            self.write(name if "." in name or name in {"dev", "LICENSE"} else f"{name}/placeholder.txt", "\n")

    def write(self, path, text):
        target = Path(self.folder.name) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def violations(self, path=None, text=""):
        if path:
            self.write(path, text)
        return House(self.folder.name).check()

    def assert_refused(self, path, text, expected):
        found = self.violations(path, text)
        self.assertTrue(any(expected in v for v in found), f"{expected!r} not in {found}")

    def assert_fine(self, path, text):
        self.assertEqual(self.violations(path, text), [])

    def test_a_good_tree_has_no_violation(self):
        self.write("plugins/vmm/jail/CMakeLists.txt", JAIL_CMAKE)
        self.assert_fine("plugins/vmm/jail/jail.cpp", JAIL)

    def test_abi_includes_nothing_of_ours(self):
        self.assert_refused("sdk/abi/caged_plugin.h", "// Door.\n#pragma once\n#include <caged/json.hpp>\n", "sdk/abi")

    def test_wire_knows_no_asio(self):
        self.assert_refused("sdk/wire/src/x.cpp", "#include <boost/asio.hpp>\n", "sdk/wire may include only")
        self.assert_fine("sdk/wire/src/x.cpp", "#include <nlohmann/json.hpp>\n#include <vector>\n")

    def test_the_agent_knows_no_sdk(self):
        self.assert_refused("agent/exec/x.cpp", "#include <caged/task.hpp>\n", "agent may include only")
        self.assert_fine("agent/exec/x.cpp", "#include <caged/wire/frame.hpp>\n#include <re2/re2.h>\n")

    def test_a_plugin_knows_neither_core_nor_another_plugin(self):
        self.write("plugins/vmm/jail/CMakeLists.txt", JAIL_CMAKE)
        self.write("plugins/storage/sqlite/database.hpp", "// Database.\n#pragma once\n")
        self.assert_refused("plugins/vmm/jail/jail.cpp", JAIL + "#include <core/base/time.hpp>\n", "core/base")
        other = JAIL + "#include <plugins/storage/sqlite/database.hpp>\n"
        self.assert_refused("plugins/vmm/jail/jail.cpp", other, "may not know plugins/storage/sqlite")
        around = JAIL + '#include "../../storage/sqlite/database.hpp"\n'
        self.assert_refused("plugins/vmm/jail/jail.cpp", around, "may not know plugins/storage/sqlite")

    def test_inner_rooms_of_core_do_not_look_outward(self):
        self.assert_refused("core/runtime/x.cpp", '#include "core/sandbox/manager.hpp"\n', "core/runtime")
        self.assert_fine("core/runtime/x.cpp", '#include "core/base/time.hpp"\n')

    def test_cli_is_a_client_only(self):
        self.assert_refused("core/cli/x.cpp", "#include <core/sandbox/manager.hpp>\n", "core/cli")
        self.assert_refused("core/cli/x.cpp", "#include <caged/vmm.hpp>\n", "client of the REST API")
        self.assert_fine("core/cli/x.cpp", "#include <caged/http_client.hpp>\n#include <CLI/CLI.hpp>\n")

    def test_one_user_for_boost_dll_and_lua(self):
        self.assert_refused("core/sandbox/x.cpp", "#include <boost/dll/shared_library.hpp>\n", "only core/plugin")
        self.assert_refused("core/meter/x.cpp", "#include <lua.hpp>\n", "lua")

    def test_their_own_room_may(self):
        self.write("core/policy/x.cpp", "#include <lua.hpp>\n")
        self.assert_fine("core/plugin/x.cpp", "#include <boost/dll/shared_library.hpp>\n")

    def test_an_unknown_library_is_named(self):
        self.assert_refused("core/base/x.cpp", "#include <absl/strings/str_cat.h>\n", "no rule knows")

    def test_top_level(self):
        self.assert_refused("utils/x.cpp", "\n", "nothing of this name")
        (Path(self.folder.name) / "LICENSE").unlink()
        self.assertTrue(any(v.startswith("LICENSE: the top level lacks it") for v in self.violations()))

    def test_long_files(self):
        self.assert_refused("core/base/x.cpp", "int x;\n" * (rules.TOO_LONG + 1), "at most")

    def test_headers_say_their_purpose(self):
        self.assert_refused("core/base/x.hpp", "#pragma once\n", "one sentence of purpose")
        self.assert_refused("core/base/x.hpp", "// Purpose.\n", "no #pragma once")

    def test_words(self):
        self.assert_refused("docs/x.md", "see /work" + "/main/x\n", "machine")
        self.assert_refused("dev", "pip --index-url https://py" + "pi.org/simple\n", "registry")

    def test_policies_name_neither_registries_nor_machines(self):
        self.assert_refused("policies/lib/hosts.lua", "-- py" + "pi.org\n", "registry")
        self.assert_refused("policies/lib/hosts.lua", "-- /work" + "/main/x\n", "machine")

    def test_plugin_names(self):
        self.write("plugins/vmm/jail/jail.cpp", JAIL)
        self.assert_refused("plugins/vmm/jail/CMakeLists.txt", "add_library(jail x.cpp)\n", "caged_vmm_jail")
        wrong = JAIL_CMAKE.replace("KIND vmm", "KIND tool")
        self.assert_refused("plugins/vmm/jail/CMakeLists.txt", wrong, "'KIND vmm'")
        self.write("plugins/vmm/jail/jail.cpp", "namespace jail {}\n")
        self.assert_refused("plugins/vmm/jail/CMakeLists.txt", JAIL_CMAKE, "namespace caged::vmm::jail")

    def test_the_namespace_of_a_kind_that_is_a_class(self):
        self.write("plugins/tool/x/CMakeLists.txt", "caged_add_plugin(caged_tool_x KIND tool NAME x SOURCES x.cpp)\n")
        self.assert_fine("plugins/tool/x/x.cpp", "namespace caged::tool_x {}\n")

    def test_test_files_are_named_so(self):
        self.assert_refused("tests/unit/base/x.cpp", "TEST(a, b) {}\n", "*.test.cpp")
        self.assert_refused("core/base/BadName.cpp", "\n", "snake_case")

    def test_coroutines_that_gcc_12_miscompiles(self):
        self.assert_refused("core/base/x.cpp", "auto a = b ? co_await c() : d;\n", "conditional operator")
        self.assert_refused("core/base/x.cpp", "co_await on_pool(p, [w] { return f(w); });\n", "destroyed twice")
        self.assert_fine("core/base/x.cpp", "auto a = co_await f(x[i]);\nco_await g(p, [] { return 1; });\n")

    def test_dead_links(self):
        self.assert_refused("docs/x.md", "[y](missing.md)\n", "does not exist")


if __name__ == "__main__":
    unittest.main()
