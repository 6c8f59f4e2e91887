# Runs every test and says truthfully what happened; sourced by ./dev.

fuzz_seconds="${CAGED_FUZZ_SECONDS:-5}"

# dev_test [--quick] [--only PHASE] [-L LABEL] [-R REGEX]: phases in order; a phase that fails does not hide the others.
dev_test() {
  local phases="ctest fuzz asan tsan" start=$SECONDS phase
  selection=()
  while [ $# -gt 0 ]; do
    case "$1" in
      --quick) phases="ctest" ;;
      --only) phases="${2:?--only needs ctest, fuzz, asan or tsan}"; shift ;;
      -L | -R) selection+=("$1" "${2:?$1 needs a value}"); shift ;;
      *) die "test does not know '$1'" "see ./dev help" 2 ;;
    esac
    shift
  done
  dev_setup test
  report="$root/build/report"
  mkdir -p "$report"
  rm -f "$report"/*
  test_total=0 test_failed=0
  for phase in $phases; do
    case "$phase" in
      ctest) phase_ctest ;;
      fuzz) phase_fuzz ;;
      asan | tsan) phase_sanitizer "$phase" ;;
      *) die "there is no phase '$phase'" "use ctest, fuzz, asan or tsan" 2 ;;
    esac
  done
  conclude $((SECONDS - start))
}

# ---- phases. Each adds to test_total and test_failed and writes one line to $report/summary.

phase_ctest() {
  local start=$SECONDS
  built release ctest || return 0
  validator_environment
  run_ctest release ctest "$start"
}

# The unit and contract suites under a sanitizer; only what they need is built.
phase_sanitizer() {
  local preset="$1" start=$SECONDS targets
  configured "$preset" || return 0
  targets="$(suite_targets "$preset")"
  # shellcheck disable=SC2086
  built "$preset" "$preset" $targets || return 0
  export ASAN_OPTIONS="detect_leaks=1:abort_on_error=0:detect_stack_use_after_return=1"
  export UBSAN_OPTIONS="print_stacktrace=1" TSAN_OPTIONS="second_deadlock_stack=1:halt_on_error=1"
  selection+=(-L '^(unit|contract)$')
  run_ctest "$preset" "$preset" "$start"
  unset 'selection[-1]' 'selection[-1]'
}

# Every fuzz_* program for some seconds, on its corpus in tests/fuzz/<name>/corpus where there is one. The findings of
# former runs stay in that corpus, so a crash once found is tried first for ever after.
phase_fuzz() {
  local start=$SECONDS target targets corpus seeds failed=0 count=0
  configured fuzz || return 0
  targets="$(ninja -C build-fuzz -t targets all | sed -n 's/^\(fuzz_[a-z0-9_]*\): .*/\1/p' | sort -u)"
  [ -n "$targets" ] || { record fuzz 1 1 $((SECONDS - start)) "no fuzz_* target exists"; return 0; }
  # shellcheck disable=SC2086
  built fuzz fuzz $targets || return 0
  for target in $targets; do
    count=$((count + 1))
    seeds="tests/fuzz/${target#fuzz_}/corpus"
    corpus="build-fuzz/corpus/$target"
    mkdir -p "$corpus"
    say "fuzz: $target, $fuzz_seconds s"
    if ! run_fuzzer "$target" "$corpus" "$seeds" >"$report/$target.log" 2>&1; then
      failed=$((failed + 1))
      tail -n 40 "$report/$target.log" >&2
      printf 'FAILED fuzz: %s (input kept in %s)\n' "$target" "$report" | tee -a "$report/failures" >&2
    fi
  done
  record fuzz "$count" "$failed" $((SECONDS - start)) "$count targets, $fuzz_seconds s each"
}

# ---- how a phase does its work

run_fuzzer() {
  local program seeds=()
  program="$(find build-fuzz -type f -name "$1" -perm -u+x | head -n 1)"
  [ -n "$program" ] || { echo "the program $1 was not built"; return 1; }
  [ ! -d "$3" ] || seeds=("$3")
  timeout -k 5 $((fuzz_seconds + 60)) "$program" -max_total_time="$fuzz_seconds" -timeout=10 -rss_limit_mb=2048 \
    -print_final_stats=1 -artifact_prefix="$report/$1-" "$2" "${seeds[@]}"
}

