// CAP_NET_ADMIN for programs that this process starts.
#pragma once

// Lets children inherit the capability (ambient set, capabilities(7)): one given to the executable file alone ends at exec. 0 or a
// negative errno.
int share_net_admin(void);
