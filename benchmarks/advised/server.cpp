/* A server: one thread reads requests and hands each to the worker of its connection, which parses
 * it, answers it from a pool of buffers, and remembers some of it in the connection's session. A
 * burst of large requests comes in the middle; later half of the connections close. */
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unistd.h>
#include <unordered_map>
#include <vector>

enum { WORKERS = 4, CONNECTIONS = 64, REQUESTS = 6000, REMEMBERED = 120, POOLED = 6 };

struct Request { int number, connection; std::string text; };

struct Session { /* what a connection keeps: the newest answers, by their key */
    std::list<std::pair<std::string, std::string>> newest;
    std::unordered_map<std::string, decltype(newest)::iterator> by_key;
    void keep(std::string key, std::string answer) {
        newest.emplace_front(key, std::move(answer));
        by_key[std::move(key)] = newest.begin();
        if (newest.size() <= REMEMBERED) return;
        by_key.erase(newest.back().first);
        newest.pop_back();
    }
};

struct Worker {
    std::mutex guard;
    std::condition_variable news;
    std::deque<std::unique_ptr<Request>> waiting;
    std::map<int, Session> sessions;
    std::vector<std::vector<char>> pool;
    std::thread thread;
    void serve();
    void answer(const Request &);
};

static unsigned spread(unsigned n) { return (n ^ n >> 15) * 2654435761u ^ n >> 7; }

static bool burst(int number) { return number > REQUESTS / 3 && number < REQUESTS / 2; }

void Worker::answer(const Request &request) {
    std::map<std::string, std::string> fields;
    for (size_t at = 0; at < request.text.size();) {
        size_t past = request.text.find('\n', at);
        if (past == std::string::npos) break;
        size_t colon = request.text.find(':', at);
        fields[request.text.substr(at, colon - at)] = request.text.substr(colon + 1, past - colon - 1);
        at = past + 1;
    }
    std::vector<char> buffer;
    if (!pool.empty()) buffer.swap(pool.back()), pool.pop_back();
    buffer.clear();
    for (auto &field : fields) buffer.insert(buffer.end(), field.second.begin(), field.second.end());
    unsigned roll = spread(request.number);
    std::string body(burst(request.number) ? 4000 + roll % 60000 : 60 + roll % 3000, 'b');
    buffer.insert(buffer.end(), body.begin(), body.end());
    if (roll % 3 == 0)
        sessions[request.connection].keep("answer " + std::to_string(request.number) + " of a session",
                                          std::string(buffer.data(), buffer.size() / (burst(request.number) ? 40 : 2)));
    if (pool.size() < POOLED) pool.push_back(std::move(buffer));
}

void Worker::serve() {
    for (;;) {
        std::unique_lock<std::mutex> lock(guard);
        news.wait(lock, [this] { return !waiting.empty(); });
        std::unique_ptr<Request> request = std::move(waiting.front());
        waiting.pop_front();
        lock.unlock();
        if (request->number < 0) return;
        if (request->text.empty()) sessions.erase(request->connection);
        else answer(*request);
    }
}

static Worker workers[WORKERS];

static void send(int number, int connection, std::string text) {
    Worker &worker = workers[connection % WORKERS];
    auto request = std::make_unique<Request>(Request{number, connection, std::move(text)});
    std::lock_guard<std::mutex> lock(worker.guard);
    worker.waiting.push_back(std::move(request));
    worker.news.notify_one();
}

int main() {
    for (auto &worker : workers) worker.thread = std::thread(&Worker::serve, &worker);
    timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (int number = 0; number < REQUESTS; number++) {
        unsigned roll = spread(number * 7 + 1);
        std::string text;
        for (unsigned i = 0; i < 6 + roll % 12; i++)
            text += "field-" + std::to_string(i) + ":" + std::string(8 + (roll >> i) % 90, 'v') + "\n";
        send(number, roll % CONNECTIONS, std::move(text));
        if ((next.tv_nsec += 400000) >= 1000000000) next.tv_nsec -= 1000000000, next.tv_sec++;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, nullptr);
    }
    for (int connection = 0; connection < CONNECTIONS; connection += 2) send(REQUESTS, connection, "");
    usleep(1200000);
    for (int worker = 0; worker < WORKERS; worker++) send(-1, worker, "");
    for (auto &worker : workers) worker.thread.join();
    puts("done");
}
