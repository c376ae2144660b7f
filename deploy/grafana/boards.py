"""Our dashboards: which panels, with which queries. The metrics are in docs/metrics.md."""

from machine_boards import cache_node, engine, saturation
from panels import board, lines, number, quantiles, rate, share

TURNS = 'method=~"Generate|Chat"'
GOOD_SHARE = [(None, "red"), (0.99, "orange"), (0.999, "green")]


def overview():
    top = [
        number(
            "Availability",
            "percentunit",
            "Turns that did not fail through the system's fault, last hour. Objective: 99.9 %.",
            "1 - namespace:lckv_turn_errors:ratio_rate1h >= 0",
            GOOD_SHARE,
            decimals=3,
            nothing="no turns",
        ),
        number(
            "First token in time",
            "percentunit",
            "Turns whose first token came within 2.5 s, last hour. Objective: 95 %.",
            "1 - namespace:lckv_slow_first_tokens:ratio_rate1h >= 0",
            [(None, "red"), (0.95, "green")],
            decimals=2,
            nothing="no turns",
        ),
        number(
            "Tokens in time",
            "percentunit",
            "Tokens that came within 0.2 s of the one before, last hour. Objective: 99 %.",
            "1 - namespace:lckv_slow_tokens:ratio_rate1h >= 0",
            [(None, "red"), (0.99, "green")],
            decimals=2,
            nothing="no turns",
        ),
        number(
            "Workers ready",
            "none",
            "As the gateways see them.",
            'sum(max by (namespace) (lckv_gateway_workers{state="ready"}))',
            [(None, "red"), (1, "green")],
        ),
        number(
            "Turns in progress",
            "none",
            "Streaming, or waiting for their first token.",
            "sum(lckv_gateway_running_turns) + sum(lckv_gateway_waiting_turns)",
        ),
        number("Sessions kept", "none", "In the cache nodes, hot or cold.", "sum(lckv_cache_sessions)"),
    ]
    service = [
        lines(
            "Time to first token",
            "s",
            "From a turn's arrival at the gateway to its first token.",
            *quantiles("lckv_gateway_time_to_first_token_seconds"),
        ),
        lines(
            "Inter-token latency",
            "s",
            "Between two tokens of a turn, at the gateway.",
            *quantiles("lckv_gateway_inter_token_latency_seconds"),
        ),
        lines(
            "Turn duration", "s", "From a turn's arrival to its end.", *quantiles("lckv_gateway_turn_duration_seconds")
        ),
        lines(
            "Turns by status",
            "reqps",
            "Turns that ended.",
            (rate("lckv_gateway_requests_total", "code", "{" + TURNS + "}") + " > 0", "{{code}}"),
            stacked=True,
        ),
        lines(
            "Failed turns",
            "percentunit",
            "Share of turns that failed through the system's fault, and of calls refused.",
            ("namespace:lckv_turn_errors:ratio_rate5m", "failed {{namespace}}"),
            (share(rate("lckv_gateway_admission_rejects_total"), rate("lckv_gateway_requests_total")), "refused"),
        ),
        lines(
            "Error budget burn",
            "none",
            "1: the month's budget of failed turns lasts exactly a month.",
            ("namespace:lckv_turn_errors:ratio_rate5m / 0.001", "5 minutes {{namespace}}"),
            ("namespace:lckv_turn_errors:ratio_rate1h / 0.001", "1 hour {{namespace}}"),
        ),
    ]
    work = [
        lines(
            "Tokens",
            "none",
            "Tokens per second.",
            (rate("lckv_worker_input_tokens_total"), "input"),
            (rate("lckv_gateway_generated_tokens_total"), "generated"),
            (rate("lckv_worker_reencoded_tokens_total"), "computed again"),
        ),
        lines(
            "Turns waiting and running",
            "none",
            "In the workers.",
            ("sum(lckv_worker_running_turns)", "running"),
            ("sum(lckv_worker_waiting_turns)", "waiting"),
        ),
        lines(
            "Workers",
            "none",
            "By state, as the gateways see them.",
            ("sum by (state) (max by (namespace, state) (lckv_gateway_workers))", "{{state}}"),
            stacked=True,
        ),
    ]
    return board(
        "lckv-overview",
        "lckv / Overview",
        "Are conversations served well?",
        [("Objectives", top), ("Service", service), ("Work", work)],
    )


