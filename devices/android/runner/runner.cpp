// tempograd-runner: times networks on a phone, on its own, and writes what it found as JSON lines.
//
//   tempograd-runner serve FOLDER LIBRARY OWNER         start the loop, detached from whoever started it
//   tempograd-runner ask FOLDER N OFFSET WAIT_MS WORDS  hand it command N, wait, print its replies from OFFSET on
//   tempograd-runner stop FOLDER                        end the loop, whatever it does, and remove the folder
//   tempograd-runner version LIBRARY                    print the version of ONNX Runtime
//   tempograd-runner sweep FOLDER OWNER                 end and remove what others left in it; print who is still busy
//   tempograd-runner digest FILE...                     print the SHA-256 of files, '-' where there is none
//
// The loop takes commands 1, 2, ... from FOLDER/commands and appends its replies to FOLDER/replies. A command that is
// there is never taken twice, so whoever lost the connection asks again with the same number. The loop is two
// processes: one times, the other waits for it and writes down how it ended. OWNER is a file that every question
// touches: where nobody has asked for long, the owner is dead, and its loops end.
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <sstream>

#include "network.h"
#include "sha256.h"
#include "timing.h"

namespace fs = std::filesystem;

namespace {

constexpr int kOthersEvery = 4;       // rounds from one reading of the other sentinels to the next
constexpr double kMinPatienceMs = 2000;
constexpr double kPatience = 20;      // times what a round is expected to take
constexpr int64_t kReserved = 16 << 20;  // bytes of storage kept for replies, so that a full phone loses none
constexpr double kSuspendedS = 0.001;
constexpr double kOrphanS = 900;      // an owner that asks nothing for so long is gone
constexpr double kSilentS = 60;       // one that did not for so long leaves the phone to others: it asks each 20 s

std::string text(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.9g", value);
  return buffer;
}

std::string text(const std::vector<double>& values) {
  std::string out = "[";
  for (double value : values) out += (out.size() > 1 ? "," : "") + text(value);
  return out + "]";
}

std::string as_json(const std::string& words) {
  std::string out = "\"";
  for (unsigned char c : words) {
    if (c == '"' || c == '\\') out += '\\';
    out += c < 32 || c > 126 ? ' ' : char(c);
  }
  return out + "\"";
}

std::string counts(const std::map<std::string, int>& found) {
  std::string out = "{";
  for (const auto& [name, n] : found) out += (out.size() > 1 ? "," : "") + as_json(name) + ":" + std::to_string(n);
  return out + "}";
}

std::string failure(const char* cause, const char* phase, std::string detail) {
  return std::string("\"failure\":{\"cause\":\"") + cause + "\",\"phase\":\"" + phase +
         "\",\"detail\":" + as_json(detail.substr(0, 500)) + "}";
}

void move_to(const std::vector<int>& cores) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int core : cores) CPU_SET(core, &set);
  for (const auto& thread : fs::directory_iterator("/proc/self/task")) {
    pid_t id = std::atoi(thread.path().filename().c_str());
    if (sched_setaffinity(id, sizeof set, &set) != 0 && errno != ESRCH)
      throw Refused("cannot move to the cores asked for: " + std::string(std::strerror(errno)));
  }
}

std::vector<int> cores_of(const std::string& text) {
  std::vector<int> cores;
  std::istringstream words(text);
  for (std::string part; std::getline(words, part, ',');) cores.push_back(std::stoi(part));
  return cores;
}

void alarm_in(double ms) {
  itimerval timer{};
  timer.it_value.tv_sec = time_t(ms / 1000);
  timer.it_value.tv_usec = suseconds_t(ms * 1000) % 1000000;
  setitimer(ITIMER_REAL, &timer, nullptr);
}

void rest_ms(double ms) { usleep(useconds_t(ms * 1000)); }

// The status that Android gives its own heat, 0 for cool; -1 where nobody says.
int thermal_status() {
  FILE* pipe = popen("dumpsys -t 3 thermalservice 2>/dev/null", "r");
  int status = -1;
  char line[256];
  while (pipe && std::fgets(line, sizeof line, pipe))
    if (const char* found = std::strstr(line, "Thermal Status:")) status = std::atoi(found + 15);
  if (pipe) pclose(pipe);
  return status;
}

