// The attach socket: packets of several jobs through decoding and SessionCore, and the engine's
// answers. A model of who holds which rank checks every action.
//
//   input := ranks:byte max_session_bytes:number op*
//   op    := AttachOp:byte connection:byte, and what grammar.h says
//
// scripts/fuzz: -max_len=512
#include <array>
#include <cstddef>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "common/transport/convert.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/grammar.h"
#include "tests/worker/jobs/packets.h"
#include "worker/jobs/session_core.h"

namespace isthmus::fuzz {
namespace {

constexpr uint32_t kConnections = 6;

// --- packets -------------------------------------------------------------------------------------

// A packet of `type` that says nothing but its header; of its right size, if jobs send such.
Packet EmptyPacket(uint8_t type) {
  switch (type) {
    case ISTHMUS_WIRE_HELLO:
      return ToPacket(NewWire<isthmus_wire_hello>(ISTHMUS_WIRE_HELLO));
    case ISTHMUS_WIRE_ENTRY:
      return ToPacket(NewWire<isthmus_wire_entry>(ISTHMUS_WIRE_ENTRY));
    case ISTHMUS_WIRE_STEP_BEGIN:
      return ToPacket(NewWire<isthmus_wire_step_begin>(ISTHMUS_WIRE_STEP_BEGIN));
    default: {
      Packet packet = BarePacket(ISTHMUS_WIRE_FILLED);
      packet[offsetof(isthmus_wire_header, type)] = std::byte{type};
      return packet;
    }
  }
}

Packet PatchedPacket(Input& input) {
  Packet packet = EmptyPacket(input.Byte());
  for (uint64_t left = input.Number(); left > 0 && !input.empty(); --left) {
    const size_t at = input.Number() % packet.size();
    const std::string patch = input.Bytes(std::min(input.Number(), packet.size() - at));
    std::memcpy(packet.data() + at, patch.data(), patch.size());
  }
  return packet;
}

// What libisthmus would send to say the same.
struct Encode {
  Packet operator()(const JobHello& hello) const {
    auto wire = NewWire<isthmus_wire_hello>(ISTHMUS_WIRE_HELLO);
    wire.local_rank = hello.local_rank;
    wire.local_world_size = hello.local_world_size;
    wire.entry_count = hello.entry_count;
    wire.memory = static_cast<uint32_t>(hello.terms.memory);
    wire.own_optimizer = hello.terms.own_optimizer ? 1 : 0;
    return ToPacket(wire);
  }
  Packet operator()(const JobEntry& entry) const {
    auto wire = NewWire<isthmus_wire_entry>(ISTHMUS_WIRE_ENTRY);
    wire.index = entry.index;
    std::string name;
    if (const auto* constant = std::get_if<ConstantSpec>(&entry.spec)) {
      wire.constant = 1;
      wire.size_bytes = constant->size_bytes;
      name = constant->name;
    } else {
      const auto& tensor = std::get<TensorSpec>(entry.spec);
      ISTHMUS_CHECK(tensor.shape.size() <= kMaxDimensions);
      wire.ndim = static_cast<uint32_t>(tensor.shape.size());
      std::copy(tensor.shape.begin(), tensor.shape.end(), wire.shape);
      wire.parameter_group = tensor.parameter_group;
      wire.dtype = static_cast<int32_t>(tensor.dtype);
      name = tensor.name;
    }
    ISTHMUS_CHECK(name.size() <= kMaxNameBytes);
    wire.name_size = static_cast<uint32_t>(name.size());
    std::memcpy(wire.name, name.data(), name.size());
    return ToPacket(wire);
  }
  Packet operator()(const JobFilled&) const { return BarePacket(ISTHMUS_WIRE_FILLED); }
  Packet operator()(const JobDetach&) const { return BarePacket(ISTHMUS_WIRE_DETACH); }
  Packet operator()(const JobStepBegin& begin) const {
    auto wire = NewWire<isthmus_wire_step_begin>(ISTHMUS_WIRE_STEP_BEGIN);
    const RankStep& step = begin.step;
    ISTHMUS_CHECK(step.lr.size() <= kMaxParameterGroups);
    ISTHMUS_CHECK(step.lr.size() == step.weight_decay.size());
    wire.samples = step.samples;
    wire.loss = step.loss;
    wire.skip = step.skip ? 1 : 0;
    wire.step = step.step;
    const StepWants& wants = step.wants;
    if (wants.give_first) wire.wants |= ISTHMUS_WIRE_GIVE_FIRST;
    if (wants.take) wire.wants |= ISTHMUS_WIRE_TAKE;
    if (wants.give) wire.wants |= ISTHMUS_WIRE_GIVE;
    if (wants.anchor) wire.wants |= ISTHMUS_WIRE_ANCHOR;
    wire.parameter_groups = static_cast<uint32_t>(step.lr.size());
    for (size_t i = 0; i < step.lr.size(); ++i) {
      for (const float rate : {step.lr[i], step.weight_decay[i]}) {
        ISTHMUS_CHECK(rate >= 0 && rate <= RankStep::kMaxRate);
      }
      wire.lr[i] = step.lr[i];
      wire.weight_decay[i] = step.weight_decay[i];
    }
    return ToPacket(wire);
  }
};

// Comparing vectors of std::byte goes byte by byte, slowly where each comparison is traced.
bool Same(const Packet& a, const Packet& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
}

void CheckDecoding(const Packet& packet) {
  const auto message = DecodeJobMessage(packet);
  if (!message.ok()) return CheckRefusal(message.status());
  const Packet canonical = std::visit(Encode(), *message);
  ISTHMUS_CHECK(canonical.size() == packet.size());
  const auto again = DecodeJobMessage(canonical);
  ISTHMUS_CHECK(again.ok() && again->index() == message->index());
  ISTHMUS_CHECK(Same(std::visit(Encode(), *again), canonical));
}

uint64_t SessionBytes(const Layout& layout, uint64_t ranks) {
  return ranks * (2 * SizeOf(TypeOf(layout)) * layout.length() + layout.constants_bytes());
}

// --- a model of the session ----------------------------------------------------------------------

// Who is connected and which ranks are held, from the actions alone.
class Model {
 public:
  Model(uint32_t ranks, uint64_t max_session_bytes, SessionCore* core)
      : max_session_bytes_(max_session_bytes), core_(core), holders_(ranks) {}

