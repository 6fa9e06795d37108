// Captures of one stream, and graphs: lists of work that are run in order. Graphs that allocate memory, that copy from or to
// pageable memory of the host, or that several streams take part in stop the program, although the real driver can run them.
#include "driver/counters.h"
#include "driver/lock.h"
#include "driver/stream.h"
#include "executor/fault.h"

namespace driver {

CUDA_API int cuStreamBeginCapture_v2(void* handle, int) {
  Locked locked;
  Stream& stream = stream_of(handle);
  if (&stream == &stream_of(nullptr)) return CAPTURE_UNSUPPORTED;
  if (stream.capture) return ILLEGAL_STATE;
  stream.capture = std::make_shared<Capture>();
  return SUCCESS;
}

CUDA_API int cuStreamIsCapturing(void* handle, int* status) {
  Locked locked;
  const Stream& stream = stream_of(handle);
  *status = !stream.capture ? 0 : stream.capture->is_invalid ? 2 : 1;  // CUstreamCaptureStatus
  return SUCCESS;
}

CUDA_API int cuStreamEndCapture(void* handle, void** graph) {
  Locked locked;
  const std::shared_ptr<Capture> capture = std::move(stream_of(handle).capture);
  *graph = nullptr;
  if (!capture) return INVALID_VALUE;
  capture->has_ended = true;
  if (capture->is_invalid) return CAPTURE_INVALIDATED;
  *graph = new Graph(std::move(capture->graph));
  return SUCCESS;
}

CUDA_API int cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long) {
  Locked locked;
  const auto& captured = *static_cast<Graph*>(graph);
  if (!captured.obstacle.empty()) simt::fault("not emulated", "%s", captured.obstacle.c_str());
  *executable = new Graph(captured);
  return SUCCESS;
}

CUDA_API int cuGraphUpload(void*, void*) { return SUCCESS; }

CUDA_API int cuGraphLaunch(void* executable, void* handle) {
  Locked locked;
  if (refuse_in_capture(handle)) return CAPTURE_UNSUPPORTED;
  ++counters.graph_launches;
  for (const Work& node : static_cast<Graph*>(executable)->nodes) enqueue(stream_of(handle), node);
  return SUCCESS;
}

CUDA_API int cuGraphDestroy(void* graph) {
  delete static_cast<Graph*>(graph);
  return SUCCESS;
}

CUDA_API int cuGraphExecDestroy(void* executable) {
  delete static_cast<Graph*>(executable);
  return SUCCESS;
}

}  // namespace driver
