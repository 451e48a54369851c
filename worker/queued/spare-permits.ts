/** Further runs that a worker may have for the items of groups, each of which has one by itself. */
export class SparePermits {
  #free: number;

  constructor(count: number) {
    this.#free = count;
  }

  /** Who finds none does without: nobody waits for it. */
  tryTake(): boolean {
    if (this.#free <= 0) return false;
    this.#free--;
    return true;
  }

  give(): void {
    this.#free++;
  }
}
