# The instructions that labels are looked at with. Included by _labels.pyx.
cdef extern from "run_starts.hpp" namespace "chunkpyramid" nogil:
    int c_instruction_sets "chunkpyramid::instruction_sets"() noexcept
    void c_use_instruction_set "chunkpyramid::use_instruction_set"(int chosen) noexcept


def instruction_sets():
    """Return how many sets of instructions there are here; 0 is what every machine has, and the last one is used."""
    return c_instruction_sets()


def use_instruction_set(int chosen):
    """Use another set of instructions, so that tests can compare them."""
    if not 0 <= chosen < c_instruction_sets():
        raise ValueError(f"there are {c_instruction_sets()} sets of instructions here, and not one of number {chosen}")
    c_use_instruction_set(chosen)
