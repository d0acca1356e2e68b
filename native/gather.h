// Chains the segments of one flow into super-packets (base/batch.ts, SUPER), as the kernel's GRO does.
#pragma once
#include "batch.h"

// Fills super-packet rows from the accepted datagrams of a batch; returns their number.
int32_t gather(struct receive_batch *batch, int32_t datagram_count);
