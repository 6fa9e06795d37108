// Programmatic dependent launch: a block that begins before the kernels ahead have ended. They have here, so what would be read too
// early is right; instead the driver forbids it (`Precaution`).
// Not here: what it forbids (driver/launch.cpp).
#include "executor/block.h"

namespace simt {

Precaution precaution{[] {}, [] {}};

void wait_for_previous(Place place) {
  if (!running->begins_early) return;
  block.threads[current].has_waited = true;
  wait_for_block(place);
  precaution.allow();
}

}  // namespace simt
