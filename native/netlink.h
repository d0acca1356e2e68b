// One request to the kernel's routing netlink (rtnetlink(7)) and its whole answer. Building and reading messages is
// TypeScript's work (src/io/interface.ts).
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// Sends one or more messages, reads until the last one is acknowledged or its dump is complete. Returns the length of the data
// messages, copied to `*answer` (to be freed), or the negative errno of the first message that failed.
ssize_t netlink_request(const uint8_t *request, size_t length, uint8_t **answer);

// Opens a socket that hears of changes; `groups` is a set of bits (RTMGRP_*). The descriptor or a negative errno.
int netlink_subscribe(uint32_t groups);

// What was heard since the last call, as far as it fits. Its length, 0 when there is nothing, or a negative errno; -ENOBUFS: something was missed.
ssize_t netlink_hear(int fd, uint8_t *buffer, size_t room);

// Closes the descriptor and sets it to -1; does nothing if it is.
void netlink_close(int *fd);