def sessions():
    where = [
        lines(
            "Sessions by place",
            "none",
            "Hot: in a worker. Cold: in the cache nodes only.",
            ('sum(lckv_worker_sessions{state!="restoring"})', "hot"),
            ('sum(lckv_worker_sessions{state="restoring"})', "restoring"),
            ("clamp_min(sum(lckv_cache_sessions) - sum(lckv_worker_sessions), 0)", "cold"),
            stacked=True,
            width=6,
        ),
        lines(
            "Hot sessions by state",
            "none",
            "In the workers.",
            ("sum by (state) (lckv_worker_sessions)", "{{state}}"),
            stacked=True,
            width=6,
        ),
        lines(
            "Not pushed yet",
            "none",
            "Idle sessions whose newest KV only their worker has: computed again if it died now.",
            ("lckv_worker_unpushed_sessions", "{{instance}}"),
            width=6,
        ),
        lines(
            "Evictions",
            "ops",
            "Sessions that left a worker, by reason.",
            (rate("lckv_worker_evictions_total", "reason"), "{{reason}}"),
            stacked=True,
            width=6,
        ),
    ]
    back = [
        lines(
            "Restores",
            "ops",
            "Sessions that came back to a worker, by outcome.",
            (rate("lckv_worker_restore_seconds_count", "outcome"), "{{outcome}}"),
            stacked=True,
        ),
        lines("Restore time", "s", "From the lease to the last page.", *quantiles("lckv_worker_restore_seconds")),
        lines(
            "KV bytes",
            "Bps",
            "That came back, and that were pushed.",
            (rate("lckv_worker_restored_bytes_total", "source"), "from {{source}}"),
            (rate("lckv_worker_pushed_bytes_total"), "pushed"),
        ),
        lines(
            "Tokens computed again",
            "none",
            "A second, by reason; all of them are KV that was lost.",
            (rate("lckv_worker_reencoded_tokens_total", "reason"), "{{reason}}"),
            stacked=True,
        ),
        lines(
            "KV that was there",
            "percentunit",
            "Share of transcript tokens whose KV needed no computing when their turn began.",
            (
                share(
                    rate("lckv_worker_cached_tokens_total"),
                    "("
                    + rate("lckv_worker_cached_tokens_total")
                    + " + "
                    + rate("lckv_worker_reencoded_tokens_total")
                    + ")",
                ),
                "share",
            ),
            share=True,
        ),
        lines(
            "Pushes",
            "ops",
            "Pages sent to the cache nodes.",
            (rate("lckv_worker_push_seconds_count"), "done"),
            (rate("lckv_worker_push_failures_total"), "failed"),
        ),
    ]
    moves = [
        lines(
            "Streams continued elsewhere",
            "ops",
            "Turns that went on on another worker.",
            (rate("lckv_gateway_continuations_total"), "continued"),
            width=6,
        ),
        lines(
            "Drains",
            "none",
            "Sessions that draining workers have still to hand over.",
            ("lckv_worker_drain_remaining_sessions", "{{instance}}"),
            width=6,
        ),
        lines(
            "Lease conflicts",
            "ops",
            "Two workers wanted one session.",
            (rate("lckv_worker_lease_conflicts_total"), "worker"),
            (rate("lckv_cache_lease_conflicts_total"), "cache node"),
            width=6,
        ),
        lines(
            "Damage",
            "ops",
            "Pages with wrong checksums, sessions of another model.",
            (rate("lckv_worker_checksum_failures_total"), "checksum, restored"),
            (rate("lckv_cache_checksum_failures_total", "at"), "checksum, {{at}}"),
            (rate("lckv_worker_fingerprint_mismatches_total"), "fingerprint"),
            width=6,
        ),
    ]
    return board(
        "lckv-sessions",
        "lckv / Sessions",
        "Where the sessions are, and what moving them costs.",
        [("Where they are", where), ("Coming back", back), ("Moving", moves)],
    )


BOARDS = {
    "overview": overview,
    "sessions": sessions,
    "engine": engine,
    "cache-node": cache_node,
    "saturation": saturation,
}
