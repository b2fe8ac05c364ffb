# CUDA, where nvcc is or ISTHMUS_CUDA asks for it; sets ISTHMUS_CUDA to ON or OFF. Everything builds
# and runs without it, and what was built with it starts without a driver.
if(ISTHMUS_CUDA STREQUAL "AUTO")
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(ISTHMUS_CUDA ON)
  else()
    set(ISTHMUS_CUDA OFF)
  endif()
endif()
message(STATUS "CUDA: ${ISTHMUS_CUDA}")
if(NOT ISTHMUS_CUDA)
  return()
endif()

# Said before CUDA is enabled: it would take the compiler's own choice otherwise.
set(ISTHMUS_CUDA_ARCHITECTURES "80-real;90" CACHE STRING "GPUs to compile for, as CMAKE_CUDA_ARCHITECTURES")
set(CMAKE_CUDA_ARCHITECTURES "${ISTHMUS_CUDA_ARCHITECTURES}")

# CMake 3.25 does not know the C++20 flag of nvcc; newer ones do.
enable_language(CUDA)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  list(APPEND CMAKE_CUDA_COMPILE_FEATURES cuda_std_20)
endif()
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
find_package(CUDAToolkit REQUIRED)

# The floating-point contract of cmake/IsthmusFlags.cmake, in nvcc's words. No device link against
# libcuda, so that programs start where there is no driver.
add_library(isthmus_cuda_flags INTERFACE)
target_include_directories(isthmus_cuda_flags INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(isthmus_cuda_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CUDA>:--fmad=false --ftz=false --prec-div=true --prec-sqrt=true --expt-relaxed-constexpr -Xcompiler=-ffp-contract=off>)
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)

# NCCL's declarations; libnccl itself is loaded at run time, where it is.
find_path(ISTHMUS_NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
if(NOT ISTHMUS_NCCL_INCLUDE_DIR)
  set(ISTHMUS_NCCL_INCLUDE_DIR "")
  message(STATUS "NCCL: no nccl.h, ranks on GPUs meet through the host's memory")
endif()
