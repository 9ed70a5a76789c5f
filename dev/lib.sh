# shellcheck shell=bash disable=SC2034
# Functions shared by the scripts in dev/. Sourcing this file changes to the top of the checkout.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# nginx is in /usr/sbin, which Debian leaves out of a user's PATH.
PATH=$PATH:/usr/sbin
# All data, logs and downloads of this checkout. Remove the folder to start afresh.
run=$PWD/.run

say() { echo "discodeit: $*" >&2; }
die() { say "$*"; exit 1; }
step() { printf '\n== %s (after %s s)\n' "$*" "$SECONDS"; }

# select_system NAME: "up", "test", "tls", "faults" or "measure". Each has its own folder and its own ports, below those that the
# kernel gives to clients. "tls" has no nodes.
select_system() {
  name=$1
  case $name in
    up) postgres_port=15432 redis_port=16379 kafka_port=19092 node_ports=(18081 18082) port=${PORT:-3000} ;;
    test) postgres_port=25432 redis_port=26379 kafka_port=29092 node_ports=(28081 28082) port=23000 ;;
    tls) postgres_port=25433 redis_port=26380 kafka_port=29192 ;;
    faults) postgres_port=31432 redis_port=31379 kafka_port=31092 node_ports=(31081 31082 31083) port=31000 ;;
    measure) postgres_port=30432 redis_port=30379 kafka_port=30092 node_ports=(30081 30082) port=30000 ;;
    *) die "there is no system '$name', only up, test, tls, faults and measure" ;;
  esac
  folder=$run/$name
  mkdir -p "$folder"/{logs,pids}
}

# ---- programs ----------------------------------------------------------------------------------------------------

# postgres_bin VERSION: where Debian's packages put that server, which is not in PATH; '*' is the newest.
postgres_bin() {
  local found
  found=$(compgen -G "/usr/lib/postgresql/$1/bin/postgres" | sort -V | tail -1) || true
  [ -n "$found" ] && dirname "$found"
}

# A Java that can run Kafka: the one in PATH unless it is too old.
java_bin() {
  local candidate version
  for candidate in "$(command -v java || true)" $(compgen -G '/usr/lib/jvm/*/bin/java' | sort -rV); do
    [ -x "$candidate" ] || continue
    version=$("$candidate" -version 2>&1 | sed -nE '1s/.*"([0-9]+).*/\1/p')
    [ "${version:-0}" -lt 17 ] || { echo "$candidate"; return; }
  done
  return 1
}

docker_engine() { docker info > /dev/null 2>&1 && docker compose version > /dev/null 2>&1; }

# The folder of Kafka's jars, which dev/install fetches.
kafka_jars() {
  local version
  version=$(sed -nE 's|^  <version>(.*)</version>$|\1|p' dev/kafka/pom.xml)
  echo "$run/kafka-$version"
}

# A Node that can build the web app and run the browser tests: the one in PATH unless it is too old, else the one
# that dev/install fetched.
new_node() {
  local candidate
  for candidate in "$(command -v node || true)" "$run/node/node_modules/node/bin/node"; do
    [ -x "$candidate" ] || continue
    "$candidate" -e 'const [major, minor] = process.versions.node.split(".").map(Number)
      process.exit((major === 20 && minor >= 19) || (major === 22 && minor >= 13) || major >= 24 ? 0 : 1)' || continue
    echo "$candidate"
    return
  done
  return 1
}

secret() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

# lint_while_compiling: from here on, cargo runs clippy in place of rustc for this package, and a warning is an error.
# "cargo clippy" instead would compile every dependency a second time.
lint_while_compiling() {
  command -v clippy-driver > /dev/null || die "clippy is missing: rustup component add clippy"
  export RUSTC_WORKSPACE_WRAPPER=clippy-driver CLIPPY_ARGS=-Dwarnings__CLIPPY_HACKERY__
}

# ---- processes ---------------------------------------------------------------------------------------------------
# A pid file holds "pid start-time": a pid that the kernel has reused since is not mistaken for our process.

start_time() {
  local stat
  stat=$(< "/proc/$1/stat") || return 1
  # After the program's name, which may contain blanks: the state, 18 fields, the start time.
  read -ra stat <<< "${stat##*) }"
  [ "${stat[0]}" != Z ] && echo "${stat[19]}"
} 2> /dev/null

# alive FILE: succeeds while the process in the pid file FILE runs.
alive() {
  local pid since
  read -r pid since 2> /dev/null < "$1" && [ -n "$since" ] && [ "$(start_time "$pid")" = "$since" ]
}

remember() { echo "$2 $(start_time "$2")" > "$1"; }

# spawn FOLDER NAME COMMAND…: start a program in the background in its own session, so that Ctrl-C does not reach it and the script stops it in order.
spawn() {
  local folder=$1 name=$2
  shift 2
  # Append, so that a program that opens its log a second time does not overwrite it.
  : > "$folder/logs/$name.log"
  setsid "$@" >> "$folder/logs/$name.log" 2>&1 < /dev/null &
  remember "$folder/pids/$name" $!
}

# end FILE SIGNAL SECONDS: signal the process in the pid file FILE, wait, and kill it after SECONDS.
end() {
  local file=$1 pid deadline=$((SECONDS + $3))
  if alive "$file"; then
    read -r pid _ < "$file"
    kill "-$2" "$pid" 2> /dev/null || true
    while alive "$file" && [ "$SECONDS" -lt "$deadline" ]; do sleep 0.1; done
    if alive "$file"; then
      say "${file##*/} did not end within $3 s and is killed"
      kill -KILL "$pid" 2> /dev/null || true
    fi
  fi
  rm -f "$file"
}

# ---- ports -------------------------------------------------------------------------------------------------------

listening() { (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null; }

# need_port PORT NAME: waits until the port is free. A killed program keeps it until the last of its threads has ended.
need_port() {
  local deadline=$((SECONDS + 5))
  while listening "$1"; do
    [ "$SECONDS" -lt "$deadline" ] || die "port $1 on 127.0.0.1 is taken by another program, and $2 needs it"
    sleep 0.1
  done
}

# wait_for FOLDER NAME COMMAND…: until COMMAND succeeds; at most a minute, and only while the program runs.
wait_for() {
  local folder=$1 name=$2 deadline=$((SECONDS + 60))
  shift 2
  until "$@" > /dev/null 2>&1; do
    if ! alive "$folder/pids/$name" || [ "$SECONDS" -ge "$deadline" ]; then
      tail -n 20 "$folder/logs/$name.log" >&2
      die "$name did not start; its log: $folder/logs/$name.log"
    fi
    sleep 0.1
  done
}
