"""The dashboards of those who run the services: engine, cache node, saturation."""

from panels import board, instances, lines, quantiles, rate, share

WORKER = '{instance=~"$worker"}'
NODE = '{instance=~"$node"}'
OURS = '{job=~".*lckv-(gateway|worker|cache-node)"}'


def engine():
    steps = [
        lines(
            "Batch",
            "none",
            "Mean per step.",
            (
                share(
                    rate("lckv_worker_batch_sequences_sum", selector=WORKER),
                    rate("lckv_worker_batch_sequences_count", selector=WORKER),
                ),
                "turns",
            ),
            (
                share(
                    rate("lckv_worker_batch_rows_sum", selector=WORKER),
                    rate("lckv_worker_batch_rows_count", selector=WORKER),
                ),
                "rows",
            ),
        ),
        lines(
            "Passes per encoded token",
            "none",
            "Rows of known tokens, all passes, divided by the tokens.",
            (
                share(
                    rate("lckv_worker_encode_rows_total", selector=WORKER),
                    rate("lckv_worker_encoded_tokens_total", selector=WORKER),
                ),
                "passes",
            ),
        ),
        lines(
            "Rows",
            "none",
            "A second.",
            (rate("lckv_worker_encode_rows_total", selector=WORKER), "encode"),
            (rate("lckv_worker_decode_rows_total", selector=WORKER), "decode"),
            stacked=True,
        ),
        lines(
            "Step time",
            "s",
            "By what was in the step.",
            *quantiles("lckv_worker_step_seconds", "kind", WORKER, (0.5, 0.99)),
        ),
        lines(
            "Step time split",
            "percentunit",
            "Share of the step loop's time.",
            (
                rate("lckv_worker_step_phase_seconds_total", "phase", WORKER)
                + " / ignoring(phase) group_left "
                + rate("lckv_worker_step_phase_seconds_total", "", WORKER),
                "{{phase}}",
            ),
            stacked=True,
            share=True,
        ),
        lines(
            "Step loop busy",
            "percentunit",
            "Share of the time that a worker's step loop works.",
            (rate("lckv_worker_step_phase_seconds_total", "instance", WORKER), "{{instance}}"),
            share=True,
        ),
    ]
    memory = [
        lines(
            "KV pages",
            "none",
            "Used, and there.",
            ("lckv_worker_kv_used_pages" + WORKER, "used {{instance}}"),
            ("lckv_worker_kv_capacity_pages" + WORKER, "capacity {{instance}}"),
            width=12,
        ),
        lines(
            "Turns",
            "none",
            "Running, and waiting for one of them to end.",
            ("lckv_worker_running_turns" + WORKER, "running {{instance}}"),
            ("lckv_worker_waiting_turns" + WORKER, "waiting {{instance}}"),
            width=12,
        ),
    ]
    turns = [
        lines(
            "Time to first token",
            "s",
            "From a turn's receipt by the worker.",
            *quantiles("lckv_worker_time_to_first_token_seconds", "instance", WORKER, (0.95,)),
        ),
        lines(
            "Inter-token latency",
            "s",
            "Between two tokens of a turn, in the worker.",
            *quantiles("lckv_worker_inter_token_latency_seconds", "instance", WORKER, (0.95,)),
        ),
        lines(
            "Queue wait",
            "s",
            "Before a turn's first step.",
            *quantiles("lckv_worker_queue_wait_seconds", "instance", WORKER, (0.95,)),
        ),
        lines(
            "Tokens",
            "none",
            "A second.",
            (rate("lckv_worker_input_tokens_total", selector=WORKER), "input"),
            (rate("lckv_worker_output_tokens_total", selector=WORKER), "generated"),
        ),
        lines(
            "Turns by outcome",
            "ops",
            "Turns that ended.",
            (rate("lckv_worker_turns_total", "outcome", WORKER) + " > 0", "{{outcome}}"),
            stacked=True,
        ),
        lines(
            "Turn duration",
            "s",
            "From a turn's receipt to its last frame.",
            *quantiles("lckv_worker_turn_duration_seconds", "", WORKER),
        ),
    ]
    return board(
        "lckv-engine",
        "lckv / Engine",
        "What the workers' step loops do.",
        [("Steps", steps), ("Memory", memory), ("Turns", turns)],
        [instances("worker", "Worker", "lckv_worker_kv_capacity_pages")],
    )


