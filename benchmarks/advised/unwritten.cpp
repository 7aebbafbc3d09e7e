/* A pool of threads answers requests one after another. Each answer grows in a buffer that doubles,
 * so that its last half is never written; a few answers are remembered with all that they reserved.
 */
#include <condition_variable>
#include <mutex>
#include <cstdio>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

static std::mutex turn_taking;
static std::condition_variable called, answered;
static int turn = -1, request;
static bool over;
static std::vector<std::vector<char>> remembered;

static void answer(int number) {
    std::vector<char> out;
    unsigned size = 600000 + number * 7919 % 500000;
    out.reserve(2 * size); /* more than it will write */
    std::vector<std::string> parts;
    for (unsigned written = 0; written < size; written += 1000) {
        parts.push_back(std::string(900, 'p'));
        out.insert(out.end(), 1000, 'x');
    }
    if (number % 3 == 0) remembered.push_back(std::move(out));
}

static void serve(int me) {
    std::unique_lock<std::mutex> lock(turn_taking);
    for (;;) {
        called.wait(lock, [&] { return turn == me || over; });
        if (over) return;
        answer(request);
        turn = -1;
        answered.notify_one();
    }
}

int main() {
    const int threads = 8;
    std::vector<std::thread> pool;
    for (int i = 0; i < threads; i++) pool.emplace_back(serve, i);
    for (int number = 0; number < 120; number++) {
        std::unique_lock<std::mutex> lock(turn_taking);
        request = number, turn = number % threads;
        called.notify_all();
        answered.wait(lock, [] { return turn == -1; });
        lock.unlock();
        usleep(5000);
    }
    usleep(800000);
    puts("done");
    { std::lock_guard<std::mutex> lock(turn_taking); over = true; }
    called.notify_all();
    for (auto &one : pool) one.join();
}
