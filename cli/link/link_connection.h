// One forwarded TCP connection: two sockets and, for each direction, what is on its way.
#ifndef ISTHMUS_CLI_LINK_LINK_CONNECTION_H_
#define ISTHMUS_CLI_LINK_LINK_CONNECTION_H_

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "cli/link/link_lane.h"

namespace isthmus {

// Used on the io_context's thread only. Owned by a shared_ptr because pending socket operations
// keep it. Reads only while the link's queue has room and no more than a window of bytes is under
// way, so a slow link or reader pushes back through TCP. Half-closes travel the link like bytes.
class LinkConnection : public std::enable_shared_from_this<LinkConnection> {
 public:
  // `on_closed` runs once, also after Abort().
  LinkConnection(asio::ip::tcp::socket client, std::shared_ptr<LinkLane> up,
                 std::shared_ptr<LinkLane> down, std::function<void()> on_closed);

  // Connects to `target` and forwards; a target that refuses resets the client.
  void Start(const asio::ip::tcp::endpoint& target);
  // Resets both sides.
  void Abort();

 private:
  struct Half {
    asio::ip::tcp::socket& from;
    asio::ip::tcp::socket& to;
    LinkLane& lane;
    std::deque<std::string> arrived;  // to be written to `to`
    int64_t bytes_under_way = 0;      // read from `from`, not yet written to `to`
    bool paused = false;              // the window is full
    bool writing = false;
    bool end_arrived = false;
    bool done = false;
  };

  void WaitReadable(Half& half);
  void ReadPacket(Half& half);
  void WriteArrived(Half& half);
  void Finish(Half& half);
  void Close(bool reset);

  asio::ip::tcp::socket client_;
  asio::ip::tcp::socket server_;
  const std::shared_ptr<LinkLane> up_lane_;
  const std::shared_ptr<LinkLane> down_lane_;
  std::function<void()> on_closed_;
  Half up_;
  Half down_;
  bool closed_ = false;
};

}  // namespace isthmus

#endif  // ISTHMUS_CLI_LINK_LINK_CONNECTION_H_
