#include "services/worker/worker_core.h"

#include <utility>

namespace lckv::worker {
namespace {

TurnRunnerOptions WithWorkerId(TurnRunnerOptions options, const std::string& worker_id) {
  options.worker_id = worker_id;
  return options;
}

}  // namespace

WorkerCore::WorkerCore(const Parts& parts, const WorkerCoreOptions& options)
    : store(options.store, parts.clock, parts.listener),
      sync(parts.engine, parts.cache, options.sync, parts.clock, parts.metrics),
      push(parts.engine, parts.cache, &sync, parts.metrics),
      push_queue(&push, options.push_threads, options.store.capacity),
      evictor(parts.engine, &store, &sync, &push, &push_queue, parts.clock, parts.metrics),
      opener(parts.engine, parts.cache, &sync, &evictor, options.opener, parts.clock,
             parts.metrics),
      inputs(parts.tokenizer, parts.chat_template,
             std::vector<int32_t>(parts.engine->config().eos_tokens.begin(),
                                  parts.engine->config().eos_tokens.end())),
      runner(MakeTurnParts(parts), WithWorkerId(options.turns, options.sync.worker_id)),
      lease_keeper(&store, &sync, &evictor, options.leases, parts.clock) {}

TurnParts WorkerCore::MakeTurnParts(const Parts& parts) {
  TurnParts turn_parts;
  turn_parts.engine = parts.engine;
  turn_parts.tokenizer = parts.tokenizer;
  turn_parts.inputs = &inputs;
  turn_parts.store = &store;
  turn_parts.sync = &sync;
  turn_parts.push = &push;
  turn_parts.push_queue = &push_queue;
  turn_parts.evictor = &evictor;
  turn_parts.opener = &opener;
  turn_parts.clock = parts.clock;
  turn_parts.metrics = parts.metrics;
  return turn_parts;
}

}  // namespace lckv::worker
