#!/usr/bin/env bash
# asio_clang.sh SOURCE_DIR BUILD_DIR: builds the SDK, core/plugin and the Asio module with clang and runs their test.
set -euo pipefail
source=$1 build=$2
for number in "" -19 -18 -17 -16 -15 -14; do
  if command -v "clang++$number" >/dev/null; then clang=clang++$number; break; fi
done
[ -n "${clang:-}" ] || { echo "FAILED: no clang++ is installed; ./dev setup installs it" >&2; exit 1; }
cmake -G Ninja -S "$source/tests/modules/standalone" -B "$build" -DCMAKE_CXX_COMPILER="$clang" \
  -DCMAKE_C_COMPILER="${clang/++/}" -DCMAKE_CXX_FLAGS="-O0" >"$build.log" 2>&1 || { cat "$build.log"; exit 1; }
ninja -C "$build" plugin_asio_test >>"$build.log" 2>&1 || { tail -60 "$build.log"; exit 1; }
exec "$build/tests/plugin_asio_test"
