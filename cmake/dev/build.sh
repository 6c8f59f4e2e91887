# Configures and builds a preset; sourced by ./dev.

# The folder a preset builds into.
preset_folder() { if [ "$1" = release ]; then echo build; else echo "build-$1"; fi; }

# dev_build [TARGET…]: the release preset; without a target all that a user runs, no tests.
dev_build() {
  configure_preset release
  [ $# -gt 0 ] || set -- ship
  compile_preset release "$@"
}

# Runs CMake when the folder is new or the presets changed; Ninja repeats it for every other change.
configure_preset() {
  local folder log
  folder="$(preset_folder "$1")"
  if [ -f "$folder/build.ninja" ] && [ ! CMakePresets.json -nt "$folder/build.ninja" ]; then
    # What changed in a CMakeLists shows before anybody asks what targets and tests there are.
    ninja -C "$folder" build.ninja >&2 || die "CMake failed for preset $1" "its message is above"
    return 0
  fi
  mkdir -p "$folder"
  log="$folder/configure.log"
  say "configuring $folder"
  cmake --preset "$1" >"$log" 2>&1 || { rm -f "$folder/build.ninja"; cat "$log" >&2; die "CMake failed for preset $1" \
    "read its message above; './dev setup' installs what a fresh machine lacks"; }
}

compile_preset() {
  local folder start=$SECONDS
  folder="$(preset_folder "$1")"
  shift
  say "building $folder${1:+ ($# targets)}"
  ninja -C "$folder" -j "$(safe_jobs)" "$@" >&2 || die "the build of $folder failed" "the compiler's message is above"
  say "built $folder in $((SECONDS - start)) s"
}

# One compiler of Asio code takes up to 1.2 GiB; a machine with little memory gets fewer of them.
safe_jobs() {
  local available
  available="$(awk '/^MemAvailable:/ { print int($2 / 1258291) }' /proc/meminfo)"
  if [ "$available" -lt 1 ]; then available=1; fi
  if [ "$available" -lt "$jobs" ]; then echo "$available"; else echo "$jobs"; fi
}
