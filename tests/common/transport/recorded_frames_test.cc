// Messages of the protocol versions that are spoken, as they were recorded (docs/protocol.md, P28):
// each must be read and written as it was. ISTHMUS_RECORD_FRAMES=1 writes what is not recorded yet,
// and refuses to change what is: that takes a new version, and a new folder.
//
// A file is the message's type in its first line, the message as text, and after a line "bytes" the
// same in hexadecimal.
#include <absl/strings/escaping.h>
#include <absl/strings/str_cat.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/unknown_field_set.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "common/run/update.h"
#include "isthmus/v1/control.pb.h"
#include "isthmus/v1/exchange.pb.h"
#include "isthmus/v1/site.pb.h"

namespace isthmus {
namespace {

using Path = std::filesystem::path;
using google::protobuf::Message;

// Of every version that is spoken: what it brought, and what is said in all that followed.
std::vector<Path> Files() {
  std::vector<Path> files;
  for (uint32_t version = kProtocolVersions.min; version <= kProtocolVersions.max; ++version) {
    const Path folder = Path(ISTHMUS_RECORDED_FRAMES) / absl::StrCat("v", version);
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      if (entry.path().extension() == ".txt") files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::unique_ptr<Message> Make(const std::string& type) {
  // Linked in, all of them.
  (void)v1::WorkerMessage::descriptor();
  (void)v1::RegisterRequest::descriptor();
  (void)v1::LeaderMessage::descriptor();
  const auto* const descriptor =
      google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(type);
  if (descriptor == nullptr) return nullptr;
  return std::unique_ptr<Message>(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(descriptor)->New());
}

struct Recorded {
  std::string type, text, hex;
};

Recorded Read(const Path& path) {
  std::ifstream in(path);
  Recorded recorded;
  std::getline(in, recorded.type);
  std::string line;
  bool bytes = false;
  while (std::getline(in, line)) {
    if (line == "bytes") {
      bytes = true;
    } else if (bytes) {
      recorded.hex += line;
    } else {
      recorded.text += line + "\n";
    }
  }
  return recorded;
}

void Write(const Path& path, const Recorded& recorded) {
  std::ofstream out(path);
  out << recorded.type << "\n" << recorded.text << "bytes\n";
  for (size_t i = 0; i < recorded.hex.size(); i += 96) out << recorded.hex.substr(i, 96) << "\n";
}

// Fields that this build does not know, anywhere in the message.
bool HasUnknown(const Message& message) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  if (!reflection.GetUnknownFields(message).empty()) return true;
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const auto* field : fields) {
    if (field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) {
      if (HasUnknown(reflection.GetMessage(message, field))) return true;
      continue;
    }
    for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
      if (HasUnknown(reflection.GetRepeatedMessage(message, field, i))) return true;
    }
  }
  return false;
}

class RecordedFramesTest : public testing::TestWithParam<Path> {};

TEST_P(RecordedFramesTest, P28_ReadsAndWritesAsItWasRecorded) {
  Recorded recorded = Read(GetParam());
  const auto said = Make(recorded.type);
  ASSERT_NE(said, nullptr) << recorded.type;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(recorded.text, said.get()));
  const std::string bytes = said->SerializeAsString();
  if (recorded.hex.empty() && std::getenv("ISTHMUS_RECORD_FRAMES") != nullptr) {
    recorded.hex = absl::BytesToHexString(bytes);
    Write(GetParam(), recorded);
  }
  EXPECT_EQ(absl::BytesToHexString(bytes), recorded.hex);
  const auto read = Make(recorded.type);
  ASSERT_TRUE(read->ParseFromString(absl::HexStringToBytes(recorded.hex)));
  EXPECT_FALSE(HasUnknown(*read));
  EXPECT_EQ(read->DebugString(), said->DebugString());
}

INSTANTIATE_TEST_SUITE_P(Files, RecordedFramesTest, testing::ValuesIn(Files()),
                         [](const auto& test) {
                           return test.param.parent_path().stem().string() + "_" +
                                  test.param.stem().string();
                         });

// Every kind of message of either stream is recorded.
TEST(RecordedFramesTest, P28_EveryKindOfMessageIsRecorded) {
  std::string all;
  for (const Path& path : Files()) {
    const Recorded recorded = Read(path);
    all += recorded.type + "\n" + recorded.text;
  }
  for (const auto* type : {v1::WorkerMessage::descriptor(), v1::CoordinatorMessage::descriptor()}) {
    for (int i = 0; i < type->field_count(); ++i) {
      EXPECT_NE(all.find(std::string(type->full_name()) + "\n" + type->field(i)->name() + " {"),
                std::string::npos)
          << type->full_name() << "." << type->field(i)->name();
    }
  }
  for (const char* type : {"RegisterRequest", "RegisterReply", "ReadyRequest", "NotReadyRequest",
                           "HeartbeatRequest", "HeartbeatReply", "LeaveRequest", "Update"}) {
    EXPECT_NE(all.find(absl::StrCat("isthmus.v1.", type, "\n")), std::string::npos) << type;
  }
}

}  // namespace
}  // namespace isthmus