double age_s(const std::string& path) {
  struct stat found;
  if (stat(path.c_str(), &found) != 0) return INFINITY;
  return double(now_ns(CLOCK_REALTIME)) / 1e9 - double(found.st_mtime);
}

void touch(const std::string& path) {
  int file = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (file >= 0) futimens(file, nullptr), close(file);
}

long resident_bytes(const char* field) {
  std::istringstream lines(text_of("/proc/self/status"));
  for (std::string line; std::getline(lines, line);)
    if (line.rfind(field, 0) == 0) return std::atol(line.c_str() + std::strlen(field) + 1) * 1024;
  return -1;
}

using Settings = std::map<std::string, std::string>;

class Worker {
 public:
  Worker(const std::string& folder, const std::string& library)
      : folder_(folder), library_(library), board_(folder + "/board", false) {
    replies_ = open((folder + "/replies").c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
#ifdef FALLOC_FL_KEEP_SIZE
    if (replies_ < 0 || (fallocate(replies_, FALLOC_FL_KEEP_SIZE, 0, kReserved) != 0 && errno == ENOSPC))
      throw Refused("storage full: " + std::to_string(kReserved >> 20) + " MB for results cannot be had");
#endif
  }

  int loop(const std::string& owner) {
    for (int number = 1;; number++) {
      std::string path = folder_ + "/commands/" + std::to_string(number);
      for (int polls = 0; access(path.c_str(), R_OK) != 0; rest_ms(polls < 1000 ? 10 : 100))
        if (++polls % 100 == 0 && age_s(owner) > kOrphanS) return 3;
      std::istringstream words(text_of(path));
      std::vector<std::string> command{std::istream_iterator<std::string>(words), {}};
      if (command.empty()) command = {"?"};
      if (command[0] == "end") return 0;
      std::string reply;
      try {
        reply = answer(command);
      } catch (const std::exception& error) {
        reply = "\"error\":" + as_json(std::string(error.what()).substr(0, 500));
      }
      alarm_in(0);
      board_.note(-1, Board::kIdle);
      write_line("{\"done\":" + std::to_string(number) + "," + reply + "}");
    }
  }

 private:
  struct Held {
    std::unique_ptr<Network> network;
    WarmUp warm;
  };

  std::string answer(const std::vector<std::string>& c) {
    if (c[0] == "init") return init({c.begin() + 1, c.end()});
    if (c[0] == "load" && c.size() % 3 == 1) {
      for (size_t i = 1; i < c.size(); i += 3) {
        std::string loaded = load(std::stoi(c[i]), c[i + 1], c[i + 2]);
        alarm_in(0);
        board_.note(-1, Board::kIdle);
        write_line("{\"loaded\":{\"network\":" + c[i] + "," + loaded + "}}");
      }
      return "\"networks\":" + std::to_string(c.size() / 3);
    }
    if (c[0] == "start_timing") return start_timing();
    if (c[0] == "run_pass" && c.size() >= 2) return run_pass(std::stod(c[1]), {c.begin() + 2, c.end()});
    if (c[0] == "outputs" && c.size() == 4) return outputs(std::stoi(c[1]), c[2], c[3]);
    if (c[0] == "hold" && c.size() == 2) {
      for (auto& [number, held] : networks_) held.network->hold(c[1] == "1");
      return "\"held\":true";
    }
    throw Refused("no such command: " + c[0]);
  }

  void write_line(std::string line) {
    line += "\n";
    if (write(replies_, line.data(), line.size()) != ssize_t(line.size())) {
      std::fprintf(stderr, "cannot write results: %s\n", std::strerror(errno));
      _exit(4);
    }
  }

  std::string init(const std::vector<std::string>& words) {
    for (const auto& word : words) settings_[word.substr(0, word.find('='))] = word.substr(word.find('=') + 1);
    threads_ = std::stoi(settings_.at("threads"));
    timed_ = cores_of(settings_.at("cores"));
    idle_ = cores_of(settings_.at("idle"));
    move_to(idle_);
    alarm_in(number("start_ms"));
    engine_ = std::make_unique<Engine>(library_, threads_, std::stoi(settings_.at("optimisation")));
    for (std::string kind : {"mixed", "convolution", "depthwise", "overhead"}) {
      Held& held = sentinels_[kind];
      held.network = std::make_unique<Network>(*engine_, text_of(settings_.at(kind)), folder_);
      held.warm = warm_up([&] { held.network->run(); }, [] {});
    }
    kind_ = settings_.at("sentinel");
    return "\"version\":" + as_json(engine_->version) + ",\"sentinel_ms\":" + text(sentinels_.at(kind_).warm.typical_ms);
  }

  std::string load(int id, const std::string& digest, const std::string& path) {
    const char* phase = "load";
    board_.note(id, Board::kLoad);
    alarm_in(number("load_ms"));
    try {
      std::string model = text_of(path);
      std::string found = sha256(model);
      if (found != digest) throw Refused("the file has SHA-256 " + found.substr(0, 12) + "..., not " +
                                         digest.substr(0, 12) + "... as announced");
      std::ofstream("/proc/self/clear_refs") << "5";
      long before = resident_bytes("VmRSS:");
      int64_t start = wall_ns();
      Held held;
      held.network = std::make_unique<Network>(*engine_, model, fs::path(path).parent_path().string());
      double load_ms = double(wall_ns() - start) / 1e6;
      phase = "warm_up";
      board_.note(id, Board::kWarmUp);
      alarm_in(number("load_ms"));
      held.warm = warm_up([&] { held.network->run(); }, [this] { board_.count(); });
      for (int i = 0; i < kInputs; i++) {
        held.network->run();
        std::string wrong = held.network->invalid_output();
        if (!wrong.empty()) return failure("invalid_output", phase, wrong);
      }
      long peak = resident_bytes("VmHWM:");
      rusage usage;
      getrusage(RUSAGE_SELF, &usage);
      std::string grown = peak < 0 || before < 0 ? "null" : std::to_string(std::max(peak - before, 0L));
      std::string reply = "\"load_ms\":" + text(load_ms) + ",\"first_run_ms\":" + text(held.warm.first_run_ms) +
                          ",\"warm_up_runs\":" + std::to_string(held.warm.runs) +
                          ",\"warm_up_capped\":" + (held.warm.capped ? "true" : "false") +
                          ",\"typical_ms\":" + text(held.warm.typical_ms) +
                          ",\"providers\":" + counts(held.network->providers()) +
                          ",\"peak_memory_bytes\":" + std::to_string(usage.ru_maxrss * 1024) +
                          ",\"memory_bytes\":" + grown;
      networks_[id] = std::move(held);
      return reply;
    } catch (const std::bad_alloc&) {
      return failure("oom", phase, "out of memory");
    } catch (const Refused& error) {
      return failure("refused", phase, std::string("ONNX Runtime refuses this network: ") + error.what());
    }
  }

  std::string outputs(int id, const std::string& from, const std::string& to) {
    board_.note(id, Board::kRun);
    alarm_in(number("load_ms"));
    std::vector<int64_t> shape;
    std::string found = networks_.at(id).network->compute(text_of(from), &shape);
    std::ofstream file(to, std::ios::binary);
    if (!(file << found).flush()) throw Refused("storage full: cannot write an output");
    std::string sizes;
    for (int64_t size : shape) sizes += (sizes.empty() ? "" : ",") + std::to_string(size);
    return "\"shape\":[" + sizes + "],\"digest\":" + as_json(sha256(found));
  }

  std::string start_timing() {
    move_to(timed_);
    for (int i = 0; i < 5; i++) readings_.push_back(reading());
    return "\"baseline_ms\":" + text(median(readings_));
  }

  std::string run_pass(double burst_ms, const std::vector<std::string>& ids) {
    std::vector<std::string> rows;  // of one period of work; they are written while the phone rests
    std::string unfinished;
    rest_until_cool(false);
    int64_t period = wall_ns();
    for (const auto& word : ids) {
      if (double(wall_ns() - period) > number("duty_ms") * 1e6) {
        write_rounds(rows);
        rest_until_cool(true);
        period = wall_ns();
      }
      int id = std::stoi(word);
      board_.note(id, Board::kRun);
      Held& held = networks_.at(id);
      double expected_ms = held.warm.typical_ms + std::max(burst_ms, kMinSamples * held.warm.typical_ms) +
                           2 * (1 + kSentinelRuns) * sentinels_.at(kind_).warm.typical_ms;
      alarm_in(std::max(kMinPatienceMs, kPatience * expected_ms));
      try {
        rows.push_back(round(id, held, burst_ms));
      } catch (const std::bad_alloc&) {
        return "\"network\":" + word + "," + failure("oom", "run", "out of memory");
      } catch (const Refused& error) {
        return "\"network\":" + word + "," + failure("crashed", "run", error.what());
      }
    }
    alarm_in(0);
    write_rounds(rows);
    return "\"rounds\":" + std::to_string(ids.size());
  }

  std::string round(int id, Held& held, double burst_ms) {
    double started_s = double(now_ns(CLOCK_REALTIME)) / 1e9;
    Counters start = Counters::read();
    std::vector<double> before = sentinel(kind_);
    Counters inner = Counters::read();
    int block = block_of(held.warm.fastest_ms);
    Burst found = burst([&] { held.network->run(); }, [this] { board_.count(); }, burst_ms, block);
    Counters after_burst = Counters::read();
    std::string state = states();
    std::vector<double> after = sentinel(kind_);
    std::string events;
    if (Counters::read().suspended_s - start.suspended_s > kSuspendedS) events += ",\"suspended\"";
    if (settings_["emulated"] == "1") events += ",\"emulated\"";
    std::string others;
    if (rounds_++ % kOthersEvery == 0)
      for (const auto& [kind, other] : sentinels_)
        if (kind != kind_) {
          std::vector<double> read = sentinel(kind);
          others += (others.empty() ? "" : ",") + as_json(kind) + ":" + text(*std::min_element(read.begin(), read.end()));
        }
    return "\"network\":" + std::to_string(id) + ",\"started_s\":" + std::to_string(started_s) +
           ",\"sentinel_before_ms\":" + text(before) + ",\"sentinel_after_ms\":" + text(after) +
           ",\"wall_ms\":" + text(found.wall_ms) + ",\"cpu_ms\":" + text(found.cpu_ms) + ",\"gpu_ms\":[]" +
           ",\"involuntary_switches\":" + std::to_string(after_burst.switches - inner.switches) +
           ",\"run_queue_wait_ms\":" + text(std::max(0.0, after_burst.wait_ms - inner.wait_ms)) +
           ",\"block\":" + std::to_string(block) + ",\"other_sentinels_ms\":{" + others + "},\"state\":{" + state +
           "},\"events\":[" + (events.empty() ? "" : events.substr(1));
  }

  // Write the rounds of a period of work; if the phone was hot before or after it, each says so.
  void write_rounds(std::vector<std::string>& rows) {
    if (rows.empty()) return;
    alarm_in(0);
    board_.note(-1, Board::kRest);
    bool hot = hot_ || status() > 0;
    for (auto& row : rows) {
      bool first = row.back() == '[';
      write_line("{\"round\":{" + row + (hot ? first ? "\"thermal\"" : ",\"thermal\"" : "") + "]}}");
    }
    rows.clear();
  }

  // Rest, then go on as soon as the phone is cool, with growing pauses; after all of them it counts as hot.
  void rest_until_cool(bool worked) {
    alarm_in(0);
    double pause = number("rest_ms");
    board_.note(-1, Board::kRest);
    if (worked) rest_ms(pause);
    bool gave_up = hot_;
    for (double rested = 0; !(hot_ = !cool(), !hot_) && !gave_up && rested < number("pause_ms");) {
      board_.note(-1, Board::kRest);
      double next = std::min({pause, number("pause_ms") - rested, 60000.0});
      rest_ms(next);
      rested += next;
      pause *= 2;
    }
  }

  bool cool() {
    if (status() > 0) return false;
    readings_.push_back(reading());
    std::vector<double> ordered = readings_;
    std::sort(ordered.begin(), ordered.end());
    double baseline = ordered[ordered.size() / 10], known = number("cool_ms");  // by earlier loops; 0 if none was
    if (known > 0) baseline = std::min(baseline, known);
    return readings_.back() <= (1 + number("cool_within")) * baseline;
  }

  // One reading of the sentinel, the fastest of four runs, as in a round.
  double reading() {
    std::vector<double> all = sentinel(kind_), more = sentinel(kind_);
    all.insert(all.end(), more.begin(), more.end());
    return *std::min_element(all.begin(), all.end());
  }

  int status() {
    move_to(idle_);  // whoever is asked inherits these cores
    int found = thermal_status();
    move_to(timed_);
    if (found >= 0) thermal_ = found;
    return found;
  }

  std::string states() {
    const std::pair<const char*, double> found[] = {
        {"frequency_mhz", number_of(settings_["frequency"]) / 1000},
        {"temperature_c", number_of(settings_["temperature"]) / 1000},
        {"battery_percent", number_of(settings_["battery"])},
        {"thermal_status", thermal_},
    };
    std::string out;
    for (auto [name, value] : found)
      if (!std::isnan(value)) out += (out.empty() ? "" : ",") + as_json(name) + ":" + text(value);
    return out;
  }

  std::vector<double> sentinel(const std::string& kind) {
    Network& network = *sentinels_.at(kind).network;
    return sentinel_ms([&] { network.run(); }, threads_);
  }
  double number(const char* name) const { return std::stod(settings_.at(name)); }

  std::string folder_, library_, kind_;
  Board board_;
  int replies_, threads_ = 1;
  int64_t rounds_ = 0;
  double thermal_ = NAN;
  bool hot_ = false;
  Settings settings_;
  std::vector<int> timed_, idle_;
  std::vector<double> readings_;
  std::unique_ptr<Engine> engine_;
  std::map<std::string, Held> sentinels_;
  std::map<int, Held> networks_;
};

void confine() {
  auto limit = [](int kind, rlim_t value) {
    rlimit found;
    getrlimit(kind, &found);
    value = std::min(value, found.rlim_max);
    found = {value, value};
    setrlimit(kind, &found);
  };
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_FSIZE, 256 << 20);
  limit(RLIMIT_NOFILE, 256);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
}

