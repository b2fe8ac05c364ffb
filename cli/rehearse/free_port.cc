#include "cli/rehearse/free_port.h"

#include <absl/strings/str_cat.h>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <system_error>

namespace isthmus {

absl::StatusOr<uint16_t> FreePort() {
  asio::io_context context;
  asio::ip::tcp::acceptor acceptor(context);
  std::error_code error;
  const asio::ip::tcp::endpoint any(asio::ip::address_v4::loopback(), 0);
  acceptor.open(any.protocol(), error);
  if (!error) acceptor.bind(any, error);
  const uint16_t port = error ? uint16_t{0} : acceptor.local_endpoint(error).port();
  if (error) return absl::ResourceExhaustedError(absl::StrCat("a free port: ", error.message()));
  return port;
}

}  // namespace isthmus
