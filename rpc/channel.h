#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/server_builder.h>

#include <memory>
#include <string>

namespace lckv {

// The largest message that any of our services accepts. A manifest of 2^20 tokens with its pages
// and extents is the largest that is sent: 5 bytes a token at most, about 100 bytes a page of 16
// tokens.
inline constexpr int kMaxMessageBytes = 16 << 20;

// How a channel talks; as it is: in plain text.
struct ChannelSecurity {
  std::shared_ptr<grpc::ChannelCredentials> credentials;  // null: plain text
  // Not empty: the name that is asked for, and verified, instead of the address's host.
  std::string server_name;
};

// A channel to `address` (host:port). It connects when it is first used. Keepalive: a ping after 30
// s of silence while calls are running, dead after 10 s without an answer. Reconnects after 0.1 s,
// then at most every 2 s, looking the name up anew, at most every second. Compressed messages are
// refused (a small one can unpack to a large one). Channels share no connection with others of the
// same address.
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address,
                                           const ChannelSecurity& security = {});

// The server's half of the same settings.
void ApplyServerSettings(grpc::ServerBuilder& builder);

}  // namespace lckv