run_ctest() {
  local preset="$1" name="$2" start="$3" log="$report/$2.log" status=0 totals
  say "testing $name"
  ctest --test-dir "$(preset_folder "$preset")" --parallel "$jobs" --output-on-failure --no-tests=error \
    --output-junit "$report/$name.xml" "${selection[@]}" 2>&1 | tee "$log" || status=$?
  totals="$(sed -n 's/^.*% tests passed, \([0-9]*\) tests failed out of \([0-9]*\).*$/\2 \1/p' "$log" | tail -n 1)"
  if [ -z "$totals" ]; then totals="1 1"; fi
  # ctest also fails for a test that could not run at all: never call that a success.
  if [ "$status" != 0 ] && [ "${totals#* }" = 0 ]; then totals="${totals% *} 1"; fi
  sed -n "s/^\t *\(.*(.*)\).*/FAILED $name: \1/p" "$log" >>"$report/failures"
  list_skips "$preset" "$name"
  # shellcheck disable=SC2086
  record "$name" $totals $((SECONDS - start)) ""
}

# A skipped case is inside a passed ctest entry, so it is looked for and said aloud.
list_skips() {
  local log
  log="$(preset_folder "$1")/Testing/Temporary/LastTest.log"
  [ -f "$log" ] || return 0
  grep -a '^\[  SKIPPED \] .*(' "$log" | sed "s/^\[  SKIPPED \] \(.*\) (.*/SKIPPED $2: \1/" | sort -u >>"$report/skips" || true
}

configured() {
  if (configure_preset "$1"); then return 0; fi
  record "$1" 1 1 0 "CMake failed"
  return 1
}

# built PRESET PHASE [TARGET…]
built() {
  local preset="$1" phase="$2" start=$SECONDS
  shift 2
  if (configure_preset "$preset" && compile_preset "$preset" "$@"); then return 0; fi
  record "$phase" 1 1 $((SECONDS - start)) "the build failed"
  return 1
}

# The programs behind ctest's unit and contract entries (a test of caged_test is named as its target).
suite_targets() {
  ctest --test-dir "$(preset_folder "$1")" --show-only=json-v1 -L '^(unit|contract)$' \
    | jq -r '.tests[].name' | sort -u >"$report/$1.names"
  ninja -C "$(preset_folder "$1")" -t targets all | sed -n 's/^\([A-Za-z0-9_-]*\): phony$/\1/p' | sort -u \
    | comm -12 "$report/$1.names" - | xargs
}

# A real OpenAPI validator is a Python package that Debian lacks; it gets an environment of its own. Where it cannot
# be fetched, the test that needs it says so.
validator_environment() {
  local folder="$root/build/python"
  export CAGED_PYTHON="$folder/bin/python3" PATH="$folder/bin:$PATH"
  [ ! -f "$folder/.complete" ] || return 0
  say "fetching openapi-spec-validator"
  if /usr/bin/python3 -m venv --system-site-packages "$folder" && "$folder/bin/pip" install -q --disable-pip-version-check \
    'openapi-spec-validator==0.7.1' >"$report/validator.log" 2>&1; then
    touch "$folder/.complete"
  else
    say "openapi-spec-validator could not be fetched (see $report/validator.log); its test will fail and say so"
  fi
}

record() {
  test_total=$((test_total + $2))
  test_failed=$((test_failed + $3))
  printf '%-6s %4d tests, %3d failed, %4d s  %s\n' "$1" "$2" "$3" "$4" "$5" >>"$report/summary"
}

# The closing line is that of ctest, so that whoever reads one reads the other.
conclude() {
  local percent
  [ "$test_total" -gt 0 ] || die "no test ran" "look at the output above; a run without tests is no success"
  echo
  [ ! -s "$report/skips" ] || { echo "Skipped, because this machine cannot run them:"; sed 's/^/  /' "$report/skips"; }
  [ ! -s "$report/failures" ] || sed 's/^/  /' "$report/failures"
  echo "Summary:"
  sed 's/^/  /' "$report/summary"
  echo "  reports: build/report"
  percent=$(((test_total - test_failed) * 100 / test_total))
  printf '\n%d%% tests passed, %d tests failed out of %d\n\nTotal Test time (real) = %d sec\n' \
    "$percent" "$test_failed" "$test_total" "$1"
  [ "$test_failed" = 0 ]
}
