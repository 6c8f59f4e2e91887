# Format, lint and house rules; sourced by ./dev.

# C++ files under version control or about to be; templates of other languages are left alone.
cxx_files() { git ls-files -co --exclude-standard -- '*.cpp' '*.hpp' '*.h' '*.c' | sort -u; }

# What changed since the branch left main, or in the last commit when this is main, and what is not committed yet.
changed_files() {
  local base
  base="$(git merge-base HEAD origin/main 2>/dev/null || true)"
  if [ -z "$base" ] || [ "$base" = "$(git rev-parse HEAD)" ]; then base="$(git rev-parse -q --verify HEAD~1 || true)"; fi
  { [ -z "$base" ] || git diff --name-only --diff-filter=d "$base"; git ls-files -o --exclude-standard; } | sort -u
}

dev_format() { cxx_files | xargs -r clang-format-16 -i; }

dev_check() {
  local failed=0
  say "format"
  cxx_files | xargs -r clang-format-16 --dry-run --Werror || { failed=1; say "run './dev format'"; }
  say "house rules"
  /usr/bin/python3 tests/house/house_rules.py "$root" || failed=1
  tidy || failed=1
  [ "$failed" = 0 ] || die "the check failed" "see above"
  say "all checks passed"
}

# clang reads the compile commands of a build of its own and needs its precompiled headers: gcc's mean nothing to it.
tidy() {
  local files
  files="$(changed_files | grep '\.cpp$' | grep -v '^sdk/template/' || true)"
  [ -n "$files" ] || { say "clang-tidy: no C++ source changed"; return 0; }
  configure_preset clang
  # Only sources that this configuration compiles can be linted.
  files="$(jq -r '.[].file' build-clang/compile_commands.json | sed "s,^$root/,," | sort -u | comm -12 - <(sort <<<"$files"))"
  [ -n "$files" ] || { say "clang-tidy: nothing that changed is compiled"; return 0; }
  compile_preset clang caged_pch caged_test_pch
  say "clang-tidy: $(wc -l <<<"$files") files"
  xargs -r -P "$(safe_jobs)" -n 1 clang-tidy-16 -p build-clang --quiet --warnings-as-errors='*' <<<"$files"
}
