#include "cli/link/forwarder.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/string_view.h>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <future>
#include <map>
#include <system_error>
#include <thread>
#include <utility>

#include "cli/link/link_connection.h"
#include "cli/link/link_lane.h"
#include "common/base/host_port.h"
#include "common/base/status_macros.h"

namespace isthmus {
namespace {

using Tcp = asio::ip::tcp;

constexpr size_t kMaxConnections = 256;
constexpr std::chrono::milliseconds kAcceptRetry{100};

absl::StatusOr<Tcp::endpoint> Resolve(asio::io_context& context, absl::string_view address) {
  ISTHMUS_ASSIGN_OR_RETURN(const HostPort parts, ParseHostPort(address));
  std::error_code error;
  const auto results = Tcp::resolver(context).resolve(parts.host, std::to_string(parts.port),
                                                      Tcp::resolver::numeric_service, error);
  if (error || results.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot resolve '", address, "': ", error.message()));
  }
  return results.begin()->endpoint();
}

}  // namespace

struct LinkLoop::Impl {
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work = asio::make_work_guard(context);
  std::thread thread;
};

LinkLoop::LinkLoop() : impl_(std::make_unique<Impl>()) {
  impl_->thread = std::thread([this] { impl_->context.run(); });
}

LinkLoop::~LinkLoop() {
  impl_->context.stop();
  impl_->thread.join();
}

// All but the constructor and address() runs on the loop's thread.
struct Forwarder::Impl : std::enable_shared_from_this<Forwarder::Impl> {
  Impl(asio::io_context& io, const LinkSpec& link)
      : context(io),
        acceptor(io),
        retry(io),
        up(std::make_shared<LinkLane>(io, link.up_bits_per_second, link.delay)),
        down(std::make_shared<LinkLane>(io, link.down_bits_per_second, link.delay)) {}

  absl::Status Listen(const Tcp::endpoint& endpoint) {
    std::error_code error;
    acceptor.open(endpoint.protocol(), error);
    if (!error) acceptor.set_option(Tcp::acceptor::reuse_address(true), error);
    // Accepted sockets inherit it, and it must be there before the handshake to bound the window.
    if (const int bytes = up->socket_buffer_bytes(); !error && bytes > 0) {
      acceptor.set_option(Tcp::socket::receive_buffer_size(bytes), error);
    }
    if (!error) acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(Tcp::acceptor::max_listen_connections, error);
    const Tcp::endpoint bound = error ? endpoint : acceptor.local_endpoint(error);
    const std::string host = bound.address().to_string();
    address = absl::StrCat(bound.address().is_v6() ? "[" + host + "]" : host, ":", bound.port());
    if (!error) return absl::OkStatus();
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", address, ": ", error.message()));
  }

  void Accept() {
    acceptor.async_accept([self = shared_from_this()](std::error_code error, Tcp::socket client) {
      if (self->stopped) return;
      if (!error) {
        self->Admit(std::move(client));
        return self->Accept();
      }
      // Out of file descriptors, most likely: better later than in a busy loop.
      self->retry.expires_after(kAcceptRetry);
      self->retry.async_wait([self](std::error_code) {
        if (!self->stopped) self->Accept();
      });
    });
  }

  void Admit(Tcp::socket client) {
    if (cut || connections.size() >= kMaxConnections) {
      std::error_code ignored;
      client.set_option(Tcp::socket::linger(true, 0), ignored);
      // Explicitly: asio's destructor would take the linger option back.
      client.close(ignored);
      return;
    }
    const uint64_t id = next_id++;
    auto on_closed = [weak = weak_from_this(), id] {
      if (const auto self = weak.lock()) self->connections.erase(id);
    };
    auto connection = std::make_shared<LinkConnection>(std::move(client), up, down, on_closed);
    connections[id] = connection;
    connection->Start(target);
  }

  void DropAll() {
    // Aborting erases from `connections`.
    for (const auto& [id, connection] : std::exchange(connections, {})) connection->Abort();
    up->Clear();
    down->Clear();
  }

  // Runs `work` on the loop's thread and waits for it.
  void RunOnLoop(const std::function<void()>& work) {
    std::promise<void> done;
    asio::post(context, [&] {
      work();
      done.set_value();
    });
    done.get_future().wait();
  }

  asio::io_context& context;
  Tcp::acceptor acceptor;
  asio::steady_timer retry;
  Tcp::endpoint target;
  std::string address;
  const std::shared_ptr<LinkLane> up;
  const std::shared_ptr<LinkLane> down;
  std::map<uint64_t, std::shared_ptr<LinkConnection>> connections;
  uint64_t next_id = 1;
  bool cut = false;
  bool stopped = false;
};

Forwarder::Forwarder(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

absl::StatusOr<std::unique_ptr<Forwarder>> Forwarder::Start(LinkLoop* loop,
                                                            const std::string& listen,
                                                            const std::string& target,
                                                            const LinkSpec& link) {
  asio::io_context& context = loop->impl_->context;
  auto impl = std::make_shared<Impl>(context, link);
  ISTHMUS_ASSIGN_OR_RETURN(impl->target, Resolve(context, target));
  ISTHMUS_ASSIGN_OR_RETURN(const Tcp::endpoint endpoint, Resolve(context, listen));
  ISTHMUS_RETURN_IF_ERROR(impl->Listen(endpoint));
  impl->RunOnLoop([&] { impl->Accept(); });
  return std::unique_ptr<Forwarder>(new Forwarder(std::move(impl)));
}

Forwarder::~Forwarder() {
  impl_->RunOnLoop([this] {
    impl_->stopped = true;
    std::error_code ignored;
    impl_->acceptor.close(ignored);
    impl_->retry.cancel();
    impl_->DropAll();
  });
}

const std::string& Forwarder::address() const { return impl_->address; }

LinkCounters Forwarder::counters() const {
  return LinkCounters{.bytes_up = impl_->up->bytes(), .bytes_down = impl_->down->bytes()};
}

void Forwarder::Cut() {
  impl_->RunOnLoop([this] {
    impl_->cut = true;
    impl_->DropAll();
  });
}

void Forwarder::Become(const LinkSpec& link) {
  impl_->RunOnLoop([&] {
    impl_->up->Become(link.up_bits_per_second, link.delay);
    impl_->down->Become(link.down_bits_per_second, link.delay);
  });
}

void Forwarder::Heal() {
  impl_->RunOnLoop([this] { impl_->cut = false; });
}

}  // namespace isthmus
