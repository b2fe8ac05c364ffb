# CUDA, where asked for (preset cuda). Everything else builds and runs without it.
#
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
if(NOT CMAKE_CUDA_ARCHITECTURES OR CMAKE_CUDA_ARCHITECTURES STREQUAL "52")
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90)
endif()

# The floating-point contract of cmake/IsthmusFlags.cmake, in nvcc's words. No device link against
# libcuda, so that programs start where there is no driver.
add_library(isthmus_cuda_flags INTERFACE)
target_include_directories(isthmus_cuda_flags INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(isthmus_cuda_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CUDA>:--fmad=false --ftz=false --prec-div=true --prec-sqrt=true --expt-relaxed-constexpr -Xcompiler=-ffp-contract=off>)
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)

# isthmus_cuda_library(NAME SOURCES ... [PUBLIC libs ...]): as isthmus_library, with .cu sources.
function(isthmus_cuda_library name)
  isthmus_library(${name} ${ARGN})
  target_link_libraries(isthmus_${name} PUBLIC isthmus_cuda_flags CUDA::cudart_static)
endfunction()
