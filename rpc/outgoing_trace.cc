#include "rpc/outgoing_trace.h"

#include <utility>

namespace lckv {
namespace {

thread_local const OutgoingTrace* innermost = nullptr;

}  // namespace

OutgoingTrace::OutgoingTrace(std::string traceparent)
    : traceparent_(std::move(traceparent)), outer_(std::exchange(innermost, this)) {}

OutgoingTrace::~OutgoingTrace() { innermost = outer_; }

void AddOutgoingTrace(grpc::ClientContext& context) {
  if (innermost == nullptr || innermost->traceparent().empty()) return;
  context.AddMetadata("traceparent", innermost->traceparent());
}

}  // namespace lckv
