// Bits and numbers by which the targets read their inputs and fuzz_seeds writes them. Each target
// says in its own file what it makes of them.
#ifndef ISTHMUS_TESTS_FUZZ_GRAMMAR_H_
#define ISTHMUS_TESTS_FUZZ_GRAMMAR_H_

#include <cstdint>

namespace isthmus::fuzz {

// Of a frame, whatever it is a frame of. Without any of them it follows the frame before it.
enum FrameFlag : uint8_t {
  kNewIds = 1,     // ids of its own: numbers that follow
  kOwnOffset = 2,  // else where the data so far ends
  kOwnTotal = 4,   // a size of the whole of its own, else the right one
  kRawData = 8,    // data from the input, else a pattern of the length given
  kExtra = 16,     // whatever else this kind of frame carries
  kWrongCrc = 32,  // snapshots
  kBegins = 64,    // offset 0
  kEnds = 128,     // snapshots
};

// Of attach_socket's input: what happens next, each with a connection's number.
enum class AttachOp : uint8_t {
  kConnect = 0,
  kPacket = 1,  // type:byte patches:number { offset:number size:number bytes }
  kRaw = 2,     // size:number bytes
  kClose = 3,
  kFail = 4,
  kTick = 5,    // seconds:number
  kAnswer = 6,  // the engine answers what it was asked; odd: with an error; 2 of 4: steps are
                // named
  kLate = 7,    // the engine answers about a session that is over
  kEnd = 8,
  kNameStep = 9,  // the engine wants ranks to stop
  kCount = 10,
};

// First byte of both payload targets.
enum PayloadFlag : uint8_t {
  kFixCrc = 1,     // make the checksum right
  kFixHeader = 2,  // and the header before it
};

}  // namespace isthmus::fuzz

#endif  // ISTHMUS_TESTS_FUZZ_GRAMMAR_H_
