/** Permits for additional runs, used by groups whose items run one by one. Each group has one permit with its job. */
export class SparePermits {
  #free: number;

  constructor(count: number) {
    this.#free = count;
  }

  /** Takes a permit if one is free; a group without one runs its items more slowly and never waits. */
  tryTake(): boolean {
    if (this.#free <= 0) return false;
    this.#free--;
    return true;
  }

  give(): void {
    this.#free++;
  }
}
