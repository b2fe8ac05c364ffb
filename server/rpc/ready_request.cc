#include "server/rpc/ready_request.h"

#include <absl/strings/str_cat.h>
#include <google/protobuf/io/coded_stream.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include "common/tensor/layout.h"

namespace isthmus {
namespace {

using google::protobuf::io::CodedInputStream;

constexpr uint64_t kMaxEntries = 2 * kMaxTensors;  // tensors and constants

// Leaves out the value of a field with `tag`. False if there is no such value, or it is a group.
bool SkipValue(CodedInputStream& in, uint32_t tag) {
  uint64_t number;
  uint32_t size;
  switch (tag & 7) {
    case 0:
      return in.ReadVarint64(&number);
    case 1:
      return in.Skip(8);
    case 2:
      return in.ReadVarint32(&size) && in.Skip(static_cast<int>(size));
    case 5:
      return in.Skip(4);
    default:
      return false;
  }
}

// How many fields the layouts of an encoded ReadyRequest have; up to kMaxEntries + 1. (Where the
// field is repeated, protobuf merges.) False if it is none.
bool CountEntries(CodedInputStream& in, uint64_t* entries) {
  constexpr uint32_t kLayoutTag = v1::ReadyRequest::kLayoutFieldNumber << 3 | 2;
  while (const uint32_t tag = in.ReadTag()) {
    uint32_t size;
    if (tag != kLayoutTag) {
      if (!SkipValue(in, tag)) return false;
      continue;
    }
    if (!in.ReadVarint32(&size)) return false;
    const CodedInputStream::Limit outer = in.PushLimit(static_cast<int>(size));
    while (const uint32_t entry = in.ReadTag()) {
      if (!SkipValue(in, entry)) return false;
      if (++*entries > kMaxEntries) return true;
    }
    if (in.BytesUntilLimit() != 0) return false;
    in.PopLimit(outer);
  }
  return in.ConsumedEntireMessage();
}

}  // namespace

absl::StatusOr<v1::ReadyRequest> DecodeReady(const grpc::ByteBuffer& bytes) {
  uint64_t entries = 0;
  {
    grpc::ByteBuffer copy = bytes;  // of references
    grpc::ProtoBufferReader reader(&copy);
    CodedInputStream in(&reader);
    if (!reader.status().ok() || !CountEntries(in, &entries)) {
      return absl::InvalidArgumentError("Ready: expected an encoded ReadyRequest");
    }
  }
  if (entries > kMaxEntries) {
    return absl::InvalidArgumentError(absl::StrCat("Ready: layout: expected at most ", kMaxTensors,
                                                   " tensors and as many constants, got more than ",
                                                   kMaxEntries, " in all"));
  }
  v1::ReadyRequest request;
  grpc::ByteBuffer copy = bytes;
  grpc::ProtoBufferReader reader(&copy);
  if (!reader.status().ok() || !request.ParseFromZeroCopyStream(&reader)) {
    return absl::InvalidArgumentError("Ready: expected an encoded ReadyRequest");
  }
  return request;
}

}  // namespace isthmus
