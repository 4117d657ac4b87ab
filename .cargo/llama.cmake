# Read by CMake while llama.cpp is configured (see config.toml): leaves out its library of helpers for command-line programs
# (chat parsers, downloads, JSON schemas), of which nothing here calls anything: 54 of 128 files to compile.
#
# llama-cpp-2 cannot be told so: it depends on llama-cpp-sys-2 with default features. See docs/decisions.md.
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
  set(LLAMA_BUILD_COMMON OFF CACHE BOOL "" FORCE)
endif()
