// What ends a call that cannot go on: an exception; in WebAssembly, which has none here, a function of the host that throws its own.
#pragma once
#include <new>
#include <stdexcept>
#include <string>

#ifdef __wasm__
extern "C" __attribute__((import_module("convatlas"), import_name("refuse"), noreturn)) void convatlas_refuse(const char* why, size_t bytes);

[[noreturn]] inline void refuse(const std::string& why) { convatlas_refuse(why.data(), why.size()); }
[[noreturn]] inline void no_memory() { refuse("there is not enough memory"); }
#else
[[noreturn]] inline void refuse(const std::string& why) { throw std::runtime_error(why); }
[[noreturn]] inline void no_memory() { throw std::bad_alloc(); }
#endif
