// The loops in which time is taken, the same as in devices/timing.py: warm-up by detection, sentinel runs, bursts.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

constexpr double kBlockMs = 0.2;  // shorter inferences are timed as blocks of this length
constexpr size_t kMinSamples = 3;
constexpr int kSentinelRuns = 2;  // on each side, after one that is discarded
constexpr size_t kWarmUpRuns = 50;
constexpr double kWarmUpMs = 100.0;
constexpr size_t kWindow = 5;
constexpr double kSettled = 0.03;

using Run = std::function<void()>;

inline int64_t now_ns(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return int64_t(t.tv_sec) * 1000000000 + t.tv_nsec;
}
inline int64_t wall_ns() { return now_ns(CLOCK_MONOTONIC); }
inline int64_t thread_ns() { return now_ns(CLOCK_THREAD_CPUTIME_ID); }

inline double median(std::vector<double> values) {
  size_t half = values.size() / 2;
  std::sort(values.begin(), values.end());
  return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// A mapped file: the worker notes there what it does before it does it, so that after a crash others know who ran.
class Board {
 public:
  enum Phase : int32_t { kIdle, kLoad, kWarmUp, kRun, kRest };
  struct Note {
    int32_t network = -1;
    int32_t phase = kIdle;
    uint64_t steps = 0;
    uint64_t inferences = 0;
    int64_t begun_ns = 0;  // when the last inference, or block of them, began
  };

  Board(const std::string& path, bool create) {
    int file = open(path.c_str(), create ? O_RDWR | O_CREAT | O_CLOEXEC : O_RDWR | O_CLOEXEC, 0600);
    if (file < 0 || (create && ftruncate(file, 64) != 0)) throw std::runtime_error("cannot open the board");
    void* map = mmap(nullptr, 64, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (map == MAP_FAILED) throw std::runtime_error("cannot map the board");
    note_ = static_cast<Note*>(map);
    if (create) *note_ = Note();
  }
  void note(int network, Phase phase) {
    note_->network = network;
    note_->phase = phase;
    note_->steps++;
    note_->begun_ns = wall_ns();
  }
  void count() {
    note_->inferences++;
    note_->begun_ns = wall_ns();
  }
  Note read() const { return *note_; }

 private:
  Note* note_;
};

struct WarmUp {
  double first_run_ms = 0;
  int runs = 0;
  bool capped = false;
  double fastest_ms = 0;
  double typical_ms = 0;
};

inline double timed_ms(const Run& run, int64_t (*clock)()) {
  int64_t start = clock();
  run();
  return double(clock() - start) / 1e6;
}

// Run until the median of the last five is within 3 % of that of the five before.
inline WarmUp warm_up(const Run& run, const Run& count) {
  WarmUp found;
  count();
  found.first_run_ms = timed_ms(run, wall_ns);
  std::vector<double> times;
  double sum = 0;
  bool settled = false;
  while (!settled && times.size() < kWarmUpRuns && (times.size() < 6 || sum < kWarmUpMs)) {
    count();
    times.push_back(timed_ms(run, wall_ns));
    sum += times.back();
    if (times.size() >= 2 * kWindow) {
      double last = median({times.end() - kWindow, times.end()});
      double before = median({times.end() - 2 * kWindow, times.end() - kWindow});
      settled = std::abs(last - before) <= kSettled * before;
    }
  }
  found.runs = 1 + int(times.size());
  found.capped = !settled;
  found.fastest_ms = *std::min_element(times.begin(), times.end());
  found.typical_ms = median({times.end() - kWindow, times.end()});
  return found;
}

// Two sentinel runs after a discarded one, by the clock that labels are taken by.
inline std::vector<double> sentinel_ms(const Run& run, int threads) {
  run();
  std::vector<double> found;
  for (int i = 0; i < kSentinelRuns; i++) found.push_back(timed_ms(run, threads == 1 ? thread_ns : wall_ns));
  return found;
}

inline int block_of(double fastest_ms) { return std::max(1, int(std::ceil(kBlockMs / fastest_ms))); }

struct Burst {
  std::vector<double> wall_ms, cpu_ms;
};

// Run back to back, the first run discarded.
inline Burst burst(const Run& run, const Run& count, double burst_ms, int block) {
  Burst found;
  count();
  run();
  int64_t begin = wall_ns(), now = begin;
  while (double(now - begin) < burst_ms * 1e6 || found.wall_ms.size() < kMinSamples) {
    count();
    int64_t cpu_start = thread_ns();
    int64_t start = wall_ns();
    for (int i = 0; i < block; i++) run();
    now = wall_ns();
    found.cpu_ms.push_back(double(thread_ns() - cpu_start) / 1e6 / block);
    found.wall_ms.push_back(double(now - start) / 1e6 / block);
  }
  return found;
}

inline std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The number at the start of a file of the kernel, NaN where there is none.
inline double number_of(const std::string& path) {
  if (path.empty()) return NAN;
  std::string text = text_of(path);
  char* end = nullptr;
  double value = std::strtod(text.c_str(), &end);
  return end == text.c_str() ? NAN : value;
}

struct Counters {
  long switches = 0;
  double wait_ms = 0;
  double suspended_s = 0;

  static Counters read() {
    Counters found;
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    found.switches = usage.ru_nivcsw;
    std::error_code error;
    for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task", error)) {
      std::ifstream file(thread.path() / "schedstat");
      double ran = 0, waited = 0;
      if (file >> ran >> waited) found.wait_ms += waited / 1e6;
    }
    found.suspended_s = double(now_ns(CLOCK_BOOTTIME) - wall_ns()) / 1e9;
    return found;
  }
};
