# The helpers with which every folder declares its targets.
#
#   lckv_library(NAME engine_kv SRCS … HDRS … DEPS …)       target lckv_engine_kv, alias lckv::engine_kv
#   lckv_proto_library(NAME cache PROTO path DEPS …)         lckv::cache_proto: generated messages, built without warnings
#   lckv_grpc_library(NAME cache PROTO path)                 lckv::cache_grpc: the stubs over them
#   lckv_test(NAME page_pool_test SRCS … DEPS … LABEL unit)  one binary and one ctest entry; SERIAL: runs alone
#   lckv_binary(NAME lckv SRCS … DEPS …)
#
# A library's DEPS list is the architecture: what is not named there cannot be linked.

# scripts/test.sh runs the tests of several build trees together: those of a sanitizer's tree say so in their names.
set(LCKV_TEST_PREFIX "")
if("address" IN_LIST LCKV_SANITIZE)
  set(LCKV_TEST_PREFIX asan_)
elseif("thread" IN_LIST LCKV_SANITIZE)
  set(LCKV_TEST_PREFIX tsan_)
endif()

function(lckv_library)
  cmake_parse_arguments(ARG "" "NAME" "SRCS;HDRS;DEPS;PRIVATE_DEPS" ${ARGN})
  set(target lckv_${ARG_NAME})
  if(ARG_SRCS)
    add_library(${target} STATIC ${ARG_SRCS} ${ARG_HDRS})
    target_include_directories(${target} PUBLIC ${CMAKE_SOURCE_DIR})
    target_link_libraries(${target} PUBLIC ${ARG_DEPS} PRIVATE lckv_warnings ${ARG_PRIVATE_DEPS})
  else()
    add_library(${target} INTERFACE)
    target_include_directories(${target} INTERFACE ${CMAKE_SOURCE_DIR})
    target_link_libraries(${target} INTERFACE ${ARG_DEPS})
  endif()
  add_library(lckv::${ARG_NAME} ALIAS ${target})
endfunction()

function(lckv_binary)
  cmake_parse_arguments(ARG "" "NAME" "SRCS;DEPS" ${ARGN})
  add_executable(${ARG_NAME} ${ARG_SRCS})
  target_link_libraries(${ARG_NAME} PRIVATE lckv_warnings ${ARG_DEPS})
  set_target_properties(${ARG_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
endfunction()

function(lckv_test)
  cmake_parse_arguments(ARG "NO_MAIN;SERIAL" "NAME;LABEL;TIMEOUT" "SRCS;DEPS" ${ARGN})
  if(NOT ARG_LABEL)
    set(ARG_LABEL unit)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${ARG_NAME} ${ARG_SRCS})
  target_link_libraries(${ARG_NAME} PRIVATE lckv_warnings ${ARG_DEPS} GTest::gmock GTest::gtest)
  if(NOT ARG_NO_MAIN)
    target_link_libraries(${ARG_NAME} PRIVATE GTest::gtest_main)
  endif()
  target_compile_definitions(${ARG_NAME} PRIVATE LCKV_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  set(test ${LCKV_TEST_PREFIX}${ARG_NAME})
  add_test(NAME ${test} COMMAND ${ARG_NAME})
  set_tests_properties(${test} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT} RUN_SERIAL ${ARG_SERIAL})
endfunction()

# Runs protoc on proto/${proto}: writes ${ARGN} under ${CMAKE_BINARY_DIR}/generated.
function(lckv_run_protoc proto plugin_flags)
  set(out ${CMAKE_BINARY_DIR}/generated)
  file(MAKE_DIRECTORY ${out})
  list(TRANSFORM ARGN PREPEND ${out}/ OUTPUT_VARIABLE generated)
  add_custom_command(OUTPUT ${generated}
    COMMAND protobuf::protoc -I ${CMAKE_SOURCE_DIR}/proto ${plugin_flags} ${proto}
    DEPENDS ${CMAKE_SOURCE_DIR}/proto/${proto}
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}/proto
    COMMENT "protoc ${proto}" VERBATIM)
endfunction()

function(lckv_proto_library)
  cmake_parse_arguments(ARG "" "NAME;PROTO" "DEPS" ${ARGN})
  set(out ${CMAKE_BINARY_DIR}/generated)
  string(REGEX REPLACE "\\.proto$" "" stem ${ARG_PROTO})
  lckv_run_protoc(${ARG_PROTO} --cpp_out=${out} ${stem}.pb.cc ${stem}.pb.h)
  set(target lckv_${ARG_NAME}_proto)
  add_library(${target} STATIC ${out}/${stem}.pb.cc ${out}/${stem}.pb.h)
  target_include_directories(${target} SYSTEM PUBLIC ${out})
  target_link_libraries(${target} PUBLIC protobuf::libprotobuf ${ARG_DEPS})
  add_library(lckv::${ARG_NAME}_proto ALIAS ${target})
endfunction()

function(lckv_grpc_library)
  cmake_parse_arguments(ARG "" "NAME;PROTO" "" ${ARGN})
  set(out ${CMAKE_BINARY_DIR}/generated)
  string(REGEX REPLACE "\\.proto$" "" stem ${ARG_PROTO})
  set(flags --grpc_out=${out} --plugin=protoc-gen-grpc=$<TARGET_FILE:gRPC::grpc_cpp_plugin>)
  lckv_run_protoc(${ARG_PROTO} "${flags}" ${stem}.grpc.pb.cc ${stem}.grpc.pb.h)
  set(target lckv_${ARG_NAME}_grpc)
  add_library(${target} STATIC ${out}/${stem}.grpc.pb.cc ${out}/${stem}.grpc.pb.h)
  target_link_libraries(${target} PUBLIC lckv::${ARG_NAME}_proto gRPC::grpc++)
  add_library(lckv::${ARG_NAME}_grpc ALIAS ${target})
endfunction()
