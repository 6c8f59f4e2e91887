# Installs what is missing from Debian; sourced by ./dev.

# dev_setup [build|test|check|all]: a group contains the ones before it. Nothing is asked of the network, and no
# privilege is needed, when everything is there.
dev_setup() {
  local group="${1:-all}" wanted missing installed=yes
  case "$group" in
    build) wanted='^build' ;;
    test) wanted='^(build|test)' ;;
    check | all) wanted='^(build|test|check)' ;;
    *) die "there is no package group '$group'" "use build, test, check or all" 2 ;;
  esac
  missing="$(missing_packages "$wanted")"
  if [ -z "$missing" ]; then
    [ "$group" != all ] || say "everything is installed"
    return 0
  fi
  command -v apt-get >/dev/null || die "these packages are missing and there is no apt-get here: $missing" \
    "use Debian 12, or install their counterparts and put programs of that name into PATH"
  say "installing: $missing"
  # What is installed for tests must not begin to serve: they start their own databases and engines.
  local silent=/usr/sbin/policy-rc.d made=no
  if [ ! -e "$silent" ]; then
    made=yes
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$silent" >/dev/null
    as_root chmod 755 "$silent"
  fi
  # shellcheck disable=SC2086
  (install_packages $missing) || installed=no
  [ "$made" = no ] || as_root rm -f "$silent"
  [ "$installed" = yes ] || exit 1
  missing="$(missing_packages "$wanted")"
  [ -z "$missing" ] || die "apt-get succeeded, but these packages are still missing: $missing" \
    "look at the output of apt-get above"
}

# Packages of the groups that are not installed, on one line.
missing_packages() {
  local names have
  names="$(awk -v wanted="$1" '$1 ~ wanted { print $2, $3 }' cmake/dev/packages.txt | without_present_programs)"
  have="$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 2>/dev/null | awk '$1 == "ii" { print $2 }' || true)"
  awk 'NR == FNR { have[$1]; next } !($1 in have)' <(printf '%s\n' "$have") <(printf '%s\n' "$names") | xargs
}

# A line `GROUP PACKAGE program=NAME REASON` is content with a program of that name from anywhere.
without_present_programs() {
  local package mark
  while read -r package mark; do
    case "$mark" in program=*) if command -v "${mark#program=}" >/dev/null; then continue; fi ;; esac
    echo "$package"
  done
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo env DEBIAN_FRONTEND=noninteractive "$@"
  else
    die "installing packages needs root; this is user $(id -un) and there is no sudo" \
      "run './dev setup' once as root, then go on as $(id -un)"
  fi
}

install_packages() {
  export DEBIAN_FRONTEND=noninteractive
  local options=(-y -qq -o Dpkg::Use-Pty=0 --no-install-recommends -o DPkg::Lock::Timeout=300 -o APT::Keep-Downloaded-Packages=false)
  # Package lists that know every name may still be stale: then the first try fails and a fresh list follows.
  if knows_all "$@" && as_root apt-get install "${options[@]}" "$@" >&2; then return 0; fi
  as_root apt-get update -qq -o DPkg::Lock::Timeout=300 >&2 || die "apt-get update failed" \
    "check /etc/apt/sources.list and the network, then run ./dev setup again"
  knows_all "$@" || die "this machine's package sources do not offer: $(unknown_of "$@")" \
    "Caged is built on Debian 12 (bookworm); this is $(. /etc/os-release 2>/dev/null; echo "${PRETTY_NAME:-unknown}")"
  as_root apt-get install "${options[@]}" "$@" >&2 || die "apt-get could not install the packages" \
    "read its message above; './dev setup' may be run again"
}

unknown_of() {
  local name candidate
  for name in "$@"; do
    candidate="$(apt-cache policy "$name" 2>/dev/null | awk '$1 == "Candidate:" { print $2 }')"
    if [ -z "$candidate" ] || [ "$candidate" = '(none)' ]; then printf '%s ' "$name"; fi
  done
}

knows_all() { [ -z "$(unknown_of "$@")" ]; }
