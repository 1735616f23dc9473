// Where labels go in hash tables.
#pragma once

#include <cstdint>
#include <random>

namespace chunkpyramid {

// The finaliser of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): every
// bit of a label changes every bit of its place, so that labels which agree in many bits do not meet; and the seed keeps
// anybody from choosing labels that do.
inline std::uint64_t mixed(std::uint64_t bits, std::uint64_t seed) {
    bits ^= seed;
    bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9ULL;
    bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebULL;
    return bits ^ (bits >> 31);
}

// One for every process.
inline std::uint64_t seed() {
    static const std::uint64_t chosen = [] {
        std::random_device device;
        return std::uint64_t{device()} << 32 | device();
    }();
    return chosen;
}

}  // namespace chunkpyramid
