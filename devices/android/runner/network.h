// One network in ONNX Runtime, ready to run on seeded inputs that live in memory that stays.
#pragma once

#include <dlfcn.h>

#include <cmath>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "ort_api.h"

struct Refused : std::runtime_error {
  using std::runtime_error::runtime_error;
};

constexpr int kInputs = 3;  // taken in turn, so that nothing can be remembered from one run to the next

class Engine {
 public:
  Engine(const std::string& library, int threads, int optimisation) : threads_(threads), optimisation_(optimisation) {
    void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) throw Refused(std::string("cannot open the library: ") + dlerror());
    auto base = reinterpret_cast<const ort::ApiBase* (*)()>(dlsym(handle, "OrtGetApiBase"));
    if (!base) throw Refused("the library is no ONNX Runtime: it has no OrtGetApiBase");
    version = base()->GetVersionString();
    const void* table = base()->GetApi(ort::kVersion);
    if (!table) throw Refused("ONNX Runtime " + version + " is too old; " + ort::kOldest + " or newer is needed");
    api_ = std::make_unique<ort::Api>(table);
    check(api().CreateEnv()(3, "tempograd", &env_));
    check(api().CreateCpuMemoryInfo()(0, 0, &memory_));
    check(api().GetAllocatorWithDefaultOptions()(&allocator_));
  }
  const ort::Api& api() const { return *api_; }
  ort::MemoryInfo* memory() const { return memory_; }
  ort::Allocator* allocator() const { return allocator_; }

  void check(ort::Status* status) const {
    if (!status) return;
    std::string text = api().GetErrorMessage()(status);
    api().ReleaseStatus()(status);
    if (text.find("bad_alloc") != text.npos || text.find("Failed to allocate memory") != text.npos)
      throw std::bad_alloc();
    throw Refused(text);
  }

  // Every option that is known to ruin timings is set: workers never spin, denormals are flushed.
  ort::Session* session(const std::string& model, const std::string& folder) const {
    ort::SessionOptions* options = nullptr;
    check(api().CreateSessionOptions()(&options));
    std::unique_ptr<ort::SessionOptions, void (*)(ort::SessionOptions*)> owner(
        options, api().ReleaseSessionOptions());
    check(api().SetIntraOpNumThreads()(options, threads_));
    check(api().SetInterOpNumThreads()(options, 1));
    check(api().SetSessionExecutionMode()(options, 0));
    check(api().SetSessionLogSeverityLevel()(options, 3));
    check(api().SetSessionGraphOptimizationLevel()(options, optimisation_));
    const std::pair<const char*, const char*> entries[] = {
        {"session.intra_op.allow_spinning", "0"},
        {"session.inter_op.allow_spinning", "0"},
        {"session.set_denormal_as_zero", "1"},
        {"session.record_ep_graph_assignment_info", "1"},
        {"session.model_external_initializers_file_folder_path", folder.c_str()},
    };
    for (auto [key, value] : entries) check(api().AddSessionConfigEntry()(options, key, value));
    ort::Session* made = nullptr;
    check(api().CreateSessionFromArray()(env_, model.data(), model.size(), options, &made));
    return made;
  }

  std::string version;

 private:
  std::unique_ptr<ort::Api> api_;
  ort::Env* env_ = nullptr;
  ort::MemoryInfo* memory_ = nullptr;
  ort::Allocator* allocator_ = nullptr;
  int threads_, optimisation_;
};

