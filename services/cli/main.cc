// The `lckv` tool: its services and the commands around them (design section 11).

#include <CLI/CLI.hpp>
#include <iostream>

#include "services/cli/command.h"

namespace {

constexpr lckv::AddCommand kCommands[] = {
    lckv::AddUp,      lckv::AddChat,    lckv::AddSessions, lckv::AddTokenize,
    lckv::AddInspect, lckv::AddGateway, lckv::AddWorker,   lckv::AddCacheNode,
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App tool("Serves layer-condensed-KV language models whose conversations outlive workers.",
                "lckv");
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
