#include "common/device/fiber.h"

#include <cstdint>
#include <cstring>

#include "common/base/check.h"

#if defined(__x86_64__)

// void isthmus_switch_stack(void** from, void* to): the registers that a function must preserve go
// onto the stack that is left, and come from the other (System V ABI, 3.2.1). Modes of the
// floating-point units are the same in all fibers.
asm(R"(
  .text
  .globl isthmus_switch_stack
  .hidden isthmus_switch_stack
  .type isthmus_switch_stack, @function
isthmus_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size isthmus_switch_stack, . - isthmus_switch_stack
)");
extern "C" void isthmus_switch_stack(void** from, void* to);

namespace isthmus {

void PrepareFiber(FiberContext* fiber, char* stack, size_t bytes, void (*entry)()) {
  ISTHMUS_CHECK(reinterpret_cast<uintptr_t>(stack + bytes) % 16 == 0);
  // As if `entry` had been called by nobody: six registers, where to return to, and a return
  // address of zero, where a debugger stops.
  uintptr_t frame[8] = {};
  frame[6] = reinterpret_cast<uintptr_t>(entry);
  fiber->stack_pointer = stack + bytes - sizeof(frame);
  std::memcpy(fiber->stack_pointer, frame, sizeof(frame));
}

void SwitchFiber(FiberContext* from, FiberContext* to) {
  isthmus_switch_stack(&from->stack_pointer, to->stack_pointer);
}

}  // namespace isthmus

#else

namespace isthmus {

void PrepareFiber(FiberContext* fiber, char* stack, size_t bytes, void (*entry)()) {
  ISTHMUS_CHECK(::getcontext(&fiber->context) == 0);
  fiber->context.uc_stack.ss_sp = stack;
  fiber->context.uc_stack.ss_size = bytes;
  fiber->context.uc_link = nullptr;
  ::makecontext(&fiber->context, entry, 0);
}

void SwitchFiber(FiberContext* from, FiberContext* to) {
  ISTHMUS_CHECK(::swapcontext(&from->context, &to->context) == 0);
}

}  // namespace isthmus

#endif
