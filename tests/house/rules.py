"""The design's rules as data: who may include whom, what lies at the top, which words may not appear."""

import re

# ---- who may include whom

# Rooms of core, inner first; a room may include itself and those before it. `cli` and `main` are special.
CORE_ORDER = ["base", "runtime", "config", "plugin", "policy", "journal", "judgement", "network", "meter", "sandbox", "operation"]
CORE_ROOMS = {room: CORE_ORDER[: i + 1] for i, room in enumerate(CORE_ORDER)}
CORE_ROOMS["cli"] = ["base", "config", "cli"]
CORE_ROOMS["app"] = CORE_ORDER + ["app"]
CORE_ROOMS["main.cpp"] = ["app", "cli", "base", "config"]

# Headers a client of the REST API has no use for: with them it would stop being one.
CLI_FORBIDDEN = re.compile(r"caged/(vmm|storage|host|plugin|define_plugin|operation|http_front|http)\.hpp$")

# What each house wing may include, by the wing an include belongs to (see wing_of in house_rules.py).
WINGS = {
    "sdk/abi": set(),
    "sdk/wire": {"sdk/wire", "nlohmann"},
    "sdk/mcp": {"sdk/mcp", "nlohmann"},
    "sdk/walls": {"sdk/walls", "seccomp"},
    "sdk/mcp_front": {"sdk/mcp_front", "sdk/mcp", "sdk/plugin", "boost", "nlohmann", "openssl"},
    "sdk/plugin": {"sdk/plugin", "sdk/abi", "boost", "nlohmann", "openssl", "re2"},
    "sdk/testing": {"sdk/testing", "sdk/plugin", "sdk/abi", "boost", "nlohmann", "gtest", "core/plugin"},
    "sdk/template": {"sdk/plugin", "sdk/abi", "boost", "nlohmann"},
    "agent": {"agent", "sdk/wire", "sdk/mcp", "sdk/walls", "nlohmann", "re2"},
    "agent/mcp/listen": {"agent", "sdk/wire", "sdk/mcp", "sdk/mcp_front", "sdk/plugin", "boost", "nlohmann"},
    "plugins": {"sdk/plugin", "sdk/walls", "sdk/mcp", "sdk/mcp_front", "sdk/abi", "boost", "nlohmann", "openssl"},
    "examples": {"sdk/plugin", "sdk/abi", "boost", "nlohmann"},
    "core": {"core", "sdk/plugin", "sdk/abi", "sdk/wire", "boost", "nlohmann", "openssl"},
}

# Libraries of one room alone (`core` rooms and plugins); anything else foreign is refused there.
OWN_LIBRARIES = {
    "core/base": {"spdlog"},
    "core/plugin": {"boost/dll"},
    "core/policy": {"lua"},
    "core/config": {"yaml-cpp"},
    "core/cli": {"cli11", "yaml-cpp", "archive"},
    "core/app": {"spdlog"},
    "core/sandbox": {"archive"},
    "core/network": {"psl"},
    "plugins/vmm/jail": {"archive"},
    "plugins/vmm/docker": {"archive"},
    "plugins/vmm/qemu": {"sdk/wire"},  # its relay and its side channel speak the port's frames
    "plugins/storage/sqlite": {"sqlite"},
    "plugins/storage/postgres": {"pqxx"},
}

# An include text → the library it belongs to. What matches nothing and has no folder is the standard library or the
# system's.
LIBRARIES = [
    (re.compile(r"^boost/dll"), "boost/dll"),
    (re.compile(r"^boost/"), "boost"),
    (re.compile(r"^nlohmann/"), "nlohmann"),
    (re.compile(r"^openssl/"), "openssl"),
    (re.compile(r"^(spdlog|fmt)/"), "spdlog"),
    (re.compile(r"^(gtest|gmock)/"), "gtest"),
    (re.compile(r"^benchmark/"), "benchmark"),
    (re.compile(r"^re2/"), "re2"),
    (re.compile(r"^(lua\w*/)?(lua|lauxlib|lualib)\.(h|hpp)$"), "lua"),
    (re.compile(r"^yaml-cpp/"), "yaml-cpp"),
    (re.compile(r"^CLI/"), "cli11"),
    (re.compile(r"^(SQLiteCpp/|sqlite3)"), "sqlite"),
    (re.compile(r"^pqxx/"), "pqxx"),
    (re.compile(r"^libpsl\.h$"), "psl"),
    (re.compile(r"^seccomp\.h$"), "seccomp"),
    (re.compile(r"^(archive|archive_entry)\.h$"), "archive"),
]
SYSTEM_FOLDERS = re.compile(r"^(sys|linux|asm|asm-generic|net|netinet|arpa|bits|gnu|ext)/")

# ---- the top level

TOP_LEVEL = {
    "core", "plugins", "policies", "sdk", "agent", "examples", "tests", "cmake", "CMakeLists.txt", "README.md", "docs",
    "CMakePresets.json", "dev", "LICENSE", "CONTRIBUTING.md", "CHANGELOG.md",
}
TOP_LEVEL_MAY_LACK = {"policies"}

# Plugin kinds whose name is a class in namespace caged.
KINDS_THAT_ARE_CLASSES = {"storage", "transport", "tool"}
# Plugins whose namespace is another, with the reason.
OTHER_NAMESPACES = {"transport/rest": "caged::rest"}  # shared with no one, and short: it is in every line

# ---- size

LONG, TOO_LONG = 400, 500
CODE_SUFFIXES = {".cpp", ".hpp", ".h", ".c", ".ipp", ".py", ".sh", ".lua", ".cmake"}
# Files that may be longer, with the reason.
MAY_BE_LONG: dict[str, str] = {}

# ---- coroutines: what gcc 12 miscompiles, found as crashes

MISCOMPILED = [
    (re.compile(r"\?\s*co_await\b"), "co_await inside a conditional operator", "use if and else"),
    (re.compile(r"co_await\b[^;]*[(,]\s*\[[^\]]*\w[^\]]*\]\s*(\(|\{|mutable\b)"),
     "a capturing lambda made inside a co_await expression is destroyed twice", "make it a named local and std::move it"),
]

# ---- words

# Assembled from pieces so that this file does not match itself.
FORBIDDEN_WORDS = [
    (re.compile("/work" + r"/(main|shared|\.\w)"), "a path of one developer's machine"),
    (re.compile("/root/" + r"\.(pyenv|cache|cargo|npm)"), "a path of one developer's machine"),
    (re.compile("/tmp/" + r"(prompt|routes|bash_)"), "a path of one developer's machine"),
    (re.compile(r"\b(py" + r"pi\.org|pythonh" + r"osted\.org|npm" + r"js\.(org|com)|crates" + r"\.io|proxy\.gol" +
                r"ang\.org|ruby" + r"gems\.org|repo1?\.mav" + r"en\.|deb\.deb" + r"ian\.org|security\.deb" +
                r"ian\.org|registry-1\.dock" + r"er\.io)"), "the host of a package registry"),
]
