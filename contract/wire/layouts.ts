/**
 * The layouts of all that a worker and a runtime exchange, as a table. `node infra/wire/main.ts` writes from it the encoders and
 * readers of each language, and the tables of docs/runtime-protocol.md. contract/wire/golden.json has bytes that each of them must
 * give. Numbers are little endian and without padding.
 */

/** One field. Those of fixed size come first, then at most one `sized`, then at most one `rest`. */
export type Field =
  | { readonly name: string; readonly type: 'u8' | 'u32' | 'i32' | 'u64'; readonly about?: string }
  /** `count` numbers, for example one for each phase. */
  | { readonly name: string; readonly type: 'u32s'; readonly count: number; readonly about?: string }
  /** UTF-8 in `bytes` bytes, padded with at least one NUL. */
  | { readonly name: string; readonly type: 'text'; readonly bytes: number; readonly about?: string }
  /** 8 bytes of an id. With `when`, they are there only if that bit of the first field, a u8, is set. */
  | { readonly name: string; readonly type: 'id'; readonly when?: number; readonly about?: string }
  /** A u32 with a length, then that many bytes. */
  | { readonly name: string; readonly type: 'sized'; readonly about: string }
  /** All bytes up to the end. */
  | { readonly name: string; readonly type: 'rest'; readonly about: string };

export interface Layout {
  readonly about: string;
  readonly fields: readonly Field[];
}

export interface Message extends Layout {
  readonly number: number;
  /** The side that sends it. `core`: runtime_core.c sends or reads it in C, so a language never sees it. */
  readonly from: 'worker' | 'sandbox' | 'zygote';
  readonly core?: true;
}

/** Bit of the level of a LOG: the line was written within a span of the function's own. */
export const LOG_HAS_SPAN = 0x80;