  enum class Question { kNone, kAttach, kStep };
  Question question() const { return question_; }
  uint64_t session() const { return session_; }  // 0: none is whole
  uint64_t last_session() const { return last_session_; }
  bool connected(JobConnectionId id) const { return connected_.contains(id); }

  void Connected(JobConnectionId id) { connected_.insert(id); }
  void Gone(JobConnectionId id) { connected_.erase(id); }
  void Answered() { question_ = Question::kNone; }
  void Perform(const SessionCore::Actions& actions) {
    for (const JobAction& action : actions) std::visit(*this, action);
    for (const auto& holder : holders_) ISTHMUS_CHECK(!holder || connected(*holder));
  }

  void operator()(const SendBuffers& send) {
    CountAccepted();
    const Layout& layout = core_->layout();
    ISTHMUS_CHECK(connected(send.to) && session_ == 0);
    ISTHMUS_CHECK(send.rank < holders_.size() && !holders_[send.rank]);
    ISTHMUS_CHECK(send.offsets.size() == layout.tensors().size() + layout.constants().size());
    const DType type = TypeOf(layout);
    for (const TensorSpec& tensor : layout.tensors()) ISTHMUS_CHECK(tensor.dtype == type);
    ISTHMUS_CHECK(SessionBytes(layout, holders_.size()) <= max_session_bytes_);
    for (uint64_t offset : send.offsets) {
      ISTHMUS_CHECK(offset <= std::max(layout.length(), layout.constants_bytes()));
    }
    CheckCanBeDeclared(layout);
    holders_[send.rank] = send.to;
  }
  void operator()(const DropBuffers& drop) {
    ISTHMUS_CHECK(drop.rank < holders_.size() && holders_[drop.rank] && session_ == 0);
    holders_[drop.rank].reset();
  }
  void operator()(const SendAttached& send) { CheckHolder(send.to, send.rank); }
  void operator()(const SendWaiting& send) {
    ISTHMUS_CHECK(connected(send.to));
    ISTHMUS_CHECK(std::find(holders_.begin(), holders_.end(), send.to) != holders_.end());
  }
  void operator()(const SendStepDone& send) { ISTHMUS_CHECK(connected(send.to) && session_ != 0); }
  void operator()(const SendGoOn& send) {
    ISTHMUS_CHECK(connected(send.to) && session_ != 0 && question_ == Question::kNone);
  }
  void operator()(const NameStepOfRanks& name) {
    ISTHMUS_CHECK(session_ != 0 && !named_ && name.not_before > 0);
    named_ = true;
    core_->StepNamed(name.not_before + 1);  // as if somebody had passed it
  }
  void operator()(const UnnameStep&) {
    ISTHMUS_CHECK(session_ != 0 && named_);
    named_ = false;
  }
  void operator()(const HangUp& hang_up) {
    ISTHMUS_CHECK(connected_.erase(hang_up.to) == 1);
    if (hang_up.status.ok()) return;
    CheckRefusal(hang_up.status);
    const isthmus_wire_error packet = MakeErrorPacket(hang_up.status);
    ISTHMUS_CHECK(packet.text_size > 0 && packet.text_size <= ISTHMUS_WIRE_MAX_TEXT);
    // A rank of a whole session is let go of by ReportLost.
  }
  void operator()(const ReportAttached& report) {
    ISTHMUS_CHECK(session_ == 0 && report.session_id == last_session_ + 1);
    for (const auto& holder : holders_) ISTHMUS_CHECK(holder.has_value());
    session_ = last_session_ = report.session_id;
    question_ = Question::kAttach;
  }
  void operator()(const ReportStep& report) {
    ISTHMUS_CHECK(session_ != 0 && report.session_id == session_);
    ISTHMUS_CHECK(question_ == Question::kNone && report.steps.size() == holders_.size());
    for (const RankStep& step : report.steps) {
      ISTHMUS_CHECK(step.lr.size() == core_->layout().parameter_groups());
      ISTHMUS_CHECK(step.lr == report.steps[0].lr);
      ISTHMUS_CHECK(step.weight_decay == report.steps[0].weight_decay);
      ISTHMUS_CHECK(step.wants == report.steps[0].wants);
    }
    question_ = Question::kStep;
  }
  void operator()(const ReportLost& report) {
    ISTHMUS_CHECK(session_ != 0 && report.session_id == session_ && !report.reason.empty());
    std::fill(holders_.begin(), holders_.end(), std::nullopt);
    session_ = 0;
    named_ = false;
    question_ = Question::kNone;
  }

