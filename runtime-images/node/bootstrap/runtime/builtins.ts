/** Loads built-in modules that functions commonly use. Loaded in the zygote, they cost nothing in any sandbox. */
import 'node:assert';
import 'node:crypto';
import 'node:dns';
import 'node:events';
import 'node:fs/promises';
import 'node:http';
import 'node:https';
import 'node:module';
import 'node:net';
import 'node:os';
import 'node:path';
import 'node:perf_hooks';
import 'node:querystring';
import 'node:stream/promises';
import 'node:stream/web';
import 'node:string_decoder';
import 'node:timers/promises';
import 'node:tls';
import 'node:url';
import 'node:util';
import 'node:v8';
import 'node:vm';
import 'node:zlib';

// Node creates these globals at their first use.
void globalThis.crypto;
void globalThis.fetch;
void globalThis.performance;
void new AbortController().signal;
void new Blob(['x']);
void new FormData();
void new TextDecoder().decode(new TextEncoder().encode('x'));
void structuredClone({ a: 1 });
