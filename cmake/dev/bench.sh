# Benchmarks and the long forms of tests; sourced by ./dev.

# dev_bench [NAME…]: bench_NAME of tests/bench; all of them when none is named.
dev_bench() {
  local targets=() name failed=0
  dev_setup test
  configure_preset release
  if [ $# -gt 0 ]; then
    targets=("${@/#/bench_}")
  else
    mapfile -t targets < <(ninja -C build -t targets all | sed -n 's/^\(bench_[a-z0-9_]*\): phony$/\1/p' | sort -u)
  fi
  [ ${#targets[@]} -gt 0 ] || die "there is no bench_* target in tests/bench"
  compile_preset release all "${targets[@]}"
  mkdir -p build/report
  for name in "${targets[@]}"; do
    say "$name"
    "build/tests/$name" --json "build/report/$name.json" || failed=1
  done
  return "$failed"
}

# dev_soak [MINUTES]: tests that have a long form read CAGED_SOAK_MINUTES and then run for a share of it.
dev_soak() {
  local minutes="${1:-60}"
  case "$minutes" in '' | *[!0-9]*) die "soak takes minutes, found '$minutes'" "for example ./dev soak 120" 2 ;; esac
  export CAGED_SOAK_MINUTES="$minutes" CAGED_FUZZ_SECONDS=$((minutes * 60 / 8 + 1))
  fuzz_seconds="$CAGED_FUZZ_SECONDS"
  dev_test
}
