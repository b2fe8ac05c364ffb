# isthmus_library(NAME SOURCES ... [PUBLIC libs ...] [PRIVATE libs ...])
#   The library of one folder: target isthmus_NAME, alias isthmus::NAME.
function(isthmus_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(isthmus_${name} STATIC ${ARG_SOURCES})
  add_library(isthmus::${name} ALIAS isthmus_${name})
  target_link_libraries(isthmus_${name} PUBLIC isthmus_flags ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
endfunction()

# isthmus_program(NAME SOURCES ... [LIBS libs ...])
function(isthmus_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE isthmus_flags ${ARG_LIBS})
  if(ISTHMUS_STATIC)
    target_link_libraries(${name} PRIVATE isthmus_static)
  endif()
endfunction()

# A test that takes this long hangs: far more than the slowest takes under AddressSanitizer, beside other
# work.
set(ISTHMUS_HUNG_SECONDS 900)

# With AddressSanitizer and UndefinedBehaviorSanitizer, optimising is most of what a source costs that is
# all templates and inline functions: tests, and whoever includes CLI11. They run once or wait, and are
# not optimised there. ThreadSanitizer adds too little code for that to help.
if(ISTHMUS_SANITIZE STREQUAL "address")
  set(ISTHMUS_RUNS_ONCE -O0)
endif()
# With gRPC comes -pthread; tests that share compiled headers have all options alike. GCC 12 has false
# alarms about its own std::string, which it keeps to itself unless that header was precompiled.
set(ISTHMUS_TEST_OPTIONS ${ISTHMUS_RUNS_ONCE} $<$<COMPILE_LANGUAGE:C,CXX>:-pthread>
  $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-array-bounds;-Wno-restrict;-Wno-stringop-overflow;-Wno-stringop-overread>)

# isthmus_runs_once(SOURCE ...)
#   Sources of the current folder that are compiled like tests.
function(isthmus_runs_once)
  set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS "${ISTHMUS_RUNS_ONCE}")
endfunction()

# isthmus_test_headers(NAME HEADERS headers ... [LIBS libs ...])
#   Headers that most tests include, compiled once: reading them is half of what a test costs to build.
#   Tests of the current folder and those below use them with set(ISTHMUS_TEST_HEADERS NAME), and still
#   include what they need. (A program, since what is compiled for one is of no use to a library.)
function(isthmus_test_headers name)
  cmake_parse_arguments(ARG "" "" "HEADERS;LIBS" ${ARGN})
  file(CONFIGURE OUTPUT ${name}.cc CONTENT "int main() {}\n")
  add_executable(${name} ${CMAKE_CURRENT_BINARY_DIR}/${name}.cc)
  target_link_libraries(${name} PRIVATE isthmus_flags ${ARG_LIBS} GTest::gmock GTest::gtest)
  target_compile_options(${name} PRIVATE ${ISTHMUS_TEST_OPTIONS})
  target_precompile_headers(${name} PRIVATE ${ARG_HEADERS})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
endfunction()

# isthmus_test_objects(NAME SOURCES ... [LIBS ...]): tests that several programs run, each with its own
# answer to what they are about; compiled once. A program names them among its sources:
# $<TARGET_OBJECTS:NAME>.
function(isthmus_test_objects name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
  add_library(${name} OBJECT ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE isthmus_flags ${ARG_LIBS} GTest::gmock GTest::gtest)
  target_compile_options(${name} PRIVATE ${ISTHMUS_TEST_OPTIONS})
endfunction()

# isthmus_test(NAME SOURCES ... [LIBS libs ...] [LABELS labels ...] [TIMEOUT seconds])
#   A GoogleTest program, one CTest entry. Labels in use: unit (no network, no child process),
#   process (real gRPC, sockets or child processes). TIMEOUT is for what is long by nature.
function(isthmus_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LIBS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE isthmus_flags ${ARG_LIBS} GTest::gmock GTest::gtest_main)
  target_compile_options(${name} PRIVATE ${ISTHMUS_TEST_OPTIONS})
  if(ISTHMUS_TEST_HEADERS)
    target_precompile_headers(${name} REUSE_FROM ${ISTHMUS_TEST_HEADERS})
  endif()
  if(ISTHMUS_SANITIZE STREQUAL "thread")
    target_sources(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests/support/tsan_suppressions.cc)
  endif()
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT ${ISTHMUS_HUNG_SECONDS})
  endif()
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}")
endfunction()
