// What the runner calls of ONNX Runtime's C API (version 24, ONNX Runtime 1.24 and newer).
//
// The API is a table of functions that only ever grows at its end: a function keeps its place for good. So the places
// below are enough, and no header of ONNX Runtime is needed to build the runner. Where its header is on the include
// path, the compiler checks every place against it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ort {

struct Status;
struct Env;
struct Session;
struct SessionOptions;
struct MemoryInfo;
struct Value;
struct TypeInfo;
struct TensorInfo;
struct Allocator;
struct Subgraph;
struct Node;

constexpr uint32_t kVersion = 24;
constexpr const char* kOldest = "1.24";

enum Element { kFloat = 1, kUint8 = 2, kInt8 = 3, kInt32 = 6, kInt64 = 7, kBool = 9, kDouble = 11 };

// place in the table, name, arguments; every one returns a Status*, null if all went well
#define TEMPOGRAD_ORT_CALLS(X)                                                                                  \
  X(3, CreateEnv, (int level, const char* id, Env** out))                                                       \
  X(8, CreateSessionFromArray, (const Env*, const void*, size_t, const SessionOptions*, Session** out))         \
  X(9, Run, (Session*, const void*, const char* const*, const Value* const*, size_t, const char* const*, size_t, \
             Value**))                                                                                          \
  X(10, CreateSessionOptions, (SessionOptions * *out))                                                          \
  X(13, SetSessionExecutionMode, (SessionOptions*, int mode))                                                   \
  X(22, SetSessionLogSeverityLevel, (SessionOptions*, int level))                                               \
  X(23, SetSessionGraphOptimizationLevel, (SessionOptions*, int level))                                         \
  X(24, SetIntraOpNumThreads, (SessionOptions*, int threads))                                                   \
  X(25, SetInterOpNumThreads, (SessionOptions*, int threads))                                                   \
  X(30, SessionGetInputCount, (const Session*, size_t* out))                                                    \
  X(31, SessionGetOutputCount, (const Session*, size_t* out))                                                   \
  X(33, SessionGetInputTypeInfo, (const Session*, size_t, TypeInfo** out))                                      \
  X(34, SessionGetOutputTypeInfo, (const Session*, size_t, TypeInfo** out))                                     \
  X(36, SessionGetInputName, (const Session*, size_t, Allocator*, char** out))                                  \
  X(37, SessionGetOutputName, (const Session*, size_t, Allocator*, char** out))                                 \
  X(49, CreateTensorWithDataAsOrtValue,                                                                         \
    (const MemoryInfo*, void*, size_t bytes, const int64_t* shape, size_t rank, int element, Value** out))      \
  X(51, GetTensorMutableData, (Value*, void** out))                                                             \
  X(55, CastTypeInfoToTensorInfo, (const TypeInfo*, const TensorInfo** out))                                    \
  X(60, GetTensorElementType, (const TensorInfo*, int* out))                                                    \
  X(61, GetDimensionsCount, (const TensorInfo*, size_t* out))                                                   \
  X(62, GetDimensions, (const TensorInfo*, int64_t* shape, size_t rank))                                        \
  X(65, GetTensorTypeAndShape, (const Value*, TensorInfo** out))                                                \
  X(69, CreateCpuMemoryInfo, (int allocator, int kind, MemoryInfo** out))                                       \
  X(78, GetAllocatorWithDefaultOptions, (Allocator * *out))                                                     \
  X(130, AddSessionConfigEntry, (SessionOptions*, const char* key, const char* value))                          \
  X(407, Session_GetEpGraphAssignmentInfo, (const Session*, const Subgraph* const** out, size_t* count))        \
  X(408, EpAssignedSubgraph_GetEpName, (const Subgraph*, const char** out))                                     \
  X(409, EpAssignedSubgraph_GetNodes, (const Subgraph*, const Node* const** out, size_t* count))

// place, name, result, arguments
#define TEMPOGRAD_ORT_OTHERS(X)                                     \
  X(2, GetErrorMessage, const char*, (const Status*))               \
  X(93, ReleaseStatus, void, (Status*))                             \
  X(96, ReleaseValue, void, (Value*))                               \
  X(98, ReleaseTypeInfo, void, (TypeInfo*))                         \
  X(99, ReleaseTensorTypeAndShapeInfo, void, (TensorInfo*))         \
  X(100, ReleaseSessionOptions, void, (SessionOptions*))

class Api {
 public:
  explicit Api(const void* table) : table_(static_cast<void* const*>(table)) {}
#define X(place, name, arguments) \
  auto name() const { return reinterpret_cast<Status*(*) arguments>(table_[place]); }
  TEMPOGRAD_ORT_CALLS(X)
#undef X
#define X(place, name, result, arguments) \
  auto name() const { return reinterpret_cast<result(*) arguments>(table_[place]); }
  TEMPOGRAD_ORT_OTHERS(X)
#undef X

 private:
  void* const* table_;
};

struct ApiBase {
  const void* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};

}  // namespace ort

#if __has_include(<onnxruntime_c_api.h>)
#include <onnxruntime_c_api.h>
#define X(place, name, ...) \
  static_assert(offsetof(OrtApi, name) == (place) * sizeof(void*), #name " has another place in this header");
TEMPOGRAD_ORT_CALLS(X)
TEMPOGRAD_ORT_OTHERS(X)
#undef X
#endif
