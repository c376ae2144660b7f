#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "cache/client/cache_client.h"
#include "engine/runtime/engine.h"
#include "engine/tokenizer/chat_template.h"
#include "engine/tokenizer/tokenizer.h"
#include "services/worker/cache_sync.h"
#include "services/worker/evictor.h"
#include "services/worker/lease_keeper.h"
#include "services/worker/page_push.h"
#include "services/worker/push_queue.h"
#include "services/worker/session_opener.h"
#include "services/worker/session_store.h"
#include "services/worker/turn_input.h"
#include "services/worker/turn_runner.h"
#include "services/worker/worker_metrics.h"

namespace lckv::worker {

struct WorkerCoreOptions {
  SessionStore::Options store;
  CacheSyncOptions sync;  // its worker_id is the turns' too
  SessionOpener::Options opener;
  TurnRunnerOptions turns;
  LeaseKeeper::Options leases;
  int push_threads = 2;
};

// A worker without its network and its threads: engine and cache node joined to sessions and turns.
// Members are public and in dependency order; each says for itself which threads may call it.
class WorkerCore {
 public:
  // What the core runs on; outlives it.
  struct Parts {
    Engine* engine = nullptr;
    const Tokenizer* tokenizer = nullptr;
    const ChatTemplate* chat_template = nullptr;  // null: the model has none
    CacheClient* cache = nullptr;
    HotSessionListener* listener = nullptr;  // may be null
    Clock* clock = nullptr;
    WorkerMetrics* metrics = nullptr;
  };
  WorkerCore(const Parts& parts, const WorkerCoreOptions& options);

 private:
  TurnParts MakeTurnParts(const Parts& parts);

 public:
  SessionStore store;
  CacheSync sync;
  PagePush push;
  PushQueue push_queue;
  Evictor evictor;
  SessionOpener opener;
  TurnInputs inputs;
  TurnRunner runner;
  LeaseKeeper lease_keeper;
};

}  // namespace lckv::worker
