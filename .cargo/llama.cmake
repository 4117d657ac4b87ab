# Read by CMake while llama.cpp is configured (see config.toml): leaves out its library of helpers for command-line programs
# (chat parsers, downloads, JSON schemas), of which nothing here calls anything: 54 of 128 files to compile.
#
# llama-cpp-2 cannot be told so: it depends on llama-cpp-sys-2 with default features. See docs/decisions.md.
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
  set(LLAMA_BUILD_COMMON OFF CACHE BOOL "" FORCE)
endif()

# GCC older than 14 throws away the stores that fill the table which configures the tile registers of Intel's AMX: its
# _tile_loadconfig tells the optimizer of the first eight bytes only. A processor with AMX then faults in the first pass
# over a quantized model (ggml-org/llama.cpp issue 20824 and pull request 26954). Removing no dead stores in the one file
# that uses tiles keeps the table. Its sources are known at the end of ggml's own CMakeLists.txt.
if(PROJECT_NAME STREQUAL "ggml" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 14)
  if(CMAKE_VERSION VERSION_LESS 3.19)
    add_compile_options(-fno-dse -fno-tree-dse)
  else()
    cmake_language(DEFER CALL set_source_files_properties
      "${CMAKE_CURRENT_SOURCE_DIR}/src/ggml-cpu/amx/mmq.cpp" DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/src"
      PROPERTIES COMPILE_OPTIONS "-fno-dse;-fno-tree-dse")
  endif()
endif()