int work(const std::string& folder, const std::string& library, const std::string& owner) {
  confine();
  try {
    return Worker(folder, library).loop(owner);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}

// Wait for the worker, and write down how it ended.
void supervise(pid_t worker, const std::string& folder, const Board& board) {
  int status = 0;
  waitpid(worker, &status, 0);
  Board::Note last = board.read();
  static const char* const phases[] = {"idle", "load", "warm_up", "run", "rest"};
  std::string tail = text_of(folder + "/stderr");
  if (tail.size() > 1000) tail = tail.substr(tail.size() - 1000);
  std::ostringstream line;
  line << "{\"ended\":{\"signal\":" << (WIFSIGNALED(status) ? std::to_string(WTERMSIG(status)) : "null")
       << ",\"code\":" << (WIFEXITED(status) ? std::to_string(WEXITSTATUS(status)) : "null")
       << ",\"network\":" << last.network << ",\"phase\":\"" << phases[last.phase] << "\",\"elapsed_ms\":"
       << text(double(wall_ns() - last.begun_ns) / 1e6) << ",\"detail\":" << as_json(tail) << "}}\n";
  int replies = open((folder + "/replies").c_str(), O_RDWR | O_APPEND | O_CREAT, 0600);
  off_t size = lseek(replies, 0, SEEK_END);
  char lastly = '\n';
  if (size > 0 && pread(replies, &lastly, 1, size - 1) == 1 && lastly != '\n') line.str("\n" + line.str());
  if (write(replies, line.str().data(), line.str().size()) < 0) std::perror("replies");
}

int serve(const std::string& folder, const std::string& library, const std::string& owner) {
  fs::create_directories(folder + "/commands");
  fs::create_directories(fs::path(owner).parent_path());
  touch(owner);
  std::ofstream(folder + "/owner") << owner;
  int lock = open((folder + "/lock").c_str(), O_RDWR | O_CREAT, 0600);
  if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) != 0) {
    std::fprintf(stderr, "a loop lives in %s already\n", folder.c_str());
    return 2;
  }
  Board board(folder + "/board", true);
  if (fork() != 0) return 0;  // the lock stays with the child
  setsid();
  std::ofstream(folder + "/pid") << getpid();
  signal(SIGHUP, SIG_IGN);
  int nothing = open("/dev/null", O_RDWR), errors = open((folder + "/stderr").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  dup2(nothing, 0);
  dup2(errors, 1);
  dup2(errors, 2);
  pid_t worker = fork();
  if (worker == 0) _exit(work(folder, library, owner));
  supervise(worker, folder, board);
  return 0;
}

