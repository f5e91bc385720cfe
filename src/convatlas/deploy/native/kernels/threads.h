// Threads of our own, which wait for work: OpenMP's are not there on every machine, fight with those of torch, and are lost in a
// child of fork().
//
// Work comes in stages, a stage in chunks, and a stage begins when the one before is done. Every thread has chunks of its own, and
// takes others' when it has done those: on a busy machine nobody waits for a thread that the system has put aside, unless that has
// begun. A chunk's result does not depend on who computes it.
#pragma once
#include <cstdint>

#ifdef __wasm__                                 // one thread

template <class Work, class After>
void together(int64_t, int64_t stages, int64_t chunks, const Work& work, const After& after) {
    for (int64_t stage = 0; stage < stages; stage++) {
        for (int64_t chunk = 0; chunk < chunks; chunk++) work(0, stage, chunk);
        after(stage);
    }
}

#else

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>
#ifndef _WIN32
#include <pthread.h>
#endif

// For so long a thread looks whether it can go on, before it sleeps, which the next stage would pay for: within a call the others are at
// work, after it nobody may come. After the first moment it gives its core to whoever wants one.
constexpr std::chrono::microseconds WITHIN(2000), BETWEEN(100), SELFISH(20);
static std::atomic<int64_t> working{0};                 // threads of all calls that run now

inline void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Threads wait here until something is so. Whoever makes it so, by an atomic, tells.
class Event {
    std::mutex mutex;
    std::condition_variable changed;
    std::atomic<int64_t> asleep{0};

  public:
    template <class Ready>
    void wait(std::chrono::microseconds awake, const Ready& ready) {
        static const int64_t cores = std::thread::hardware_concurrency();
        const auto began = std::chrono::steady_clock::now();
        for (;;) {                              // it is mostly soon
            for (int i = 0; i < 64; i++) {
                if (ready()) return;
                pause();
            }
            const auto waited = std::chrono::steady_clock::now() - began;
            if (waited > awake || working.load(std::memory_order_relaxed) > cores) break;
            if (waited > SELFISH) std::this_thread::yield();
        }
        std::unique_lock<std::mutex> lock(mutex);
        asleep++;
        changed.wait(lock, ready);
        asleep--;
    }
    void tell() {
        if (!asleep) return;                    // whoever is about to sleep looks again first
        { std::lock_guard<std::mutex> lock(mutex); }
        changed.notify_all();
    }
};

// One call's stages and chunks. It outlives the call, for workers that come late and find nothing to do.
class Team {
    struct alignas(64) Claim {
        std::atomic<int64_t> stages{0};         // in which the chunk has been taken
    };
    const int64_t threads, stages, chunks;
    const std::function<void(int64_t, int64_t, int64_t)> work;      // not called once the call has ended
    const std::function<void(int64_t)> after;
    std::unique_ptr<Claim[]> claims;
    alignas(64) std::atomic<int64_t> stage{0};
    alignas(64) std::atomic<int64_t> done{0};                       // chunks of this stage
    Event event;

  public:
    template <class Work, class After>
    Team(int64_t of, int64_t many, int64_t each, const Work& to_do, const After& then)
        : threads(of), stages(many), chunks(each), work(std::cref(to_do)), after(std::cref(then)), claims(new Claim[each]) {}

    // Take part until everything is done.
    void join(int64_t thread) {
        for (int64_t now = stage; now < stages; now = stage) {
            for (int64_t i = 0, chunk = thread * chunks / threads; i < chunks; i++, chunk = chunk + 1 < chunks ? chunk + 1 : 0) {
                int64_t before = now;
                if (claims[chunk].stages.load() != now || !claims[chunk].stages.compare_exchange_strong(before, now + 1)) continue;
                work(thread, now, chunk);
                if (done.fetch_add(1) + 1 == chunks) {
                    after(now);
                    done = 0;
                    stage = now + 1;
                    event.tell();
                }
            }
            event.wait(WITHIN, [&] { return stage != now; });
        }
    }
};

class Worker {
    std::mutex mutex;
    std::shared_ptr<Team> next;
    int64_t thread = 0;
    std::atomic<bool> given{false};
    Event event;

    void serve() {
        for (;;) {
            event.wait(BETWEEN, [&] { return given.load(); });
            std::shared_ptr<Team> team;
            int64_t as;
            {
                std::lock_guard<std::mutex> lock(mutex);
                team.swap(next), as = thread, given = false;
            }
            team->join(as);
        }
    }

  public:
    Worker() { std::thread(&Worker::serve, this).detach(); }
    void give(const std::shared_ptr<Team>& team, int64_t as) {
        {
            std::lock_guard<std::mutex> lock(mutex);
            next = team, thread = as, given = true;
        }
        event.tell();
    }
};

// Workers that no call has; calls in several threads have different ones. They live as long as the process.
struct Pool {
    std::mutex mutex;
    std::vector<Worker*> idle;
};

static std::atomic<Pool*> pool{nullptr};
#ifndef _WIN32
// A child of fork() has none of the workers, and perhaps a lock that nobody will open.
static const int at_fork = pthread_atfork(nullptr, nullptr, [] { pool = nullptr, working = 0; });
#endif

inline Pool& the_pool() {
    Pool* found = pool;
    if (found) return *found;
    Pool* made = new Pool;
    if (pool.compare_exchange_strong(found, made)) return *made;
    delete made;
    return *found;
}

// So many workers, or fewer where the system gives no more threads.
inline std::vector<Worker*> taken(Pool& from, int64_t count) {
    std::vector<Worker*> workers;
    std::lock_guard<std::mutex> lock(from.mutex);
    for (; int64_t(workers.size()) < count && !from.idle.empty(); from.idle.pop_back()) workers.push_back(from.idle.back());
    try {
        while (int64_t(workers.size()) < count) workers.push_back(new Worker);
    } catch (...) {
    }
    return workers;
}

// Call work(thread, stage, chunk) for all of them and, after each stage, after(stage), in so many threads, of which this is one.
template <class Work, class After>
void together(int64_t threads, int64_t stages, int64_t chunks, const Work& work, const After& after) {
    Pool& mine = the_pool();
    const std::vector<Worker*> workers = taken(mine, std::min(threads, chunks) - 1);
    const int64_t all = int64_t(workers.size()) + 1;
    const auto team = std::make_shared<Team>(all, stages, chunks, work, after);
    working += all;
    for (int64_t i = 1; i < all; i++) workers[i - 1]->give(team, i);
    team->join(0);
    working -= all;
    std::lock_guard<std::mutex> lock(mine.mutex);
    mine.idle.insert(mine.idle.end(), workers.rbegin(), workers.rend());
}

#endif
