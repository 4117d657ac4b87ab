# Read by CMake while llama.cpp is configured (see config.toml), to change what llama-cpp-2 has no switch for. The reasons are
# in docs/decisions.md.

# Leaves out llama.cpp's library of helpers for command-line programs (chat parsers, downloads, JSON schemas), of which nothing
# here calls anything: 54 of 128 files to compile.
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
  set(LLAMA_BUILD_COMMON OFF CACHE BOOL "" FORCE)
endif()

# The intrinsic that loads the table of tile sizes for Intel's AMX tells GCC of the table's first eight bytes only (mended in GCC
# 14 and in the last releases before it), so the stores of the rest go as dead ones, and the first pass of two tokens or more
# over a quantized model faults. In the one file that uses tiles, dead stores stay.
if(PROJECT_NAME STREQUAL "ggml" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 14)
  set(amx "${CMAKE_CURRENT_SOURCE_DIR}/src/ggml-cpu/amx/mmq.cpp")
  if(NOT EXISTS "${amx}")
    message(FATAL_ERROR "${amx} is gone: see .cargo/llama.cmake")
  elseif(CMAKE_VERSION VERSION_LESS 3.19)
    # No DEFER yet: in all of ggml.
    add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-fno-dse;-fno-tree-dse>")
  else()
    # Options can be set in folders only that CMake has been to: at the end of ggml's own file.
    cmake_language(DEFER CALL set_source_files_properties "${amx}" DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/src"
      PROPERTIES COMPILE_OPTIONS "-fno-dse;-fno-tree-dse")
  endif()
endif()