bool lives(const std::string& folder) {
  int lock = open((folder + "/lock").c_str(), O_RDWR);
  bool free = lock < 0 || flock(lock, LOCK_SH | LOCK_NB) == 0;
  if (lock >= 0) close(lock);
  return !free;
}

// Where the replies to a command end in what was read so far, 0 if they are not all there.
size_t end_of_reply(const std::string& lines, const std::string& number, const char** status) {
  for (size_t start = 0, end; (end = lines.find('\n', start)) != lines.npos; start = end + 1) {
    bool done = lines.compare(start, 9 + number.size(), "{\"done\":" + number + ",") == 0;
    bool ended = lines.compare(start, 9, "{\"ended\":") == 0;
    if (done || ended) {
      *status = done ? "done" : "ended";
      return end + 1;
    }
  }
  return 0;
}

int ask(const std::vector<std::string>& a) {
  const std::string &folder = a[0], &number = a[1];
  std::string path = folder + "/commands/" + number, draft = path + ".draft";
  if (access(path.c_str(), F_OK) != 0) {
    std::ofstream file(draft);
    for (size_t i = 4; i < a.size(); i++) file << a[i] << ' ';
    if (!file.flush() || rename(draft.c_str(), path.c_str()) != 0) {
      std::fprintf(stderr, "cannot hand over the command: %s\n", std::strerror(errno));
      return 5;
    }
  }
  Board board(folder + "/board", false);
  touch(text_of(folder + "/owner"));
  int64_t begin = wall_ns();
  std::string lines;
  const char* status = "waiting";
  size_t end = 0;
  for (;; rest_ms(20)) {
    bool alive = lives(folder);  // before reading: whoever is dead now has written all
    std::ifstream file(folder + "/replies");
    file.seekg(std::stoll(a[2]) + std::streamoff(lines.size()));
    lines += std::string(std::istreambuf_iterator<char>(file), {});
    if ((end = end_of_reply(lines, number, &status))) break;
    if (!alive) status = "gone";
    if (!alive || double(wall_ns() - begin) > std::stod(a[3]) * 1e6) break;
  }
  if (!end) end = lines.rfind('\n') + 1;
  Board::Note note = board.read();
  std::fwrite(lines.data(), 1, end, stdout);
  std::printf("{\"status\":\"%s\",\"network\":%d,\"steps\":%llu}\n", status, note.network,
              static_cast<unsigned long long>(note.steps));
  return 0;
}

