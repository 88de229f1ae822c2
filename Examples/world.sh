# A world of its own for an example, with and without the internet: sourced by Examples/*/run. `world FOLDER` starts the
# upstreams and makes $here/policy.yaml out of FOLDER/policy.yaml: the same rules, at the ports of these upstreams.
# `in_sandbox NAME COMMAND…` runs a command under that policy, and `show_log NAME…` prints what came of it.
examples=$(cd "$(dirname "$0")/.." && pwd)
built=$examples/../.build/debug/sluice
sluice=${SLUICE:-$([ -x "$built" ] && echo "$built" || command -v sluice || true)}
[ -x "$sluice" ] || { echo "$0: no program sluice; run make build, or set SLUICE" >&2; exit 2; }
sluice=$(realpath "$sluice")
here=$(mktemp -d)
upstreams=
trap '[ -z "$upstreams" ] || kill "$upstreams" 2>/dev/null || true; wait; rm -rf "$here"' EXIT

world() {
  chmod 755 "$here"
  mkdir "$here/site" "$here/home" "$here/state"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=upstreams of an example' \
    -addext 'subjectAltName=DNS:api.model.example,DNS:git.example,DNS:index.example' \
    -keyout "$here/key.pem" -out "$here/cert.pem" 2>/dev/null
  # The gate trusts this certificate as it does the system's, and so does the sandbox.
  export HOME="$here/home" XDG_STATE_HOME="$here/state" SSL_CERT_FILE="$here/cert.pem"
  python3 -B "$examples/world.py" "$here/site" "$here/cert.pem" "$here/key.pem" >"$here/serving" 2>&1 &
  upstreams=$!
  tries=0
  until grep -q '^serving' "$here/serving" 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 200 ] || { echo "$0: its upstreams did not start:" >&2; cat "$here/serving" >&2; exit 1; }
    sleep 0.1
  done
  read -r _ port names <"$here/serving"
  python3 - "$1/policy.yaml" "$port" >"$here/policy.yaml" <<'PYTHON'
import re, sys
text, port = open(sys.argv[1]).read(), sys.argv[2]
# Rules list the loopback, where these upstreams are; limits only get the port.
rule = r'{host: "\1:%s", addresses: [127.0.0.0/8]}' % port
parts = re.split(r"(rate_limits:.*?(?=\n\S|\n  - name|\Z))", text, flags=re.S)
for index in range(0, len(parts), 2):
    parts[index] = re.sub(r"(?<=- )(?:host: )?([a-z.]+\.example):443", rule, parts[index])
    parts[index] = re.sub(r"(?<=\[)([a-z.]+\.example):443", rule, parts[index])
print(re.sub(r"(\.example):443", r"\1:" + port, "".join(parts)), end="")
PYTHON
  echo "resolver: {servers: [\"127.0.0.1:$names\"]}" >>"$here/policy.yaml"
}

# A folder per name: the workspace. Root's sandbox gives root up, so the folder has to be another's.
workspace() {
  mkdir -p "$here/$1"
  [ "$(id -u)" != 0 ] || chown -R 61000:61000 "$here/$1"
}

in_sandbox() {
  name=$1
  shift
  (cd "$here/$name" && "$sluice" run --policy "$here/policy.yaml" --name "$name" --limits best-effort --env "PORT=$port" -- "$@")
}

show_log() {
  echo '--- the log: what was let out, and what was refused'
  for name in "$@"; do
    "$sluice" log --log "$here/state/sluice/$name.jsonl" --json --event closed --event denied | python3 -c '
import json, sys
for line in map(json.loads, sys.stdin):
    if not line.get("probe") and line["via"] != "dns":
        print("  {:10} {:7} {:26} {}".format(line["client"], line["event"], line["host"], line.get("reason", "")).rstrip())'
  done
}
