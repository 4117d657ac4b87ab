# CMake reads this file while it configures llama.cpp (see config.toml). It changes settings that
# llama-cpp-2 has no switch for. The reasons are in docs/decisions/.

# Leave out llama.cpp's helpers for command-line programs (chat parsers, downloads, JSON schemas).
# Nothing here uses them, and they are 54 of 128 files to compile.
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
  set(LLAMA_BUILD_COMMON OFF CACHE BOOL "" FORCE)
endif()

# The feature `rpc` of logitspec, which Cargo hands to llama.cpp's build as this one. Without RDMA,
# whose library the build script would not link.
if(DEFINED ENV{CARGO_FEATURE_SHARED_STDCXX} AND NOT ANDROID)
  set(GGML_RPC ON CACHE BOOL "" FORCE)
  set(GGML_RPC_RDMA OFF CACHE BOOL "" FORCE)
endif()

# Work around a bug in GCC before version 14, for Intel's AMX. The intrinsic that loads the table of
# tile sizes declares only the first eight bytes as read. So GCC removes the stores to the rest, and
# the first pass of two tokens or more over a quantized model crashes. Keep all stores in the one
# file that uses tiles.
if(PROJECT_NAME STREQUAL "ggml" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 14)
  set(amx "${CMAKE_CURRENT_SOURCE_DIR}/src/ggml-cpu/amx/mmq.cpp")
  if(NOT EXISTS "${amx}")
    message(FATAL_ERROR "${amx} is gone: see .cargo/llama.cmake")
  elseif(CMAKE_VERSION VERSION_LESS 3.19)
    # DEFER does not exist yet: set the options for all of ggml.
    add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-fno-dse;-fno-tree-dse>")
  else()
    # The folder `src` must be configured first, so wait for the end of ggml's own CMakeLists.txt.
    cmake_language(DEFER CALL set_source_files_properties "${amx}"
      DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/src"
      PROPERTIES COMPILE_OPTIONS "-fno-dse;-fno-tree-dse")
  endif()
endif()
