// The `lckv` tool: the services and the commands around them (design section 11).

#include <CLI/CLI.hpp>
#include <cstring>
#include <iostream>

#include "services/cache_node/cache_node.h"
#include "services/cli/command.h"
#include "services/gateway/gateway.h"
#include "services/worker/worker.h"

namespace {

constexpr lckv::AddCommand kCommands[] = {
    lckv::AddUp,      lckv::AddChat,   lckv::AddSessions, lckv::AddTokenize,
    lckv::AddInspect, lckv::AddLogits, lckv::AddPpl,      lckv::AddBench,
    lckv::AddPlan,    lckv::AddHealth, lckv::AddMetrics,  lckv::AddApiKey,
};

// Services read their own flags.
constexpr struct {
  const char* name;
  const char* help;
  int (*run)(int argc, char** argv);
} kServices[] = {
    {"gateway", "The public API: routes sessions to workers", lckv::gateway::RunGateway},
    {"worker", "Runs the model", lckv::worker::RunWorker},
    {"cache-node", "Keeps every session and its KV", lckv::RunCacheNode},
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App tool("Serves layer-condensed-KV language models whose conversations outlive workers.",
                "lckv");
  for (const auto& service : kServices) {
    if (argc > 1 && std::strcmp(argv[1], service.name) == 0) return service.run(argc - 1, argv + 1);
    tool.add_subcommand(service.name, service.help);
  }
  tool.require_subcommand(1);
  lckv::Action chosen;
  for (lckv::AddCommand add : kCommands) add(tool, chosen);
  CLI11_PARSE(tool, argc, argv);
  if (absl::Status status = chosen(); !status.ok()) {
    std::cerr << "lckv: " << status << "\n";
    return 1;
  }
  return 0;
}