 private:
  // The daemon will declare this layout to the coordinator.
  static void CheckCanBeDeclared(const Layout& layout) {
    v1::Layout message;
    ToProto(layout, &message);
    v1::Layout heard;
    ISTHMUS_CHECK(heard.ParseFromString(message.SerializeAsString()));
    const auto again = FromProto(heard);
    ISTHMUS_CHECK(again.ok() && layout.DifferenceFrom(*again).empty());
  }
  void CheckHolder(JobConnectionId id, uint32_t rank) const {
    ISTHMUS_CHECK(session_ != 0 && rank < holders_.size() && holders_[rank] == id);
  }

  const uint64_t max_session_bytes_;
  SessionCore* core_;
  std::vector<std::optional<JobConnectionId>> holders_;
  std::set<JobConnectionId> connected_;
  Question question_ = Question::kNone;
  uint64_t session_ = 0;
  uint64_t last_session_ = 0;
  bool named_ = false;
};

class Server {
 public:
  Server(Input& input, MemoryBound& memory)
      : input_(input),
        memory_(memory),
        ranks_(1 + input.Byte() % 3),
        max_session_bytes_(input.Number()),
        core_({.ranks = ranks_,
               .name = "group 3",
               .max_pending = 2,
               .admit =
                   [this](const Layout& layout, const JobTerms&) {
                     return SessionBytes(layout, ranks_) <= max_session_bytes_
                                ? absl::OkStatus()
                                : absl::ResourceExhaustedError("no room");
                   },
               .device_memory = true}),
        model_(ranks_, max_session_bytes_, &core_) {}

