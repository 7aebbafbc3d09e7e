/* A cache that is full: what is held is asked for, and there is little to save. */
#include <cstdio>
#include <string>
#include <unistd.h>
#include <unordered_map>

int main() {
    std::unordered_map<unsigned, std::string> cache;
    unsigned state = 1;
    for (int request = 0; request < 400000; request++) {
        state = state * 1664525u + 1013904223u;
        unsigned key = (state >> 8) % 60000;
        cache[key] = std::string(100 + key % 1100, 'v');
        if (request % 10000 == 0) usleep(10000);
    }
    usleep(800000);
    puts("done");
    return cache.size() < 1000;
}
