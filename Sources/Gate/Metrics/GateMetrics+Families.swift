// Name, type, labels and help of each family: what docs/metrics.md has a row for.
// It relies on the conventions of Prometheus: base units, and `_total` for what only grows.

extension GateMetrics {
  static let buildInfo = MetricFamily("sluice_build_info", .gauge, by: ["version"], "1, for its label.")
  static let workers = MetricFamily("sluice_workers", .gauge, "Event loops.")
  static let isWhole = MetricFamily(
    "sluice_metrics_whole", .gauge, "0 where a worker did not answer in time: figures lack its own.")
  static let isDraining = MetricFamily("sluice_draining", .gauge, "1 while the gate lets what stands finish, to end.")
  static let connections = MetricFamily("sluice_connections", .gauge, "Connections of clients now.")
  static let connectionsMax = MetricFamily("sluice_connections_max", .gauge, "limits.connections of the policy.")
  static let open = MetricFamily("sluice_open", .gauge, "What is let out now: tunnels, and requests under way.")
  static let sandboxes = MetricFamily("sluice_sandboxes", .gauge, "Sandboxes of `sluice run --gate` that are served.")

  static let tunnels = MetricFamily(
    "sluice_tunnels_total", .counter, by: ["kind"], "Tunnels that were joined, by what they were asked for by.")
  static let requests = MetricFamily("sluice_requests_total", .counter, "Plain HTTP requests that were sent on.")
  static let queries = MetricFamily("sluice_queries_total", .counter, "DNS queries that clients asked.")
  static let bytes = MetricFamily(
    "sluice_bytes_total", .counter, by: ["direction"],
    "Bytes to upstreams (up) and to clients (down), as the log has them.")
  static let outcomes = MetricFamily(
    "sluice_outcomes_total", .counter, by: ["event", "reason"],
    "Lines of the log by event and reason; what report mode would have refused is not among them.")
  static let outcomesByVia = MetricFamily(
    "sluice_outcomes_by_via_total", .counter, by: ["event", "via"],
    "The same lines by event and by how their target was named.")
  static let wouldDeny = MetricFamily(
    "sluice_would_deny_total", .counter, by: ["reason"], "What report mode let out and enforce would have refused.")
  static let steps = MetricFamily(
    "sluice_step_seconds", .histogram, by: ["step"], "How long the steps of what was let out took.")

  static let limitLeft = MetricFamily(
    "sluice_limit_left", .gauge, by: ["client", "rule", "target", "limit"],
    "What is left of a limit: requests, bytes, or places of concurrent.")
  static let limitCapacity = MetricFamily(
    "sluice_limit_capacity", .gauge, by: ["client", "rule", "target", "limit"], "What a limit holds when it is full.")
  static let limitsLeftOut = MetricFamily(
    "sluice_limits_left_out", .gauge, "Pairs of client and rule with limits that are not shown, as there are too many.")

  static let lookups = MetricFamily(
    "sluice_resolver_lookups_total", .counter, by: ["source"],
    "Names that were looked up, by where the answer came from.")
  static let lookupsUnderWay = MetricFamily("sluice_resolver_lookups", .gauge, "Look-ups that wait for a server now.")
  static let questions = MetricFamily(
    "sluice_resolver_questions_total", .counter, "Questions to name servers, one a name and family.")
  static let answers = MetricFamily(
    "sluice_resolver_answers_total", .counter, by: ["result"], "How questions to name servers ended.")
  static let cachedNames = MetricFamily("sluice_resolver_cached_names", .gauge, "Names in the caches of all loops.")

  static let logLines = MetricFamily("sluice_log_lines_total", .counter, "Lines of the log that were made.")
  static let logWritable = MetricFamily("sluice_log_writable", .gauge, "0 while the log cannot be written.")
  static let logWaitingLines = MetricFamily("sluice_log_waiting_lines", .gauge, "Lines that wait for the disk.")
  static let logLostLines = MetricFamily(
    "sluice_log_lost_lines_total", .counter, "Lines that found no room while the disk was full or hung.")
  static let logWaitingBytes = MetricFamily("sluice_log_waiting_bytes", .gauge, "Bytes of these lines.")
  static let logWaitingSeconds = MetricFamily(
    "sluice_log_waiting_seconds", .gauge, "How long the oldest of these lines has waited.")

  static let loopBusy = MetricFamily(
    "sluice_loop_busy_seconds_total", .counter, by: ["loop"], "Time that a loop did not wait for events.")
  static let loopIdle = MetricFamily(
    "sluice_loop_idle_seconds_total", .counter, by: ["loop"], "Time that a loop waited for events.")
  static let loopTurns = MetricFamily("sluice_loop_turns_total", .counter, by: ["loop"], "Turns of a loop.")

  static let policyInfo = MetricFamily(
    "sluice_policy_info", .gauge, by: ["hash", "file"], "1, for its labels: the policy in force.")
  static let policyGeneration = MetricFamily(
    "sluice_policy_generation", .gauge, "Which policy since the start is in force.")
  static let policyLoaded = MetricFamily(
    "sluice_policy_loaded_timestamp_seconds", .gauge, "When the policy in force was loaded.")
  static let policyReloads = MetricFamily(
    "sluice_policy_reloads_total", .counter, by: ["result"], "Reloads since the start, by result.")
  static let lastReload = MetricFamily(
    "sluice_policy_last_reload_successful", .gauge, "0 where the last reload failed: the policy before it is in force.")

  static let cpu = MetricFamily("process_cpu_seconds_total", .counter, "CPU time of the process.")
  static let resident = MetricFamily("process_resident_memory_bytes", .gauge, "Resident memory.")
  static let openFiles = MetricFamily("process_open_fds", .gauge, "Open descriptors.")
  static let openFilesMax = MetricFamily("process_max_fds", .gauge, "How many descriptors may be open.")
  static let started = MetricFamily("process_start_time_seconds", .gauge, "When the gate started.")
}
