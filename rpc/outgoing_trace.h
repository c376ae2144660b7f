#pragma once

#include <grpcpp/client_context.h>

#include <string>

namespace lckv {

// The place in a distributed trace on whose behalf this thread works, as a W3C "traceparent": while
// this lives, AddOutgoingTrace sends it with calls that the same thread makes. It spares the
// interfaces between a trace and a call (CacheClient, PageTransport: all of them block) a parameter
// that means nothing to them. The innermost counts; they end in the opposite order of their
// beginning.
class OutgoingTrace {
 public:
  // "": calls are sent without one.
  explicit OutgoingTrace(std::string traceparent);
  ~OutgoingTrace();
  OutgoingTrace(const OutgoingTrace&) = delete;
  OutgoingTrace& operator=(const OutgoingTrace&) = delete;

  const std::string& traceparent() const { return traceparent_; }

 private:
  const std::string traceparent_;
  const OutgoingTrace* const outer_;
};

// Once for each call, before it starts.
void AddOutgoingTrace(grpc::ClientContext& context);

}  // namespace lckv