/** Frames of the channel, contract/wire/channel.ts. */
export const FRAMES = {
  SPECIALISE: {
    number: 1,
    from: 'worker',
    core: true,
    about: 'The function of this sandbox. The descriptor of a network namespace may come with it.',
    fields: [
      { name: 'code', type: 'text', bytes: 80, about: 'directory of the code in the store' },
      { name: 'hostname', type: 'text', bytes: 64 },
      { name: 'tmpMb', type: 'u32', about: 'MB of /tmp' },
      { name: 'tmpInodes', type: 'u32', about: 'inodes of /tmp' },
      { name: 'openFiles', type: 'u32', about: 'open files of a process' },
      { name: 'pendingSignals', type: 'u32', about: 'pending signals of the sandbox' },
      { name: 'memoryMb', type: 'u32', about: 'memory limit in MB, for the files that tell it to programs' },
      {
        name: 'cpuPercent',
        type: 'u32',
        about: 'processor limit in hundredths of a core, for the same files',
      },
      { name: 'tmpPrograms', type: 'u32', about: '1: programs in /tmp may be run' },
    ],
  },
  INIT: {
    number: 2,
    from: 'worker',
    about: 'The function to load. The sandbox is isolated when it reads this.',
    fields: [{ name: 'init', type: 'rest', about: 'JSON SandboxInit' }],
  },
  INVOKE: {
    number: 3,
    from: 'worker',
    about: 'An invocation. Its handle is in each frame that belongs to it.',
    fields: [
      { name: 'context', type: 'sized', about: 'JSON InvokeContext' },
      { name: 'request', type: 'rest', about: 'PAYLOAD with RequestMeta' },
    ],
  },
  BODY: {
    number: 4,
    from: 'worker',
    about: 'The next bytes of a request body whose length the context has announced (`bodyBytes`).',
    fields: [{ name: 'piece', type: 'rest', about: 'at most BODY_PIECE_BYTES' }],
  },
  STOP: {
    number: 5,
    from: 'worker',
    about:
      'The invocation, or with handle 0 the sandbox, is to end by itself. Otherwise the worker ends it after the grace.',
    fields: [
      { name: 'graceMs', type: 'u32', about: 'milliseconds from now on' },
      { name: 'alone', type: 'u8', about: '1: the process ends too, because no other invocation runs in it' },
      { name: 'reason', type: 'rest', about: 'UTF-8, for the function' },
    ],
  },
  PREPARED: {
    number: 16,
    from: 'sandbox',
    core: true,
    about: 'The sandbox waits for its function.',
    fields: [
      {
        name: 'phases',
        type: 'u32s',
        count: 4,
        about: 'microseconds of: cgroup, namespaces, file system, loopback',
      },
    ],
  },
  ISOLATED: {
    number: 17,
    from: 'sandbox',
    core: true,
    about: 'The sandbox is isolated, and its self-audit has passed.',
    fields: [
      {
        name: 'phases',
        type: 'u32s',
        count: 7,
        about: 'microseconds of: root, identity, descriptors, privileges, landlock, audit, filter',
      },
      { name: 'landlockAbi', type: 'u32', about: 'ABI of Landlock, 0 if the kernel has none of use' },
      {
        name: 'sessionKeyring',
        type: 'u32',
        about: "number of the sandbox's session keyring, 0 if the kernel has no keys",
      },
      {
        name: 'branchSpeculation',
        type: 'u32',
        about: 'state of indirect branch speculation, PR_GET_SPECULATION_CTRL of prctl(2)',
      },
      {
        name: 'namespaces',
        type: 'u32s',
        count: 7,
        about: 'inode number of each Linux namespace, in the order of LINUX_NAMESPACES (isolation.ts)',
      },
    ],
  },
  SETUP_FAILED: {
    number: 18,
    from: 'sandbox',
    core: true,
    about: 'The sandbox could not be built and is ending.',
    fields: [{ name: 'message', type: 'rest', about: 'UTF-8' }],
  },
  READY: {
    number: 19,
    from: 'sandbox',
    about: 'The function is loaded.',
    fields: [{ name: 'report', type: 'rest', about: 'JSON ReadyReport' }],
  },
  LOAD_FAILED: {
    number: 20,
    from: 'sandbox',
    about: 'The function could not be loaded, and the sandbox is ending.',
    fields: [{ name: 'error', type: 'rest', about: 'JSON `{name, message, stack?}`' }],
  },
  RESULT: {
    number: 21,
    from: 'sandbox',
    about: 'The whole response.',
    fields: [
      {
        name: 'response',
        type: 'rest',
        about: 'PAYLOAD with ResponseMeta; a body of at most MAX_PIECE_BYTES',
      },
    ],
  },
  HEAD: {
    number: 22,
    from: 'sandbox',
    about: 'A response with its first bytes; CHUNKs follow, then END.',
    fields: [
      {
        name: 'response',
        type: 'rest',
        about: 'PAYLOAD with ResponseMeta; a body of at most MAX_PIECE_BYTES',
      },
    ],
  },
  CHUNK: {
    number: 23,
    from: 'sandbox',
    about: 'The next bytes of the response.',
    fields: [{ name: 'piece', type: 'rest', about: 'at most MAX_PIECE_BYTES' }],
  },
  END: { number: 24, from: 'sandbox', about: 'The streamed response is complete.', fields: [] },
  FAILED: {
    number: 25,
    from: 'sandbox',
    about: 'There is no response, or it broke off.',
    fields: [{ name: 'report', type: 'rest', about: 'JSON FailedReport' }],
  },
  LOG: {
    number: 26,
    from: 'sandbox',
    about: 'Output of the function.',
    fields: [
      { name: 'level', type: 'u8', about: 'index in LogLevel; LOG_HAS_SPAN is added if a span follows' },
      {
        name: 'span',
        type: 'id',
        when: LOG_HAS_SPAN,
        about: "span of the function's own that has written it",
      },
      { name: 'text', type: 'rest', about: 'UTF-8' },
    ],
  },
  SETTLED: {
    number: 27,
    from: 'sandbox',
    about: 'No work of the invocation is left, and its turn is over.',
    fields: [],
  },
  SIGNALLED: {
    number: 28,
    from: 'sandbox',
    about: 'The sandbox waits to be ended as if by a signal, because the kernel keeps signals from PID 1.',
    fields: [{ name: 'signal', type: 'u8' }],
  },
  BODY_CREDIT: {
    number: 29,
    from: 'sandbox',
    about: 'The function has taken bytes of its request body.',
    fields: [{ name: 'bytes', type: 'u32' }],
  },
  SPAN: {
    number: 30,
    from: 'sandbox',
    about: 'A span has ended, or was still open at the end of its run.',
    fields: [{ name: 'span', type: 'rest', about: 'JSON FunctionSpan' }],
  },
  SPAN_BEGUN: {
    number: 31,
    from: 'sandbox',
    about: "A span of the function's own has begun.",
    fields: [
      { name: 'span', type: 'id' },
      { name: 'facts', type: 'rest', about: 'JSON of a FunctionSpan without its end' },
    ],
  },
  SPANS_DROPPED: {
    number: 32,
    from: 'sandbox',
    about: 'Spans were not sent.',
    fields: [{ name: 'count', type: 'u32' }],
  },
  STOPPING: {
    number: 35,
    from: 'sandbox',
    about: 'The answer to STOP, and again when nothing is left to wait for.',
    fields: [
      {
        name: 'waits',
        type: 'u8',
        about: '1: code of the function may still react; 0: it is of no use to wait',
      },
    ],
  },
  OTHERS: {
    number: 33,
    from: 'sandbox',
    about:
      'Code in the sandbox can print without the runtime. Sent in front of READY, SETTLED or the first frame of an invocation, if it has changed since the last report.',
    fields: [{ name: 'others', type: 'u8', about: 'OTHERS_RUN, OTHERS_NATIVE, OTHERS_LISTEN' }],
  },
  UNREACHED: {
    number: 34,
    from: 'sandbox',
    about:
      'The runtime saw a name or an address out of reach. In a sandbox with a network, the firewall knows better.',
    fields: [
      {
        name: 'destination',
        type: 'rest',
        about: 'UTF-8, as in DeniedEgress: `dns NAME` or `tcp ADDRESS:PORT`',
      },
    ],
  },
} as const satisfies Record<string, Message>;

