// libcurand: a generator can be made and seeded, which candle does when it opens a device. It draws nothing: the program's
// random numbers are the host's.
#include "driver/result.h"
#include "executor/fault.h"

CUDA_API int curandCreateGenerator(void** generator, int) {
  *generator = new char;
  return 0;
}

CUDA_API int curandDestroyGenerator(void* generator) {
  delete static_cast<char*>(generator);
  return 0;
}

CUDA_API int curandSetPseudoRandomGeneratorSeed(void*, unsigned long long) { return 0; }
CUDA_API int curandSetGeneratorOffset(void*, unsigned long long) { return 0; }
CUDA_API int curandSetStream(void*, void*) { return 0; }

#define NOT_EMULATED(name) \
  CUDA_API int name() { simt::fault("not emulated", "%s", #name); }
NOT_EMULATED(curandGenerateUniform)
NOT_EMULATED(curandGenerateUniformDouble)
NOT_EMULATED(curandGenerateNormal)
NOT_EMULATED(curandGenerateNormalDouble)
NOT_EMULATED(curandGenerateLogNormal)
NOT_EMULATED(curandGenerateLogNormalDouble)
NOT_EMULATED(curandGenerate)
NOT_EMULATED(curandGenerateLongLong)
