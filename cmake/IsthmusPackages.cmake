# Every package that the build uses. scripts/setup installs them on Debian 12.
if(ISTHMUS_STATIC)
  include(IsthmusStatic)
endif()
find_package(Threads REQUIRED)
find_package(absl CONFIG REQUIRED)
if(ISTHMUS_GRPC)
  find_package(Protobuf REQUIRED)
  find_package(gRPC CONFIG REQUIRED)
  find_package(CLI11 CONFIG REQUIRED)
endif()
if(ISTHMUS_STATIC)
  isthmus_link_archives()
endif()
# Headers only: Debian has no archives of spdlog and fmt, and one source alone includes them.
find_package(spdlog CONFIG REQUIRED)
add_library(isthmus_spdlog INTERFACE)
add_library(isthmus::spdlog ALIAS isthmus_spdlog)
target_link_libraries(isthmus_spdlog INTERFACE Threads::Threads)
target_compile_definitions(isthmus_spdlog INTERFACE SPDLOG_FMT_EXTERNAL FMT_HEADER_ONLY)
# Header-only asio, without Boost. It decides by what was included before it whether to allocate with
# aligned_alloc, so that two sources could disagree and free what the other allocated: never, then.
find_path(ISTHMUS_ASIO_INCLUDE_DIR asio.hpp REQUIRED)
add_library(isthmus_asio INTERFACE)
add_library(isthmus::asio ALIAS isthmus_asio)
target_include_directories(isthmus_asio SYSTEM INTERFACE ${ISTHMUS_ASIO_INCLUDE_DIR})
target_compile_definitions(isthmus_asio INTERFACE
  ASIO_STANDALONE ASIO_NO_DEPRECATED ASIO_DISABLE_STD_ALIGNED_ALLOC
  # ThreadSanitizer knows no fences; handlers reach their thread under the pool's mutex anyway.
  $<$<STREQUAL:${ISTHMUS_SANITIZE},thread>:ASIO_DISABLE_FENCED_BLOCK>)

find_package(nlohmann_json CONFIG REQUIRED)
if(BUILD_TESTING OR NOT DEFINED BUILD_TESTING)
  find_package(GTest REQUIRED)
endif()
