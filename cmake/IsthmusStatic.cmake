# ISTHMUS_STATIC: what Debian has as an archive is linked from that, so that programs need nothing of
# the machine they run on but glibc, and start faster. Debian's own CMake files name shared libraries.
#
# Included before packages are looked for; isthmus_link_archives() afterwards.
set(ISTHMUS_FIND_SUFFIXES ${CMAKE_FIND_LIBRARY_SUFFIXES})
set(CMAKE_FIND_LIBRARY_SUFFIXES .a)
set(Protobuf_USE_STATIC_LIBS ON)
# A build folder of before remembers the shared ones, and would not look again.
get_cmake_property(cached CACHE_VARIABLES)
foreach(variable IN LISTS cached)
  if(variable MATCHES "^(Protobuf|OPENSSL|ZLIB|c-ares)_.*LIBRARY" AND "${${variable}}" MATCHES "\\.so$")
    unset(${variable} CACHE)
  endif()
endforeach()

function(isthmus_link_archives)
  get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(type ${target} TYPE)
    get_target_property(library ${target} IMPORTED_LOCATION_NONE)  # Debian's build type
    if(NOT type STREQUAL SHARED_LIBRARY OR NOT library)
      continue()
    endif()
    string(REGEX REPLACE "\\.so[.0-9]*$" ".a" archive ${library})
    if(EXISTS ${archive})
      set_target_properties(${target} PROPERTIES IMPORTED_LOCATION_NONE ${archive} IMPORTED_NO_SONAME ON)
    endif()
  endforeach()
  if(TARGET re2::re2)  # by pkg-config, as -lre2
    find_library(ISTHMUS_RE2 re2 REQUIRED)
    set_target_properties(re2::re2 PROPERTIES INTERFACE_LINK_LIBRARIES ${ISTHMUS_RE2})
  endif()
  set(CMAKE_FIND_LIBRARY_SUFFIXES ${ISTHMUS_FIND_SUFFIXES} PARENT_SCOPE)
endfunction()

# What programs link: with the archives glibc 2.34 is enough (Debian 12, Ubuntu 22.04, RHEL 9). libgcc
# stays shared, as every distribution has it: its archive would ask for 2.35.
add_library(isthmus_static INTERFACE)
target_sources(isthmus_static INTERFACE ${CMAKE_CURRENT_LIST_DIR}/arc4random.c)
target_link_options(isthmus_static INTERFACE -static-libstdc++ LINKER:--gc-sections)
