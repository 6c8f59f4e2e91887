#!/usr/bin/env bash
# out_of_tree.sh BUILD_DIR CMAKE COMPILER FLAGS: what a plugin author does, from installation to a loaded plugin.
set -euo pipefail
build=$1 cmake=$2 compiler=$3 flags=$4
umask 022
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

echo "-- install"
"$cmake" --install "$build" --prefix "$work/prefix" --component sdk >"$work/install.log" || { cat "$work/install.log"; fail "install"; }
for file in include/caged_plugin.h include/caged/define_plugin.hpp include/caged/testing/contract.hpp \
    bin/caged-plugin-check share/caged/template/CMakeLists.txt; do
  [ -e "$work/prefix/$file" ] || fail "$file is not installed"
done
# Nothing that is installed may lead back to where it was built.
if grep -rIl "$build" "$work/prefix"; then fail "the files above name the build folder"; fi

echo "-- configure and build the template"
cp -r "$work/prefix/share/caged/template" "$work/my-plugin"
"$cmake" -S "$work/my-plugin" -B "$work/out" -DCMAKE_PREFIX_PATH="$work/prefix" -DCMAKE_CXX_COMPILER="$compiler" \
  -DCMAKE_CXX_FLAGS="$flags" >"$work/configure.log" 2>&1 || { cat "$work/configure.log"; fail "configure"; }
"$cmake" --build "$work/out" >"$work/build.log" 2>&1 || { cat "$work/build.log"; fail "build"; }
plugin=$work/out/caged-tool-wordcount.so
[ -f "$plugin" ] || fail "$plugin was not built"

echo "-- check and load it"
(cd "$work/out" && ctest --output-on-failure) || fail "the template's own test"
check=$work/prefix/bin/caged-plugin-check
echo '{"most_words": 0}' >"$work/bad.json"
"$check" --bad-config "$work/bad.json" "$plugin" || fail "the contract"

echo "-- refusals"
refused() {  # refused STATUS TEXT COMMAND...
  local expected=$1 text=$2 status=0
  shift 2
  "$@" >"$work/refusal.log" 2>&1 || status=$?
  [ "$status" = "$expected" ] || { cat "$work/refusal.log"; fail "$* exits with $status, expected $expected"; }
  grep -qF -- "$text" "$work/refusal.log" || { cat "$work/refusal.log"; fail "$* does not say: $text"; }
}
chmod g+w "$plugin"
refused 2 "which lets group or others change it" "$check" "$plugin"
chmod g-w "$plugin"
refused 2 "find it: No such file or directory" "$check" "$work/none.so"
refused 2 "it is not an ELF file" "$check" "$work/bad.json"
refused 2 "unknown option --nonsense" "$check" --nonsense "$plugin"
"$cmake" -S "$work/my-plugin" -B "$work/other" -DCMAKE_PREFIX_PATH="$work/prefix" -DCMAKE_CXX_COMPILER="$compiler" \
  -DCMAKE_CXX_FLAGS="$flags -std=c++2b" >"$work/configure.log" 2>&1 || { cat "$work/configure.log"; fail "configure"; }
sed -i 's/^caged_add_plugin(.*/&\nset_target_properties(my_plugin PROPERTIES CXX_STANDARD 23)/' "$work/my-plugin/CMakeLists.txt"
"$cmake" --build "$work/other" >"$work/build.log" 2>&1 || { cat "$work/build.log"; fail "build"; }
refused 2 "the C++ standard differs" "$check" "$work/other/caged-tool-wordcount.so"
echo "ok"
