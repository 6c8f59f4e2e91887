# The main job: a sandbox of a real project runs that project's own tests; sourced by ./dev.

# The default project: pure Python, several hundred tests in some seconds, needs nothing but pytest and no network.
project_name="more-itertools"
project_version="10.5.0"
project_hash="5482bfef7849c25dc3c6dd53a6173ae4795da2a41a80faea6700d9f5846c5da6"
project_test=(python3 -m pytest -q)

data="${CAGED_DATA:-$root/build/run}"

# dev_run [--repo PATH|URL] [--stop] [-- CMD…]
dev_run() {
  local repo="" status=0
  local -a test_command=()
  while [ $# -gt 0 ]; do
    case "$1" in
      --repo) repo="${2:?--repo needs a folder or a Git URL}"; shift ;;
      --stop) stop_server; return ;;
      --) shift; test_command=("$@"); break ;;
      *) die "run does not know '$1'" "the test command goes after --; see ./dev help" 2 ;;
    esac
    shift
  done
  dev_setup build
  dev_build
  start_server
  if [ -z "$repo" ]; then
    fetch_project
    repo="$root/build/projects/$project_name-$project_version"
    [ ${#test_command[@]} -gt 0 ] || test_command=("${project_test[@]}")
  else
    if [ -d "$repo" ]; then
      repo="$(cd "$repo" && pwd)"
    elif [ ${#test_command[@]} -eq 0 ]; then
      clone_project "$repo"
      repo="$root/build/projects/clone"
    fi
    [ ${#test_command[@]} -gt 0 ] || guess_test "$repo"
  fi
  say "caged run --repo $repo -- ${test_command[*]}"
  CAGED_DATA="$data" "$root/build/bin/caged" run --repo "$repo" -- "${test_command[@]}" || status=$?
  say "the server stays up at $(server_field address); its key lies in $data/admin.key"
  say "try: CAGED_DATA=$data build/bin/caged events; stop it with: ./dev run --stop"
  return "$status"
}

# ---- the server

server_field() { jq -r ".$1 // empty" "$data/server.json" 2>/dev/null || true; }

server_address() {
  local address
  address="$(server_field address)"
  case "$address" in '' | http*) echo "$address" ;; *) echo "http://$address" ;; esac
}

server_healthy() {
  local address
  address="$(server_address)"
  [ -n "$address" ] && curl -fsS --noproxy '*' --max-time 2 "$address/healthz" >/dev/null 2>&1
}

# Uses the server that already runs on this data folder, unless it runs a program that was rebuilt since.
start_server() {
  local pid
  pid="$(server_field pid)"
  if server_healthy; then
    case "$(readlink "/proc/$pid/exe" 2>/dev/null)" in
      *' (deleted)') say "the server runs an older build; restarting it"; stop_server ;;
      *) say "using the server at $(server_address)"; return 0 ;;
    esac
  fi
  mkdir -p "$data"
  chmod 0700 "$data"
  say "starting caged serve (data: $data, log: $data/server.log)"
  CAGED_DATA="$data" setsid nohup "$root/build/bin/caged" serve --data "$data" --listen "${CAGED_LISTEN:-127.0.0.1:0}" \
    </dev/null >>"$data/server.log" 2>&1 &
  pid=$!
  local tries
  for tries in $(seq 150); do
    if server_healthy; then say "caged serves at $(server_address)"; return 0; fi
    if [ "$tries" -gt 5 ] && ! kill -0 "$pid" 2>/dev/null; then break; fi
    sleep 0.1
  done
  tail -n 20 "$data/server.log" >&2
  die "caged serve did not become healthy" "its last words are above; the whole log is $data/server.log"
}

stop_server() {
  local pid
  pid="$(server_field pid)"
  case "$(readlink "/proc/$pid/exe" 2>/dev/null)" in
    */caged | */caged' (deleted)') ;;
    *) say "no server runs on $data"; return 0 ;;
  esac
  kill "$pid"
  for _ in $(seq 300); do
    if ! kill -0 "$pid" 2>/dev/null; then say "stopped"; return 0; fi
    sleep 0.1
  done
  die "the server (process $pid) still runs 30 s after SIGTERM" "look at $data/server.log"
}

# ---- the project

# The source distribution of a pinned version, checked against its hash, made a repository.
fetch_project() {
  local folder="$root/build/projects" name="$project_name-$project_version" scratch
  [ ! -d "$folder/$name/.git" ] || return 0
  scratch="$(mktemp -d)"
  say "fetching $project_name $project_version"
  printf '%s==%s --hash=sha256:%s\n' "$project_name" "$project_version" "$project_hash" >"$scratch/requirements.txt"
  if ! timeout 120 /usr/bin/python3 -m pip download -q --disable-pip-version-check --no-deps --require-hashes \
    --no-binary "$project_name" -d "$scratch" -r "$scratch/requirements.txt" >&2; then
    rm -rf "$scratch"
    die "the package registry did not give $project_name $project_version" \
      "check the network (or pip's index-url), or name a project of yours: ./dev run --repo PATH"
  fi
  mkdir -p "$folder"
  rm -rf "${folder:?}/$name"
  tar -xzf "$scratch/$name.tar.gz" -C "$scratch" --no-same-owner
  (
    cd "$scratch/$name"
    git init -q -b main
    git add -A
    git -c user.name=caged -c user.email=caged@localhost commit -q -m "$project_name $project_version"
  )
  mv "$scratch/$name" "$folder/$name"
  rm -rf "$scratch"
}

clone_project() {
  say "cloning $1 to see what tests it has"
  mkdir -p "$root/build/projects"
  rm -rf "$root/build/projects/clone"
  GIT_TERMINAL_PROMPT=0 timeout 300 git clone -q --depth 1 -- "$1" "$root/build/projects/clone" \
    || die "git could not clone $1" "is it a folder or a Git URL that this machine can reach?"
}

# Sets the caller's test_command to what the files of a project suggest, and says why.
guess_test() {
  local why="" makefile
  if [ -f "$1/go.mod" ]; then
    why="go.mod" test_command=(go test ./...)
  elif [ -f "$1/Cargo.toml" ]; then
    why="Cargo.toml" test_command=(cargo test)
  elif [ -f "$1/package.json" ] && jq -e '.scripts.test' "$1/package.json" >/dev/null 2>&1; then
    why="scripts.test in package.json" test_command=(npm test)
  elif [ -n "$(find "$1" -maxdepth 4 \( -name 'test_*.py' -o -name '*_test.py' \) -print -quit)" ]; then
    why="test_*.py" test_command=(python3 -m pytest -q)
    [ ! -d "$1/src" ] || test_command=(env PYTHONPATH=src "${test_command[@]}")
  else
    for makefile in "$1/GNUmakefile" "$1/Makefile" "$1/makefile"; do
      [ -f "$makefile" ] || continue
      if grep -q '^check:' "$makefile"; then why="target check in ${makefile##*/}" test_command=(make check); break; fi
      if grep -q '^test:' "$makefile"; then why="target test in ${makefile##*/}" test_command=(make test); break; fi
    done
  fi
  [ -n "$why" ] || die "found no tests in $1" \
    "looked for go.mod, Cargo.toml, package.json, test_*.py, Makefile; say the command: ./dev run --repo … -- CMD"
  say "test command (because of $why): ${test_command[*]}"
}
