#include "cli/link/link_connection.h"

#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/write.hpp>
#include <system_error>
#include <utility>

namespace isthmus {
namespace {

using Tcp = asio::ip::tcp;

}  // namespace

LinkConnection::LinkConnection(Tcp::socket client, std::shared_ptr<LinkLane> up,
                               std::shared_ptr<LinkLane> down, std::function<void()> on_closed)
    : client_(std::move(client)),
      server_(client_.get_executor()),
      up_lane_(std::move(up)),
      down_lane_(std::move(down)),
      on_closed_(std::move(on_closed)),
      up_{.from = client_, .to = server_, .lane = *up_lane_},
      down_{.from = server_, .to = client_, .lane = *down_lane_} {}

void LinkConnection::Start(const Tcp::endpoint& target) {
  std::error_code ignored;
  client_.set_option(Tcp::no_delay(true), ignored);
  server_.open(target.protocol(), ignored);
  server_.set_option(Tcp::no_delay(true), ignored);
  // Before connecting, because the receive buffer bounds the window that is offered. The client's
  // socket has its receive buffer from the listener.
  if (const int bytes = up_lane_->socket_buffer_bytes(); bytes > 0) {
    server_.set_option(Tcp::socket::send_buffer_size(bytes), ignored);
  }
  if (const int bytes = down_lane_->socket_buffer_bytes(); bytes > 0) {
    client_.set_option(Tcp::socket::send_buffer_size(bytes), ignored);
    server_.set_option(Tcp::socket::receive_buffer_size(bytes), ignored);
  }
  client_.non_blocking(true, ignored);
  server_.async_connect(target, [self = shared_from_this()](std::error_code error) {
    if (self->closed_) return;
    if (error) return self->Abort();
    self->server_.non_blocking(true, error);
    self->WaitReadable(self->up_);
    self->WaitReadable(self->down_);
  });
}

void LinkConnection::WaitReadable(Half& half) {
  half.from.async_wait(Tcp::socket::wait_read,
                       [self = shared_from_this(), &half](std::error_code error) {
                         if (self->closed_) return;
                         if (error) return self->Abort();
                         half.lane.WhenRoom([self, &half] { self->ReadPacket(half); });
                       });
}

void LinkConnection::ReadPacket(Half& half) {
  if (closed_) return;
  std::string data(static_cast<size_t>(half.lane.shaper().packet_bytes()), '\0');
  std::error_code error;
  const size_t size = half.from.read_some(asio::buffer(data), error);
  if (error == asio::error::would_block) return WaitReadable(half);
  if (error && error != asio::error::eof) return Abort();
  if (error == asio::error::eof) {
    half.lane.Send(0, [self = shared_from_this(), &half] {
      if (self->closed_) return;
      half.end_arrived = true;
      if (!half.writing) self->WriteArrived(half);
    });
    return;
  }
  data.resize(size);
  data.shrink_to_fit();
  half.bytes_under_way += static_cast<int64_t>(size);
  half.lane.Send(static_cast<int64_t>(size),
                 [self = shared_from_this(), &half, data = std::move(data)]() mutable {
                   if (self->closed_) return;
                   half.arrived.push_back(std::move(data));
                   if (!half.writing) self->WriteArrived(half);
                 });
  if (half.bytes_under_way < half.lane.shaper().window_bytes()) return WaitReadable(half);
  half.paused = true;
}

void LinkConnection::WriteArrived(Half& half) {
  if (half.arrived.empty()) {
    if (half.end_arrived) Finish(half);
    return;
  }
  half.writing = true;
  asio::async_write(half.to, asio::buffer(half.arrived.front()),
                    [self = shared_from_this(), &half](std::error_code error, size_t size) {
                      if (self->closed_) return;
                      if (error) return self->Abort();
                      half.writing = false;
                      half.arrived.pop_front();
                      half.bytes_under_way -= static_cast<int64_t>(size);
                      if (half.paused) {
                        half.paused = false;
                        self->WaitReadable(half);
                      }
                      self->WriteArrived(half);
                    });
}

void LinkConnection::Finish(Half& half) {
  half.done = true;
  std::error_code ignored;
  half.to.shutdown(Tcp::socket::shutdown_send, ignored);
  if (up_.done && down_.done) Close(/*reset=*/false);
}

void LinkConnection::Abort() { Close(/*reset=*/true); }

void LinkConnection::Close(bool reset) {
  if (closed_) return;
  closed_ = true;
  std::error_code ignored;
  for (Tcp::socket* socket : {&client_, &server_}) {
    // Closing with a linger time of 0 sends RST: the other end learns of it at once.
    if (reset) socket->set_option(Tcp::socket::linger(true, 0), ignored);
    socket->close(ignored);
  }
  on_closed_();
}

}  // namespace isthmus
