# Every outside library, in one place; all are Debian 12 packages (scripts/setup.sh installs them).

find_package(Threads REQUIRED)
find_package(absl CONFIG REQUIRED)
find_package(nlohmann_json CONFIG REQUIRED)
find_package(spdlog CONFIG REQUIRED)
find_package(OpenSSL REQUIRED)
find_path(PCRE2_INCLUDE_DIR pcre2.h REQUIRED)
find_library(PCRE2_LIBRARY pcre2-8 REQUIRED)
add_library(PCRE2::8BIT UNKNOWN IMPORTED)
set_target_properties(PCRE2::8BIT PROPERTIES
  IMPORTED_LOCATION ${PCRE2_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${PCRE2_INCLUDE_DIR})

if(LCKV_SERVICES AND NOT LCKV_CACHE)
  message(FATAL_ERROR "LCKV_SERVICES needs LCKV_CACHE")
endif()
if(LCKV_CACHE)
  # Module mode, and before gRPC: Protobuf 3.21 ships no config file.
  find_package(Protobuf REQUIRED)
  find_package(RocksDB CONFIG REQUIRED)
endif()
if(LCKV_SERVICES)
  find_package(gRPC CONFIG REQUIRED)
  find_package(prometheus-cpp CONFIG REQUIRED)
  find_package(CLI11 CONFIG REQUIRED)
  find_package(yaml-cpp CONFIG REQUIRED)
endif()

if(LCKV_TESTS)
  find_package(GTest REQUIRED)
  # The simulated GPU of the tests; without it they are left out.
  find_package(Boost CONFIG COMPONENTS context)
endif()
