# Compiler settings shared by every target, carried by the interface library isthmus_flags.
#
# Replicas must agree bit for bit on any machine (docs/protocol.md, P21), so the floating-point
# contract is stated here once: no contraction, no fast-math, no flushing of denormals.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# Programs of every folder land in one place, as a user would have them on the PATH.
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

find_program(ISTHMUS_CCACHE ccache)
if(ISTHMUS_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${ISTHMUS_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${ISTHMUS_CCACHE})
endif()

add_library(isthmus_flags INTERFACE)
target_include_directories(isthmus_flags INTERFACE ${PROJECT_SOURCE_DIR})
# Of the host's compilers; CUDA has its own (cmake/IsthmusCuda.cmake).
target_compile_options(isthmus_flags INTERFACE $<$<COMPILE_LANGUAGE:C,CXX>:
  -Wall -Wextra -Wpedantic -Wshadow $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor> -Wno-missing-field-initializers -Werror
  -ffp-contract=off -fno-fast-math>)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  # Lock discipline is checked at compile time; GCC has no such analysis.
  target_compile_options(isthmus_flags INTERFACE -Wthread-safety)
endif()

if(ISTHMUS_SANITIZE STREQUAL "address")
  # Without those of UndefinedBehaviorSanitizer's checks whose mistakes AddressSanitizer reports where
  # they read or write: a third of the time that compiling took, and of the kernels under Clang 5 parts in 6.
  target_compile_options(isthmus_flags INTERFACE
    -fsanitize=address,undefined -fno-sanitize=null,object-size,pointer-overflow,vptr
    -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  target_link_options(isthmus_flags INTERFACE -fsanitize=address,undefined)
elseif(ISTHMUS_SANITIZE STREQUAL "thread")
  target_compile_options(isthmus_flags INTERFACE -fsanitize=thread)
  target_link_options(isthmus_flags INTERFACE -fsanitize=thread)
elseif(ISTHMUS_SANITIZE)
  message(FATAL_ERROR "ISTHMUS_SANITIZE: expected empty, address or thread, got '${ISTHMUS_SANITIZE}'")
endif()

if(ISTHMUS_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "ISTHMUS_FUZZ: libFuzzer comes with Clang, got ${CMAKE_CXX_COMPILER_ID}")
  endif()
  # Coverage of every library; only the targets themselves link libFuzzer's main().
  target_compile_options(isthmus_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
