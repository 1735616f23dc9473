// How a part is looked at with one set of instructions. Included once for each of them, within its namespace and its
// options, as compilers do not put functions with other options into one.

template <class Label>
ALWAYS_INLINE std::uint64_t short_block(const Label* labels, Index size, Label& any, Label& all) {
    std::uint64_t starts = 0;
    for (Index at = 0; at < size; ++at) {
        any |= labels[at];
        all &= labels[at];
        starts |= std::uint64_t{at == 0 || labels[at] != labels[at - 1]} << at;
    }
    return starts;
}

template <class Instructions, class Label>
ALWAYS_INLINE void look(const Label* labels, Index size, PartOfLabels& part) {
    Label any = 0;
    Label all = static_cast<Label>(~Label{0});
    // nothing lies before the first block, perhaps
    part.starts[0] = short_block(labels, std::min(size, BLOCK), any, all);
    Index at = BLOCK;
    for (; at + BLOCK <= size; at += BLOCK) {
        part.starts[at / BLOCK] = 1 | Instructions::block(labels + at, any, all);
    }
    if (at < size) {
        part.starts[at / BLOCK] = short_block(labels + at, size - at, any, all);
    }
    part.any = any;
    part.all = all;
}

template <class Instructions>
ALWAYS_INLINE void look_at(const void* labels, int itemsize, Index size, PartOfLabels& part) {
    switch (itemsize) {
        case 1: return look<Instructions>(static_cast<const std::uint8_t*>(labels), size, part);
        case 2: return look<Instructions>(static_cast<const std::uint16_t*>(labels), size, part);
        case 4: return look<Instructions>(static_cast<const std::uint32_t*>(labels), size, part);
        default: return look<Instructions>(static_cast<const std::uint64_t*>(labels), size, part);
    }
}
