"""The log of a day of two agents and a build machine, seeded so that each run writes the same. `write` takes its end time."""
import json
import random
from datetime import datetime, timezone

POLICY = """network_policy:
  default: deny
  deny:
    - "*.pastebin.example:443"
  allow:
    - api.model.example:443
    - host: api.forge.example:443
      methods: [GET, POST]
      credential: forge
    - packages.example:443
    - "*.cdn.example:443"
    - db.corp.internal:5432
  rate_limits:
    - {host: "*", requests_per_minute: 120, burst: 60}
    - {host: api.model.example:443, requests_per_minute: 12, burst: 12}
credentials:
  forge: {env: FORGE_TOKEN, header: "Authorization: Bearer ${token}"}
"""
CLIENTS = ["researcher", "coder", "builder"]
ALLOWED = [("api.model.example", 10, 0.34), ("api.forge.example", 11, 0.2), ("packages.example", 14, 0.18), ("a1.cdn.example", 15, 0.1),
           ("a2.cdn.example", 15, 0.08), ("db.corp.internal", 16, 0.1)]
REFUSED = [("telemetry.vendor.example", "not_allowed", 30), ("docs.library.example", "not_allowed", 22), ("githib.com", "not_allowed", 4),
           ("upload.pastebin.example", "denied_by_rule", 6), ("203.0.113.77", "not_allowed", 5), ("dns.google", "not_allowed", 3),
           ("registry.images.example", "not_allowed", 12)]


def write(path, end, lines=24_000, seconds=6 * 3600, seed=6):
    chance = random.Random(seed)
    times = sorted(end - seconds * abs(chance.betavariate(1.1, 2.2)) for _ in range(lines))
    with open(path, "w") as file:
        file.write(line(1, times[0] - 5, "policy", {}))
        for number, at in enumerate(times, 2):
            file.write(line(number, at, *one(chance, at)))


def line(number, at, event, rest):
    stamp = datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    head = {"v": 1, "time": stamp, "seq": number, "event": event}
    if event != "policy" and "limit" not in rest and rest.get("via") != "dns":
        head["id"] = f"{number:x}"
    return json.dumps(head | rest | {"policy": "9d1c4e02b7a85f36"}, separators=(",", ":")) + "\n"


def one(chance, at):
    client = chance.choices(CLIENTS, [5, 4, 3])[0]
    host, number, _ = chance.choices(ALLOWED, [weight for *_, weight in ALLOWED])[0]
    rest = {"client": client, "via": "connect", "host": host, "port": 5432 if host.endswith("internal") else 443, "rule": f"agent.yaml:{number}:9"}
    flow = {"address": "203.0.113.10", "bytes_up": chance.randrange(600, 9000), "bytes_down": int(chance.paretovariate(1.2) * 3000),
            "duration_ms": chance.randrange(30, 4000), "inspected": "forge" in host}
    kind = chance.random()
    # The log is busier, and worse, in its last third.
    if kind < 0.80:
        return "closed", rest | flow
    if kind < 0.90:
        host, reason, _ = chance.choices(REFUSED, [weight for *_, weight in REFUSED])[0]
        refused = {"client": client, "via": "connect", "host": host, "port": 443, "reason": reason}
        return "denied", refused | ({"rule": "agent.yaml:4:9"} if reason == "denied_by_rule" else {})
    if kind < 0.935:
        rest |= {"host": "api.model.example", "port": 443, "rule": "agent.yaml:10:9", "reason": "rate_limited"}
        return "limited", rest | {"tokens": 0, "capacity": 12, "per_minute": 12}
    if kind < 0.96:
        rest |= {"host": "packages.example", "port": 443, "rule": "agent.yaml:14:9", "reason": chance.choice(["connect_failed", "timeout", "resolve_failed"])}
        return "failed", rest
    if kind < 0.992:
        rest |= {"host": "api.forge.example", "port": 443, "rule": "agent.yaml:11:9"}
        more = {"credential": "forge", "place": "header Authorization"} if chance.random() < 0.9 else {"credential": "forge", "scrubbed": True}
        return "credential", rest | more
    if kind < 0.996:
        return "flagged", rest | {"host": "docs.library.example", "port": 443, "finding": "instructions", "what": chance.choice(["ignore-previous", "new-system-prompt"]),
                                  "place": "answer", "count": 1}
    if kind < 0.998:
        return "limited", {"client": chance.choice(["researcher", "coder"]), "limit": chance.choice(["memory.max", "pids.max"])}
    if kind < 0.999:
        return "revoked", rest | flow | {"reason": "shutdown"}
    return "denied", {"client": client, "via": "dns", "host": "metrics.tracker.example", "reason": "not_allowed"}
