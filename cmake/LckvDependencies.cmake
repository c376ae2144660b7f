# Every outside library, in one place; all are Debian 12 packages (scripts/setup.sh installs them).

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(absl CONFIG REQUIRED)
find_package(nlohmann_json CONFIG REQUIRED)
find_package(spdlog CONFIG REQUIRED)
find_package(OpenSSL REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)

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
endif()

if(LCKV_TESTS)
  find_package(GTest REQUIRED)
  # The simulated GPU of the tests; without it they are left out.
  find_package(Boost CONFIG COMPONENTS context)
endif()
