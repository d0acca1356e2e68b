// One request to the kernel's routing netlink (rtnetlink(7)) and its whole answer. Building and reading messages is
// TypeScript's work (src/io/interface.ts).
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// Sends one or more messages, reads until the last one is acknowledged or its dump is complete. Returns the length of the data
// messages, copied to `*answer` (to be freed), or the negative errno of the first message that failed.
ssize_t netlink_request(const uint8_t *request, size_t length, uint8_t **answer);