int stop(const std::string& folder) {
  pid_t leader = pid_t(number_of(folder + "/pid"));
  for (int tries = 0; tries < 100 && lives(folder); tries++) {
    if (leader > 1) kill(-leader, SIGKILL);
    rest_ms(20);
  }
  fs::remove_all(folder);
  return 0;
}

int sweep(const std::string& root, const std::string& me) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root, error)) {
    std::string folder = entry.path(), owner = text_of(folder + "/owner");
    if (owner == me) continue;
    if (lives(folder) && age_s(owner) < kSilentS) std::puts("busy");
    // without an owner it is being filled by somebody who has not started the loop yet
    else if (!owner.empty() || age_s(folder) > kOrphanS) stop(folder);
  }
  return 0;
}

int digest(const std::vector<std::string>& files) {
  for (const auto& path : files) std::printf("%s\n", fs::is_regular_file(path) ? sha256(text_of(path)).c_str() : "-");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  std::string verb = words.empty() ? "" : words[0];
  if (!words.empty()) words.erase(words.begin());
  try {
    if (verb == "serve" && words.size() == 3) return serve(words[0], words[1], words[2]);
    if (verb == "ask" && words.size() >= 5) return ask(words);
    if (verb == "stop" && words.size() == 1) return stop(words[0]);
    if (verb == "version" && words.size() == 1) return std::puts(Engine(words[0], 1, 99).version.c_str()) < 0;
    if (verb == "sweep" && words.size() == 2) return sweep(words[0], words[1]);
    if (verb == "digest") return digest(words);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
  std::fprintf(stderr, "tempograd-runner serve|ask|stop|version|sweep|digest ...: see the head of its source\n");
  return 2;
}
