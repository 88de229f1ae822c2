// Addresses as the kernel has them, for the files of this target alone.
#pragma once
#include "CLinux.h"

#include <netinet/in.h>
#include <sys/socket.h>

union any_address {
  struct sockaddr plain;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

// The size of what was written.
socklen_t clinux_encode(const struct clinux_address *from, union any_address *to);
// -EAFNOSUPPORT for another family.
int clinux_decode(const struct sockaddr *from, struct clinux_address *to);
