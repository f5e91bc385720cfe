// Maps of bf16 beside those of floats: each number is rounded when it is written, and a float when it is read.
#pragma once
#include <cstring>

#include "vector.h"

typedef uint32_t uvec __attribute__((vector_size(LANES * 4)));
typedef uint16_t halves_of_vec __attribute__((vector_size(LANES * 2)));
typedef uint16_t loose_halves __attribute__((vector_size(LANES * 2), aligned(1), may_alias));

// To the nearest, half to even, in the upper half of each number; what is below the least normal number becomes 0, as by the instruction.
INLINE uvec upper_halves(vec x) {
    uvec bits;
    std::memcpy(&bits, &x, sizeof bits);
    const uvec nearest = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u, sign = bits & 0x80000000u;
    const uvec number = (bits & 0x7f800000u) == 0 ? sign : nearest;
    return (bits & 0x7fffffffu) > 0x7f800000u ? (bits | 0x400000u) & 0xffff0000u : number;        // NaN stays one
}

INLINE void put_halves(uint16_t* to, vec x) {
    *reinterpret_cast<loose_halves*>(to) = __builtin_convertvector(upper_halves(x) >> 16, halves_of_vec);
}

INLINE vec widened(halves_of_vec x) {
    const uvec bits = __builtin_convertvector(x, uvec) << 16;
    vec found;
    std::memcpy(&found, &bits, sizeof found);
    return found;
}

INLINE const uint16_t* halves_at(const float* map, int64_t number) { return reinterpret_cast<const uint16_t*>(map) + number; }
INLINE uint16_t* halves_at(float* map, int64_t number) { return reinterpret_cast<uint16_t*>(map) + number; }

// Numbers from the `number`th on of a map, whose numbers are halves or floats.
INLINE vec load_at(bool halves, const float* map, int64_t number) {
    return halves ? widened(*reinterpret_cast<const loose_halves*>(halves_at(map, number))) : load(map + number);
}
INLINE void store_at(bool halves, float* map, int64_t number, vec x) { halves ? put_halves(halves_at(map, number), x) : store(map + number, x); }
