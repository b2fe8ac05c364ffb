// A follower's stream to the daemon that leads its site.
#ifndef ISTHMUS_WORKER_RPC_SITE_CLIENT_H_
#define ISTHMUS_WORKER_RPC_SITE_CLIENT_H_

#include <absl/status/status.h>

#include <functional>
#include <memory>
#include <string>

#include "common/transport/credentials.h"
#include "isthmus/v1/site.pb.h"

namespace isthmus {

// Thread-safe, but Follow() is called by one thread, and once.
class SiteClient {
 public:
  static std::shared_ptr<SiteClient> Make(const std::string& leader,
                                          const Credentials& credentials);
  virtual ~SiteClient() = default;

  // Joins and reads until the stream ends: each message goes to `handle`, whose error ends it.
  // Returns why it ended: OK if the leader said so.
  virtual absl::Status Follow(
      const v1::Join& join,
      const std::function<absl::Status(v1::LeaderMessage& message)>& handle) = 0;

  // Returns at once; in order. Does nothing before Follow() and after it.
  virtual void Send(std::function<void(v1::FollowerMessage*)> fill) = 0;

  // Ends Follow() with CANCELLED, now or as soon as it begins.
  virtual void Cancel() = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_RPC_SITE_CLIENT_H_
