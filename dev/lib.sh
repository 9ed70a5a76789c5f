# shellcheck shell=bash disable=SC2034
# What the scripts of dev/ share. Sourcing it goes to the top of the checkout.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Where nginx is; Debian leaves it out of a user's PATH.
PATH=$PATH:/usr/sbin
# All data, logs and downloads of this checkout lie here; removing it starts afresh.
run=$PWD/.run

say() { echo "discodeit: $*" >&2; }
die() { say "$*"; exit 1; }
step() { printf '\n== %s (after %s s)\n' "$*" "$SECONDS"; }

# select_system NAME: "up", "test" or "measure". Each has a folder of its own, and ports that begin with a digit of its own.
select_system() {
  name=$1
  case $name in
    up) digit=1 ;;
    test) digit=2 ;;
    measure) digit=5 ;;
    *) die "there is no system '$name', only up, test and measure" ;;
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

# A Node that can run the browser tests: the one in PATH unless it is too old, else the one that dev/install fetched.
new_node() {
  local candidate
  for candidate in "$(command -v node || true)" "$run/node/node_modules/node/bin/node"; do
    [ -x "$candidate" ] || continue
    [ "$("$candidate" -p 'parseInt(process.versions.node)')" -lt 20 ] || { echo "$candidate"; return; }
  done
  return 1
}

secret() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

# ---- processes ---------------------------------------------------------------------------------------------------
# A process is remembered as "pid start-time": a number that was given to another program since is not taken for ours.

start_time() {
  local stat
  stat=$(< "/proc/$1/stat") || return 1
  # What follows the program's name, which may hold blanks: state, then 18 fields, then the start time.
  read -ra stat <<< "${stat##*) }"
  [ "${stat[0]}" != Z ] && echo "${stat[19]}"
} 2> /dev/null

# alive FILE: does the process still run that FILE remembers?
alive() {
  local pid since
  read -r pid since 2> /dev/null < "$1" && [ -n "$since" ] && [ "$(start_time "$pid")" = "$since" ]
}

remember() { echo "$2 $(start_time "$2")" > "$1"; }

# spawn FOLDER NAME COMMAND…: start a program in the background, out of reach of the terminal's Ctrl-C: we end it in order.
spawn() {
  local folder=$1 name=$2
  shift 2
  # Appended to, so that a program which opens its log a second time does not write over it.
  : > "$folder/logs/$name.log"
  setsid "$@" >> "$folder/logs/$name.log" 2>&1 < /dev/null &
  remember "$folder/pids/$name" $!
}

# end FILE SIGNAL SECONDS: ask the process that FILE remembers to end, wait, and kill it when it does not.
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

need_port() { ! listening "$1" || die "port $1 on 127.0.0.1 is taken by another program, and $2 needs it"; }

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
