# Compiler and linker settings that hold for every target of the project.

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

# Asserts (LCKV_DCHECK) are on unless the build type is Release.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1")

find_program(LCKV_CCACHE ccache)
if(LCKV_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${LCKV_CCACHE})
endif()

# mold links the gRPC binaries several times faster than ld; it is optional.
find_program(LCKV_MOLD mold)
if(LCKV_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

add_library(lckv_warnings INTERFACE)
set(warnings -Wall -Wextra -Wpedantic -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  list(APPEND warnings -Wthread-safety)
else()
  # GCC 12 reports members of an empty std::optional or of the other alternative of a std::variant.
  list(APPEND warnings -Wno-maybe-uninitialized)
endif()
target_compile_options(lckv_warnings INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${warnings}>")

# Bits must not depend on what the compiler likes to contract: fused multiply-adds are written out where wanted.
add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off> $<$<COMPILE_LANGUAGE:CXX>:-fno-math-errno>)

if(LCKV_SANITIZE)
  string(REPLACE ";" "," lckv_sanitize_list "${LCKV_SANITIZE}")
  add_compile_options(-fsanitize=${lckv_sanitize_list} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${lckv_sanitize_list})
endif()
