// Drives PyTorch's own caching allocator (libc10_cuda.so of a wheel) over a device that is none.
//
//   stdin   lines: a SLOT SIZE STREAM | f SLOT | m FRACTION
//   stdout  for each the address or 0, then the bytes allocated and reserved, retries and failures
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAStream.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <map>

namespace c10::cuda::_internal {
C10_CUDA_API void setHasPrimaryContext(bool (*)(DeviceIndex));
}

int main() {
    auto* allocator = c10::cuda::CUDACachingAllocator::get();
    allocator->init(1);
    c10::cuda::_internal::setHasPrimaryContext([](c10::DeviceIndex) { return true; });
    std::map<long, c10::DataPtr> blocks;
    for (char what; std::cin >> what;) {
        void* address = nullptr;
        if (what == 'a') {
            long slot, size, stream;
            std::cin >> slot >> size >> stream;
            auto handle = reinterpret_cast<cudaStream_t>(stream * 16);
            c10::cuda::setCurrentCUDAStream(c10::cuda::getStreamFromExternal(handle, 0));
            try {
                blocks[slot] = allocator->allocate(size);
                address = blocks[slot].get();
            } catch (const c10::Error&) {  // out of memory
            }
        } else if (what == 'f') {
            long slot;
            std::cin >> slot;
            blocks.erase(slot);
        } else {
            double fraction;
            std::cin >> fraction;
            allocator->setMemoryFraction(fraction, 0);
        }
        auto told = allocator->getDeviceStats(0);
        printf("%lu %ld %ld %ld %ld\n", reinterpret_cast<unsigned long>(address),
               long(told.allocated_bytes[0].current), long(told.reserved_bytes[0].current),
               long(told.num_alloc_retries), long(told.num_ooms));
    }
    fflush(stdout);
    _exit(0);
}
