/**
 * From which lane the worker takes next. A BLMPOP serves the first of its lists that has something, so their order decides
 * who is served, and the number that it may take decides how much.
 *
 * Weighted fair, by what was taken: each list has a virtual time, which what is taken from it moves on by that much divided
 * by its weight, and the list that is furthest behind is first. Lists in front of the one that was served had nothing; they
 * are moved up to it, so that nobody saves up turns while having no work. So one that has work is served before any other is
 * served twice its share, and whoever is alone gets everything.
 */

/** Two lists that were both served within this time compete. */
const COMPETING_MS = 200;

interface LanePosition {
  readonly list: string;
  weight: number;
  /** Frames taken per weight. */
  time: number;
}

export class LaneOrder {
  readonly #now: () => number;
  /** By virtual time, furthest behind first. */
  #order: LanePosition[] = [];
  #keys: readonly string[] = [];
  #last: string | undefined;
  #lastAt = -Infinity;
  /** When one list was served after another. */
  #changedAt = -Infinity;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** The lists that there are now, with their weights. Those that were known keep their turns. True when lists came or went. */
  follow(lists: readonly string[], weightOf: (list: string) => number): boolean {
    const known = new Map(this.#order.map((place) => [place.list, place]));
    const time = this.#order[0]?.time ?? 0;
    this.#order = lists
      .map((list) => ({ list, weight: weightOf(list), time: known.get(list)?.time ?? time }))
      .toSorted((a, b) => a.time - b.time);
    this.#keys = this.#order.map(({ list }) => list);
    return lists.length !== known.size || lists.some((list) => !known.has(list));
  }

  /** All lists, in the order in which they are to be served. */
  keys(): readonly string[] {
    return this.#keys;
  }

  /** How many frames may be taken at once where so many have room: while lists compete, no one takes all of it. */
  count(room: number): number {
    return this.#now() - this.#changedAt < COMPETING_MS ? Math.ceil(room / 2) : room;
  }

  /** So many frames were taken from the list. */
  taken(list: string, frames: number): void {
    const now = this.#now();
    if (list !== this.#last) {
      if (now - this.#lastAt < COMPETING_MS) this.#changedAt = now;
      this.#last = list;
    }
    this.#lastAt = now;
    if (this.#order.length < 2) return;
    const at = this.#order.findIndex((place) => place.list === list);
    const place = this.#order[at];
    if (!place) return;
    for (const before of this.#order.slice(0, at)) before.time = place.time;
    place.time += frames / place.weight;
    let after = at;
    for (let next = this.#order[after + 1]; next && next.time <= place.time; next = this.#order[after + 1]) {
      this.#order[after] = next;
      after++;
    }
    this.#order[after] = place;
    if (after !== at) this.#keys = this.#order.map((one) => one.list);
  }
}
