# Runs every test and says truthfully what happened; sourced by ./dev.

fuzz_seconds="${CAGED_FUZZ_SECONDS:-5}"

# dev_test [--quick|--all] [--only PHASE] [-L LABEL] [-R REGEX]: phases in order; a phase that fails does not hide the others.
dev_test() {
  local phases="ctest fuzz asan tsan" start=$SECONDS phase
  selection=()
  every=no
  while [ $# -gt 0 ]; do
    case "$1" in
      --quick) phases="ctest" ;;
      --all) every=yes ;;
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
  # Benchmarks are `./dev bench`; the fuzzers have a phase of their own.
  run_ctest release ctest "$start" -LE '^(bench|fuzz)$'
}

# The unit and contract suites under a sanitizer; only what they need is built.
phase_sanitizer() {
  local preset="$1" start=$SECONDS
  # A program of one thread teaches ThreadSanitizer nothing; every day it sees those that live by threads.
  local without=()
  if [ "$preset" = tsan ]; then
    without=(-L '^threaded$')
    [ "$every" = no ] || without=(-LE '^single_threaded$')
  fi
  configured "$preset" || return 0
  list_suite "$preset"
  if [ ! -s "$report/$preset.outputs" ]; then record "$preset" 1 1 0 "no unit or contract test exists"; return 0; fi
  # shellcheck disable=SC2046
  built "$preset" "$preset" $(xargs <"$report/$preset.outputs") || return 0
  export ASAN_OPTIONS="detect_leaks=1:abort_on_error=0:detect_stack_use_after_return=1:quarantine_size_mb=8"
  export LSAN_OPTIONS="suppressions=$root/cmake/dev/lsan.supp:print_suppressions=0"
  export UBSAN_OPTIONS="print_stacktrace=1" TSAN_OPTIONS="second_deadlock_stack=1:halt_on_error=1:suppressions=$root/cmake/dev/tsan.supp"
  run_ctest "$preset" "$preset" "$start" -L '^(unit|contract)$' "${without[@]}" -E "^(none|$(paste -sd '|' "$report/$preset.scripts"))\$"
}

# Every fuzz program (fuzz_X or X_fuzz) for some seconds, on its corpus in tests/fuzz/X/corpus where there is one. What
# it learns stays in the build folder; a crasher that is added to the corpus is tried first for ever after.
phase_fuzz() {
  local start=$SECONDS target targets name corpus failed=0 count=0
  configured fuzz || return 0
  targets="$(ninja -C build-fuzz -t targets all | grep -oE '^(fuzz_[a-z0-9_]+|[a-z0-9_]+_fuzz): phony' \
    | cut -d: -f1 | grep -v '^cmake_' | sort -u || true)"
  [ -n "$targets" ] || { record fuzz 1 1 $((SECONDS - start)) "no fuzz target exists"; return 0; }
  # shellcheck disable=SC2086
  built fuzz fuzz $targets || return 0
  for target in $targets; do
    count=$((count + 1))
    name="${target#fuzz_}"
    name="${name%_fuzz}"
    corpus="build-fuzz/corpus/$target"
    mkdir -p "$corpus"
    say "fuzz: $target, $fuzz_seconds s"
    if ! run_fuzzer "$target" "$corpus" "tests/fuzz/$name" >"$report/$target.log" 2>&1; then
      failed=$((failed + 1))
      tail -n 40 "$report/$target.log" >&2
      printf 'FAILED fuzz: %s (input kept in %s)\n' "$target" "$report" | tee -a "$report/failures" >&2
    fi
  done
  record fuzz "$count" "$failed" $((SECONDS - start)) "$count targets, $fuzz_seconds s each"
}

# ---- how a phase does its work

# run_fuzzer TARGET CORPUS SOURCE_FOLDER
run_fuzzer() {
  local program seeds=() dictionary
  program="$(find build-fuzz -type f -name "$1" -perm -u+x | head -n 1)"
  [ -n "$program" ] || { echo "the program $1 was not built"; return 1; }
  [ ! -d "$3/corpus" ] || seeds+=("$3/corpus")
  for dictionary in "$3"/*.dict; do [ ! -f "$dictionary" ] || seeds+=("-dict=$dictionary"); done
  timeout -k 5 $((fuzz_seconds + 60)) "$program" -max_total_time="$fuzz_seconds" -timeout=10 -rss_limit_mb=2048 \
    -print_final_stats=1 -artifact_prefix="$report/$1-" "$2" "${seeds[@]}"
}

# run_ctest PRESET PHASE START [CTEST-OPTION…]
run_ctest() {
  local preset="$1" name="$2" start="$3" log="$report/$2.log" status=0 totals around=()
  shift 3
  # gcc 12's ThreadSanitizer refuses the address space layout that newer kernels choose at random.
  [ "$preset" != tsan ] || around=(setarch "$(uname -m)" -R)
  say "testing $name"
  "${around[@]}" ctest --test-dir "$(preset_folder "$preset")" --parallel "$jobs" --output-on-failure --no-tests=error \
    --repeat until-pass:2 --output-junit "$report/$name.xml" "${selection[@]}" "$@" 2>&1 | tee "$log" || status=$?
  # A noisy machine gets one second try per test, and it is said aloud which test took it.
  sed -n "/\*\*\*Skipped/d; s/^ *[0-9]*\/[0-9]* Test *#[0-9]*: \([^ ]*\) .*\*\*\*.*/SECOND TRY $name: \1/p" "$log" \
    | sort -u >>"$report/skips" || true
  sed -n "s/^ *[0-9]*\/[0-9]* Test *#[0-9]*: \([^ ]*\) .*\*\*\*Skipped.*/SKIPPED $name: \1 (its output says why)/p" "$log" \
    | sort -u >>"$report/skips" || true
  totals="$(sed -n 's/^.*% tests passed, \([0-9]*\) tests failed out of \([0-9]*\).*$/\2 \1/p' "$log" | tail -n 1)"
  if [ -z "$totals" ]; then totals="1 1"; fi
  # ctest also fails for a test that could not run at all: never call that a success.
  if [ "$status" != 0 ] && [ "${totals#* }" = 0 ]; then totals="${totals% *} 1"; fi
  sed -n "/(Skipped)/d; s/^\t *\(.*(.*)\).*/FAILED $name: \1/p" "$log" >>"$report/failures"
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

# Of ctest's unit and contract entries: those that are programs of this build, which is to say targets of their own name;
# and the others (scripts and sub-builds), which run once, in the release phase.
list_suite() {
  local folder
  folder="$root/$(preset_folder "$1")"
  ctest --test-dir "$folder" --show-only=json-v1 -L '^(unit|contract)$' "${without[@]}" | jq -r '.tests[].name' | sort -u >"$report/$1.names"
  ninja -C "$folder" -t targets all | sed -n 's/: phony$//p' | sort -u >"$report/$1.targets"
  comm -12 "$report/$1.names" "$report/$1.targets" >"$report/$1.outputs"
  comm -23 "$report/$1.names" "$report/$1.targets" >"$report/$1.scripts"
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
