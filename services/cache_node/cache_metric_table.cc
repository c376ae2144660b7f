#include "services/cache_node/cache_metric_table.h"

namespace lckv {
namespace {

constexpr absl::string_view kMethods[] = {"Acquire", "Renew",      "Reserve",   "Commit",
                                          "Release", "Touch",      "Delete",    "Stat",
                                          "List",    "WritePages", "ReadPages", "other"};
// An error's reason where it has one, else its code.
constexpr absl::string_view kOutcomes[] = {"ok",
                                           "lease_held",
                                           "stale_epoch",
                                           "version_conflict",
                                           "session_busy",
                                           "queue_full",
                                           "invalid_field",
                                           "cancelled",
                                           "unknown",
                                           "invalid_argument",
                                           "deadline_exceeded",
                                           "not_found",
                                           "already_exists",
                                           "resource_exhausted",
                                           "failed_precondition",
                                           "aborted",
                                           "out_of_range",
                                           "unimplemented",
                                           "internal",
                                           "unavailable",
                                           "data_loss",
                                           "other"};
constexpr absl::string_view kChecksumSites[] = {"commit", "load"};
constexpr absl::string_view kTiers[] = {"memory", "storage"};
constexpr absl::string_view kDirections[] = {"in", "out"};

// From a fast disk's flush to one that is in trouble.
constexpr double kSyncBuckets[] = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
                                   0.025,  0.05,    0.1,    0.25,  1,      5};

constexpr MetricDescriptor kTable[] = {
    {.name = "lckv_cache_calls_total",
     .type = MetricType::kCounter,
     .unit = "calls",
     .help = "Calls of the Cache service that ended, by method and outcome.",
     .when_bad = "internal, data_loss or unavailable: the store or its disk; read the log. "
                 "resource_exhausted, queue_full: the node is too slow or too small.",
     .labels = {{{"method", kMethods}, {"outcome", kOutcomes}}}},
    {.name = "lckv_cache_commits_total",
     .type = MetricType::kCounter,
     .unit = "commits",
     .help = "Commits of turns and pages, by outcome.",
     .when_bad = "stale_epoch: a worker that was given up for dead went on; nothing is lost. "
                 "Others than ok that grow: turns are not acknowledged.",
     .labels = {{{"outcome", kOutcomes}}}},
    {.name = "lckv_cache_sync_seconds",
     .type = MetricType::kHistogram,
     .unit = "seconds",
     .help = "Synced commits: from the write to the end of the group's fsync.",
     .when_bad = "Above 0.1 s: the disk is slow, and every durable turn's end waits for it.",
     .buckets = kSyncBuckets},
    {.name = "lckv_cache_checksum_failures_total",
     .type = MetricType::kCounter,
     .unit = "pages",
     .help = "Pages that differ from their checksum, by where it was noticed: at a commit, "
             "or loaded from storage.",
     .when_bad = "load: the disk; check it, replace it. commit: a worker's memory or the "
                 "network.",
     .labels = {{{"at", kChecksumSites}}}},
    {.name = "lckv_cache_lease_conflicts_total",
     .type = MetricType::kCounter,
     .unit = "conflicts",
     .help = "Refusals because of a held lease or a stale epoch.",
     .when_bad = "As lckv_worker_lease_conflicts_total."},
    {.name = "lckv_cache_evictions_total",
     .type = MetricType::kCounter,
     .unit = "pages",
     .help = "Pages evicted from the memory tier.",
     .when_bad = "Fast growth with lookups in storage: the arena is too small; raise "
                 "--arena-bytes."},
    {.name = "lckv_cache_evicted_bytes_total",
     .type = MetricType::kCounter,
     .unit = "bytes",
     .help = "Bytes evicted from the memory tier.",
     .when_bad = "As lckv_cache_evictions_total."},
    {.name = "lckv_cache_page_lookups_total",
     .type = MetricType::kCounter,
     .unit = "pages",
     .help = "Pages that workers wanted, by the tier that had them.",
     .when_bad = "Much from storage: restores wait for the disk. Raise --arena-bytes.",
     .labels = {{{"tier", kTiers}}}},
    {.name = "lckv_cache_transport_bytes_total",
     .type = MetricType::kCounter,
     .unit = "bytes",
     .help = "Page bytes moved, in (from workers) and out (to them).",
     .when_bad = "Near the network's bandwidth: see lckv_worker_restored_bytes_total.",
     .labels = {{{"direction", kDirections}}}},
    {.name = "lckv_cache_transport_seconds",
     .type = MetricType::kHistogram,
     .unit = "seconds",
     .help = "Page streams from first to last byte.",
     .when_bad = "Bytes divided by seconds far below the network's bandwidth: the node's CPU or "
                 "the network.",
     .labels = {{{"direction", kDirections}}},
     .buckets = kDurationBuckets},
    {.name = "lckv_cache_bytes",
     .unit = "bytes",
     .help = "Bytes in use, by tier.",
     .when_bad = "storage near the volume's size: see lckv_cache_filesystem_free_bytes.",
     .labels = {{{"tier", kTiers}}}},
    {.name = "lckv_cache_capacity_bytes",
     .unit = "bytes",
     .help = "Size of the memory tier.",
     .when_bad = "Never by itself; a full memory tier is normal."},
    {.name = "lckv_cache_filesystem_free_bytes",
     .unit = "bytes",
     .help = "Free bytes of the file system with the sessions; 0 for a node that stores in "
             "memory.",
     .when_bad = "Below a tenth of its size: enlarge the volume or close old sessions. At 0 no "
                 "turn is acknowledged."},
    {.name = "lckv_cache_filesystem_size_bytes",
     .unit = "bytes",
     .help = "Size of the file system with the sessions; 0 for a node that stores in memory.",
     .when_bad = "Never by itself."},
    {.name = "lckv_cache_sessions",
     .unit = "sessions",
     .help = "Sessions stored.",
     .when_bad = "Near lckv_cache_session_capacity: new sessions are refused. Close old ones or "
                 "raise --max-sessions."},
    {.name = "lckv_cache_session_capacity",
     .unit = "sessions",
     .help = "Sessions that may be stored.",
     .when_bad = "Never by itself; compare sessions with it."},
    {.name = "lckv_cache_reservations",
     .unit = "reservations",
     .help = "Reservations open: pages being pushed.",
     .when_bad = "Hundreds that stay: workers die while they push."},
    {.name = "lckv_cache_read_leases",
     .unit = "leases",
     .help = "Read leases open: sessions being restored.",
     .when_bad = "Hundreds that stay: restores hang; their pages cannot be evicted."},
};

}  // namespace

MetricTable CacheMetricTable() { return kTable; }

}  // namespace lckv