const CONTROL = [
  { name: 'kind', type: 'u32' },
  { name: 'slot', type: 'u32', about: 'number of a live sandbox of the worker' },
  { name: 'a', type: 'i32' },
  { name: 'b', type: 'i32' },
  { name: 'c', type: 'u64' },
  { name: 'd', type: 'u64' },
] as const satisfies readonly Field[];

/** Layouts that are parts of frames, or messages of a socket of their own. */
export const LAYOUTS = {
  CHANNEL_PREFIX: {
    about: 'In front of each frame of the channel.',
    fields: [
      { name: 'length', type: 'u32', about: 'bytes of all that follows' },
      { name: 'kind', type: 'u8' },
      { name: 'handle', type: 'u32', about: 'number of an invocation, 0 for the sandbox itself' },
    ],
  },
  CONTROL: { about: 'A message of the control socket, contract/wire/control.ts.', fields: CONTROL },
  PAYLOAD: {
    about: 'A request or a response, contract/wire/payload.ts.',
    fields: [
      { name: 'meta', type: 'sized', about: 'JSON RequestMeta or ResponseMeta' },
      { name: 'body', type: 'rest', about: 'raw bytes' },
    ],
  },
} as const satisfies Record<string, Layout>;

interface ControlFacts {
  readonly number: number;
  readonly from: 'worker' | 'zygote';
  readonly about: string;
  /** Meaning of the numbers that this kind uses. */
  readonly holds: Readonly<Partial<Record<'a' | 'b' | 'c' | 'd', string>>>;
}

/** Messages of the control socket. All have the layout CONTROL. */
export const CONTROLS = {
  FORK: {
    number: 1,
    from: 'worker',
    about:
      "Make a sandbox. Descriptors: channel, stdout, stderr, turns (a page), the socket for the filter's listener, then one file for each cgroup hierarchy. A process that writes 0 to such a file joins that cgroup.",
    holds: { a: "uid in the launcher's user namespace", b: 'MB of scratch space' },
  },
  KILL: { number: 2, from: 'worker', about: 'End a sandbox, in any state.', holds: {} },
  HELLO: {
    number: 16,
    from: 'zygote',
    about: 'The zygote is warm and listens.',
    holds: { a: 'protocol version' },
  },
  FORKED: {
    number: 17,
    from: 'zygote',
    about: 'The sandbox is forked.',
    holds: { a: "its pid in the launcher's pid namespace", c: 'microseconds of the fork' },
  },
  FORK_FAILED: { number: 18, from: 'zygote', about: 'There is no sandbox.', holds: { a: 'errno' } },
  EXITED: {
    number: 19,
    from: 'zygote',
    about: 'The sandbox has ended and is reaped.',
    holds: { a: 'wait status', c: 'processor time in microseconds', d: 'largest resident set in KB' },
  },
} as const satisfies Record<string, ControlFacts>;