  void Run() {
    while (!input_.empty()) {
      const auto op = static_cast<AttachOp>(input_.Byte() % static_cast<uint8_t>(AttachOp::kCount));
      Perform(op, slots_[input_.Byte() % kConnections]);
      ISTHMUS_CHECK(core_.NextDeadline() > now_ || op != AttachOp::kTick);
    }
    if (model_.session() != 0) model_.Perform(core_.EndSession(absl::UnavailableError("bye")));
  }

 private:
  void Perform(AttachOp op, JobConnectionId& slot) {
    switch (op) {
      case AttachOp::kConnect:
        if (model_.connected(slot)) return;
        slot = next_id_;
        ++next_id_;
        model_.Connected(slot);
        return model_.Perform(core_.Connected(slot, now_));
      case AttachOp::kPacket:
        return Receive(slot, PatchedPacket(input_));
      case AttachOp::kRaw: {
        const std::string raw = input_.Bytes(std::min<uint64_t>(input_.Number(), 4096));
        const auto bytes = std::as_bytes(std::span(raw));
        return Receive(slot, Packet(bytes.begin(), bytes.end()));
      }
      case AttachOp::kClose: {
        const auto actions = core_.Closed(slot);
        model_.Perform(actions);
        return model_.Gone(slot);
      }
      case AttachOp::kFail:
        return model_.Perform(core_.Failed(slot, absl::ResourceExhaustedError("no memfd")));
      case AttachOp::kTick:
        now_ += absl::Seconds(static_cast<int64_t>(input_.Number() % 100000));
        model_.Perform(core_.SetWaiting(absl::ToUnixSeconds(now_) % 2 == 1 ? "for more" : ""));
        return model_.Perform(core_.Tick(now_));
      case AttachOp::kAnswer: {
        const uint8_t how = input_.Byte();
        return Answer(how % 2 == 1, how % 4 >= 2);
      }
      case AttachOp::kNameStep:
        return model_.Perform(core_.NameStep(model_.session()));
      case AttachOp::kLate: {
        const uint64_t session = model_.last_session() - (model_.session() != 0 ? 1 : 0);
        ISTHMUS_CHECK(core_.FinishAttach(session, AttachReply()).empty());
        ISTHMUS_CHECK(core_.FinishStep(session, StepReply()).empty());
        return;
      }
      case AttachOp::kEnd:
        return model_.Perform(core_.EndSession(absl::AbortedError("the run is another")));
      case AttachOp::kCount:
        return;
    }
  }

  void Receive(JobConnectionId id, const Packet& packet) {
    // A packet may be kept, as a table's entry or a step, then reported and declared.
    memory_.Allow(8 * sizeof(isthmus_wire_entry));
    CheckDecoding(packet);
    model_.Perform(core_.Received(id, packet, now_));
  }

  void Answer(bool fail, bool names_steps) {
    const Model::Question question = model_.question();
    if (question == Model::Question::kNone) return;
    model_.Answered();
    const uint64_t session = model_.session();
    if (question == Model::Question::kAttach) {
      absl::StatusOr<AttachReply> reply = AttachReply();
      if (names_steps) {
        reply->every_steps = 0;
        reply->overlap_steps = 3;
      }
      if (fail) reply = absl::FailedPreconditionError("another layout");
      return model_.Perform(core_.FinishAttach(session, reply));
    }
    absl::StatusOr<StepReply> reply = StepReply();
    if (fail) reply = absl::AbortedError("fenced");
    model_.Perform(core_.FinishStep(session, reply));
  }

  Input& input_;
  MemoryBound& memory_;
  const uint32_t ranks_;
  const uint64_t max_session_bytes_;
  SessionCore core_;
  Model model_;
  absl::Time now_ = absl::UnixEpoch();
  std::array<JobConnectionId, kConnections> slots_;
  JobConnectionId next_id_{1};
};

void FuzzAttachSocket(const uint8_t* data, size_t size) {
  Input input(data, size);
  MemoryBound bound((uint64_t{64} << 10) + 16 * size);
  Server(input, bound).Run();
}

}  // namespace
}  // namespace isthmus::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  isthmus::fuzz::FuzzAttachSocket(data, size);
  return 0;
}