def cache_node():
    memory = rate("lckv_cache_page_lookups_total", selector='{instance=~"$node", tier="memory"}')
    kept = [
        lines(
            "Bytes by tier",
            "bytes",
            "The memory tier's size is a line of its own.",
            ("sum by (tier) (lckv_cache_bytes" + NODE + ")", "{{tier}}"),
            ("sum(lckv_cache_capacity_bytes" + NODE + ")", "memory, size"),
        ),
        lines(
            "Hit share of memory",
            "percentunit",
            "Pages that workers wanted and that were in memory.",
            (share(memory, rate("lckv_cache_page_lookups_total", selector=NODE)), "share"),
            share=True,
        ),
        lines(
            "Evictions from memory",
            "ops",
            "Pages; they stay in storage.",
            (rate("lckv_cache_evictions_total", selector=NODE), "pages"),
        ),
        lines(
            "Evicted bytes",
            "Bps",
            "From memory.",
            (rate("lckv_cache_evicted_bytes_total", selector=NODE), "bytes"),
            width=6,
        ),
        lines(
            "Sessions",
            "none",
            "Stored, and how many may be.",
            ("sum(lckv_cache_sessions" + NODE + ")", "stored"),
            ("sum(lckv_cache_session_capacity" + NODE + ")", "capacity"),
            width=6,
        ),
        lines(
            "File system",
            "bytes",
            "Of the stored sessions.",
            ("lckv_cache_filesystem_free_bytes" + NODE, "free {{instance}}"),
            ("lckv_cache_filesystem_size_bytes" + NODE, "size {{instance}}"),
            width=6,
        ),
        lines(
            "Reservations and read leases",
            "none",
            "Pages being pushed, sessions being restored.",
            ("sum(lckv_cache_reservations" + NODE + ")", "reservations"),
            ("sum(lckv_cache_read_leases" + NODE + ")", "read leases"),
            width=6,
        ),
    ]
    moved = [
        lines(
            "Transport",
            "Bps",
            "Page bytes, in from workers and out to them.",
            (rate("lckv_cache_transport_bytes_total", "direction", NODE), "{{direction}}"),
        ),
        lines(
            "Transport time",
            "s",
            "Of a page stream.",
            *quantiles("lckv_cache_transport_seconds", "direction", NODE, (0.5, 0.95)),
        ),
        lines(
            "Speed of a stream",
            "Bps",
            "Bytes divided by the streams' time.",
            (
                share(
                    rate("lckv_cache_transport_bytes_total", "direction", NODE),
                    rate("lckv_cache_transport_seconds_sum", "direction", NODE),
                ),
                "{{direction}}",
            ),
        ),
    ]
    calls = [
        lines(
            "Calls",
            "reqps",
            "By method.",
            (rate("lckv_cache_calls_total", "method", NODE) + " > 0", "{{method}}"),
            stacked=True,
        ),
        lines(
            "Outcomes",
            "reqps",
            "Other than ok.",
            (rate("lckv_cache_calls_total", "outcome", '{instance=~"$node", outcome!="ok"}'), "{{outcome}}"),
        ),
        lines(
            "Commits",
            "ops",
            "Of turns and pages.",
            (rate("lckv_cache_commits_total", "outcome", NODE) + " > 0", "{{outcome}}"),
            stacked=True,
        ),
        lines(
            "Sync time",
            "s",
            "From a commit's write to the end of the group's fsync.",
            *quantiles("lckv_cache_sync_seconds", "", NODE),
            width=12,
        ),
        lines(
            "Checksum failures",
            "ops",
            "Where they were noticed.",
            (rate("lckv_cache_checksum_failures_total", "at", NODE), "{{at}}"),
            width=12,
        ),
    ]
    return board(
        "lckv-cache-node",
        "lckv / Cache node",
        "What keeps the sessions.",
        [("Tiers", kept), ("Transport", moved), ("Calls", calls)],
        [instances("node", "Cache node", "lckv_cache_sessions")],
    )


