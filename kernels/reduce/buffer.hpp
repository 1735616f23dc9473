// Memory of no value yet.
#pragma once

#include "common/axes.hpp"

#include <cstddef>
#include <memory>

namespace chunkpyramid {

class Buffer {
  public:
    char* reserve(Index bytes) {
        if (bytes > bytes_) {
            memory_.reset(new char[std::size_t(bytes)]);
            bytes_ = bytes;
        }
        return memory_.get();
    }

  private:
    std::unique_ptr<char[]> memory_;
    Index bytes_ = 0;
};

}  // namespace chunkpyramid
