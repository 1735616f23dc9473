// What the compiler is told of loops and functions that its own estimates would leave slow.
#pragma once

#define ALWAYS_INLINE inline __attribute__((always_inline))
#define NEVER_INLINE __attribute__((noinline))
#define INLINE_LAMBDA __attribute__((always_inline))
#define INDEPENDENT _Pragma("GCC ivdep")
#define UNROLLED _Pragma("GCC unroll 8")
