#pragma once

#include <node_api.h>

// watchRefusals(fd, onRefused) -> close(): takes over the socket `fd`, on which a sandbox sends the listener of its
// filter. Calls onRefused(name) for each refused call. Ends by itself with the sandbox.
napi_value watch_refusals(napi_env env, napi_callback_info info);