def saturation():
    limits = [
        lines(
            "Gateway turns",
            "percentunit",
            "Share of the turns that a gateway lets in.",
            ("(lckv_gateway_running_turns + lckv_gateway_waiting_turns) / lckv_gateway_turn_capacity", "{{instance}}"),
            share=True,
        ),
        lines(
            "Worker turns",
            "percentunit",
            "Share of the turns that a worker runs at once.",
            ("lckv_worker_running_turns / lckv_worker_turn_capacity", "{{instance}}"),
            share=True,
        ),
        lines(
            "KV pool",
            "percentunit",
            "Share in use. Full is good, unless sessions are evicted by pressure.",
            ("lckv_worker_kv_used_pages / lckv_worker_kv_capacity_pages", "{{instance}}"),
            share=True,
        ),
        lines(
            "Cache node memory",
            "percentunit",
            "Share of the arena in use. Full is normal.",
            (
                'sum by (instance) (lckv_cache_bytes{tier="memory"}) / sum by (instance) (lckv_cache_capacity_bytes)',
                "{{instance}}",
            ),
            share=True,
        ),
        lines(
            "Cache node file system",
            "percentunit",
            "Share in use.",
            ("1 - lckv_cache_filesystem_free_bytes / lckv_cache_filesystem_size_bytes", "{{instance}}"),
            share=True,
        ),
        lines(
            "Cache node sessions",
            "percentunit",
            "Share of the sessions that may be stored.",
            ("lckv_cache_sessions / lckv_cache_session_capacity", "{{instance}}"),
            share=True,
        ),
    ]
    pressure = [
        lines(
            "Waiting turns", "none", "In the workers; autoscale on it.", ("lckv_worker_waiting_turns", "{{instance}}")
        ),
        lines("Queue wait", "s", "Before a turn's first step.", *quantiles("lckv_worker_queue_wait_seconds")),
        lines(
            "Refused",
            "reqps",
            "Calls that the gateways did not let in, turns that workers refused.",
            (rate("lckv_gateway_admission_rejects_total", "reason"), "gateway {{reason}}"),
            (rate("lckv_worker_turns_total", "", '{outcome="RESOURCE_EXHAUSTED"}'), "worker"),
        ),
    ]
    machine = [
        lines(
            "CPU",
            "none",
            "Cores in use.",
            ("rate(process_cpu_seconds_total" + OURS + "[$__rate_interval])", "{{job}} {{instance}}"),
        ),
        lines("Memory", "bytes", "In RAM.", ("process_resident_memory_bytes" + OURS + "", "{{job}} {{instance}}")),
        lines(
            "File descriptors",
            "percentunit",
            "Share of the limit.",
            ("process_open_fds" + OURS + " / process_max_fds" + OURS + "", "{{job}} {{instance}}"),
            share=True,
        ),
        lines(
            "Worker look-ups that failed",
            "ops",
            "Of the name in --worker-service.",
            (rate("lckv_gateway_worker_lookup_failures_total"), "failed"),
            width=12,
        ),
        lines(
            "Trace spans",
            "ops",
            "By what became of them.",
            (rate("lckv_trace_spans_total", "outcome"), "{{outcome}}"),
            width=12,
        ),
        lines(
            "Certificates are valid for",
            "s",
            "The time that is left to the first that expires; 0: none in use, or expired.",
            (
                "min by (use) (clamp_min((lckv_tls_certificate_expiry_timestamp_seconds > 0) - time(), 0))"
                " or max by (use) (lckv_tls_certificate_expiry_timestamp_seconds)",
                "{{use}}",
            ),
        ),
        lines(
            "API keys",
            "none",
            "That a gateway knows; 0: it asks for none.",
            ("max(lckv_gateway_api_keys)", "keys"),
        ),
        lines(
            "Keys and certificates read again",
            "ops",
            "Because their files changed.",
            (rate("lckv_tls_loads_total", "outcome"), "certificates, {{outcome}}"),
            (rate("lckv_gateway_api_key_loads_total", "outcome"), "keys, {{outcome}}"),
        ),
    ]
    return board(
        "lckv-saturation",
        "lckv / Saturation",
        "How near each limit is.",
        [("Limits", limits), ("Pressure", pressure), ("Processes", machine)],
    )