class Network {
 public:
  Network(const Engine& engine, const std::string& model, const std::string& folder)
      : engine_(engine), session_(engine.session(model, folder)) {
    size_t inputs = 0, outputs = 0;
    check(api().SessionGetInputCount()(session_, &inputs));
    check(api().SessionGetOutputCount()(session_, &outputs));
    for (size_t i = 0; i < inputs; i++) inputs_.push_back(port(i, true));
    for (size_t i = 0; i < outputs; i++) outputs_.push_back(port(i, false));
    for (auto& one : inputs_) {
      input_names_.push_back(one.name.c_str());
      if (!one.fixed) throw Refused("input '" + one.name + "' has no fixed shape");
      if (!bytes_of(one.element)) throw Refused("input '" + one.name + "' does not hold numbers");
    }
    for (auto& one : outputs_) {
      output_names_.push_back(one.name.c_str());
      bool stays = one.fixed && bytes_of(one.element);
      if (stays) one.memory.resize(one.count * bytes_of(one.element));
      results_.push_back(stays ? tensor(one, one.memory) : nullptr);
    }
    uint64_t seed = 0;
    for (auto& set : sets_) {
      set.memory.reserve(inputs_.size());  // the values point into the strings: they must not move
      for (auto& one : inputs_) {
        set.memory.push_back(drawn(one, seed));
        set.values.push_back(tensor(one, set.memory.back()));
      }
    }
    assigned();
  }
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  void run() {
    execute(sets_[turn_].values);
    turn_ = held_ ? 0 : (turn_ + 1) % kInputs;
  }
  void hold(bool held) {
    held_ = held;
    turn_ = 0;
  }

  // Which output of the last run holds NaN or an infinity, or nothing.
  std::string invalid_output() {
    for (size_t i = 0; i < outputs_.size(); i++) {
      if (outputs_[i].element != ort::kFloat || !results_[i]) continue;
      size_t count = 0, wrong = 0;
      const float* values = floats(i, &count);
      for (size_t j = 0; j < count; j++) wrong += !std::isfinite(values[j]);
      if (wrong)
        return "output '" + outputs_[i].name + "' holds " + std::to_string(wrong) + " of " + std::to_string(count) +
               " values not finite";
    }
    return "";
  }

  // The first output for these float32 values of the only input.
  std::string compute(const std::string& values, std::vector<int64_t>* shape) {
    if (inputs_.size() != 1 || inputs_[0].element != ort::kFloat || values.size() != inputs_[0].count * sizeof(float))
      throw Refused("these values do not fit: one input of " + std::to_string(inputs_[0].count) + " numbers is taken");
    if (outputs_[0].element != ort::kFloat) throw Refused("the first output does not hold float32");
    std::string kept = values;
    std::vector<ort::Value*> set{tensor(inputs_[0], kept)};
    execute(set);
    api().ReleaseValue()(set[0]);
    size_t count = 0;
    const float* found = floats(0, &count);
    ort::TensorInfo* info = nullptr;
    check(api().GetTensorTypeAndShape()(results_[0], &info));
    *shape = dimensions(info);
    api().ReleaseTensorTypeAndShapeInfo()(info);
    return {reinterpret_cast<const char*>(found), count * sizeof(float)};
  }

  const std::map<std::string, int>& providers() const { return providers_; }

 private:
  struct Port {
    std::string name;
    int element = 0;
    std::vector<int64_t> shape;
    bool fixed = true;
    size_t count = 1;
    std::string memory;
  };
  struct Set {
    std::vector<std::string> memory;
    std::vector<ort::Value*> values;
  };

  const ort::Api& api() const { return engine_.api(); }
  void check(ort::Status* status) const { engine_.check(status); }

  static size_t bytes_of(int element) {
    switch (element) {
      case ort::kFloat:
      case ort::kInt32: return 4;
      case ort::kDouble:
      case ort::kInt64: return 8;
      case ort::kUint8:
      case ort::kInt8:
      case ort::kBool: return 1;
      default: return 0;
    }
  }

  std::vector<int64_t> dimensions(const ort::TensorInfo* info) const {
    size_t rank = 0;
    check(api().GetDimensionsCount()(info, &rank));
    std::vector<int64_t> shape(rank);
    check(api().GetDimensions()(info, shape.data(), rank));
    return shape;
  }

