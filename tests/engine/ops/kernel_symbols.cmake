# cmake -DNM=nm -DOBJECTS=a.o;b.o -P kernel_symbols.cmake
#
# Files compiled for one instruction set must define no weak symbol: the linker would keep any one copy, and the
# program would then run, say, AVX2 code where the generic one was meant.
set(checked 0)
foreach(object IN LISTS OBJECTS)
  if(NOT object MATCHES "kernels_(generic|avx2|avx512)")
    continue()
  endif()
  math(EXPR checked "${checked} + 1")
  execute_process(COMMAND ${NM} -C --defined-only ${object} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[0-9a-f]+ [WVu] [^\n]*" weak "${symbols}")
  if(weak)
    message(SEND_ERROR "${object} defines weak symbols: ${weak}")
  endif()
endforeach()
if(checked EQUAL 0)
  message(FATAL_ERROR "no kernel object among ${OBJECTS}")
endif()
