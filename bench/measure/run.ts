/** Inputs that every row of the bench gets. */

export interface Counts {
  /** Sandboxes started, of each runtime. */
  readonly sandboxes: number;
  /** Processes started, of each peer. */
  readonly processes: number;
  /** Idle sandboxes alive at once, and plain processes. */
  readonly idle: number;
  readonly idleProcesses: number;
  /** Calls one at a time, and the number of turns. */
  readonly calls: number;
  readonly callTurns: number;
  /** Seconds of load, and the number of turns. */
  readonly seconds: number;
  readonly loadTurns: number;
  /** Items of a batch. */
  readonly items: number;
}

export const FULL: Counts = {
  sandboxes: 500,
  processes: 30,
  idle: 200,
  idleProcesses: 10,
  calls: 3_000,
  callTurns: 6,
  seconds: 6,
  loadTurns: 5,
  items: 1_000_000,
};

/** Shows only that the bench runs; its figures mean little. */
export const QUICK: Counts = {
  sandboxes: 20,
  processes: 5,
  idle: 20,
  idleProcesses: 4,
  calls: 200,
  callTurns: 2,
  seconds: 1,
  loadTurns: 1,
  items: 5_000,
};

export interface Run {
  readonly counts: Counts;
  /** Root of the runtime image that the sandboxes and the peers run. */
  readonly image: string;
  readonly state: string;
  /** Directory that is removed when the bench ends. */
  readonly temporary: string;
  /** Aborted when the bench shall end early. */
  readonly stopping: AbortSignal;
}