  Port port(size_t index, bool input) const {
    Port found;
    char* name = nullptr;
    ort::TypeInfo* type = nullptr;
    const ort::TensorInfo* tensor = nullptr;
    check((input ? api().SessionGetInputName() : api().SessionGetOutputName())(session_, index, engine_.allocator(),
                                                                             &name));
    found.name = name;  // a few bytes that are never given back
    check((input ? api().SessionGetInputTypeInfo() : api().SessionGetOutputTypeInfo())(session_, index, &type));
    check(api().CastTypeInfoToTensorInfo()(type, &tensor));
    if (tensor) {
      check(api().GetTensorElementType()(tensor, &found.element));
      found.shape = dimensions(tensor);
    }
    for (int64_t size : found.shape) {
      found.fixed = found.fixed && size > 0;
      found.count *= size_t(std::max<int64_t>(size, 0));
    }
    api().ReleaseTypeInfo()(type);
    return found;
  }

  ort::Value* tensor(const Port& port, std::string& memory) const {
    ort::Value* made = nullptr;
    check(api().CreateTensorWithDataAsOrtValue()(engine_.memory(), memory.data(), memory.size(), port.shape.data(),
                                                 port.shape.size(), port.element, &made));
    return made;
  }

  // Normal numbers, or 0 and 1 where whole ones are held, from splitmix64.
  static std::string drawn(const Port& port, uint64_t& seed) {
    auto uniform = [&seed] {
      uint64_t z = (seed += 0x9e3779b97f4a7c15u);
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
      return double((z ^ (z >> 31)) >> 11) * 0x1p-53;
    };
    std::string memory(port.count * bytes_of(port.element), '\0');
    for (size_t i = 0; i < port.count; i++) {
      double length = std::sqrt(-2 * std::log(1 - uniform()));
      double normal = length * std::cos(2 * M_PI * uniform());
      if (port.element == ort::kFloat) reinterpret_cast<float*>(memory.data())[i] = float(normal);
      else if (port.element == ort::kDouble) reinterpret_cast<double*>(memory.data())[i] = normal;
      else memory[i * bytes_of(port.element)] = normal > 0;  // the lowest byte: Android is little-endian
    }
    return memory;
  }

  void execute(const std::vector<ort::Value*>& inputs) {
    for (size_t i = 0; i < results_.size(); i++) {
      if (outputs_[i].memory.empty() && results_[i]) {  // of a shape that only the run tells
        api().ReleaseValue()(results_[i]);
        results_[i] = nullptr;
      }
    }
    check(api().Run()(session_, nullptr, input_names_.data(), inputs.data(), inputs.size(), output_names_.data(),
                      output_names_.size(), results_.data()));
  }

  const float* floats(size_t output, size_t* count) {
    ort::TensorInfo* info = nullptr;
    check(api().GetTensorTypeAndShape()(results_[output], &info));
    *count = 1;
    for (int64_t size : dimensions(info)) *count *= size_t(size);
    api().ReleaseTensorTypeAndShapeInfo()(info);
    void* data = nullptr;
    check(api().GetTensorMutableData()(results_[output], &data));
    return static_cast<const float*>(data);
  }

  void assigned() {
    const ort::Subgraph* const* parts = nullptr;
    size_t count = 0;
    check(api().Session_GetEpGraphAssignmentInfo()(session_, &parts, &count));
    for (size_t i = 0; i < count; i++) {
      const char* name = nullptr;
      const ort::Node* const* nodes = nullptr;
      size_t number = 0;
      check(api().EpAssignedSubgraph_GetEpName()(parts[i], &name));
      check(api().EpAssignedSubgraph_GetNodes()(parts[i], &nodes, &number));
      providers_[name] += int(number);
    }
  }

  const Engine& engine_;
  ort::Session* session_;
  std::vector<Port> inputs_, outputs_;
  std::vector<const char*> input_names_, output_names_;
  std::vector<ort::Value*> results_;
  Set sets_[kInputs];
  std::map<std::string, int> providers_;
  int turn_ = 0;
  bool held_ = false;
};
