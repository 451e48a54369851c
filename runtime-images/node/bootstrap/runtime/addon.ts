/** The native addon of the zygote (worker/native/runtime/node/zygote_addon.c). main.ts loads it; other files receive it. */
export interface ZygoteAddon {
  /** Blocks. Returns the channel's descriptor in a prepared sandbox, or -1 in the zygote when its worker has gone. */
  serve(controlFd: number): number;
  /** Does this prepared sandbox know already which function it will run? */
  isTold(): boolean;
  /** Blocks until the function is known and the sandbox is isolated; ends the process when isolation fails. */
  isolate(): void;
  /** May the next invocation that was handed ahead start? 1: yes; 0: never; -1: not yet. */
  takeTurn(): number;
  /** Returns two connected stream sockets. */
  socketpair(): [number, number];
  /** Returns 31 random bits from the kernel, getrandom(2). */
  randomSeed(): number;
  /** Ends a forked process by _exit(2), the only way that works there. */
  exit(code: number): never;
  /** Reaps adopted children; returns how many ended ones need one more look. */
  reapOrphans(): number;
  /** Does the sandbox have any process beside this one? */
  hasChildren(): boolean;
  /** Drops the mapped pages of code and constants; pages that are used again come back from the page cache. */
  forgetFiles(): void;
  /** Tells V8 the memory limit of the sandbox in MB; called once, before the function loads. */
  limitMemory(megabytes: number): void;
  /** Sets the default language of Intl, in ICU's form: `de_DE`. */
  setLocale(name: string): void;
  /** Blocks until the sandbox is ended. */
  halt(): never;
}
