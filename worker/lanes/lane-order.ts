/**
 * Decides from which lane the worker takes next. A BLMPOP serves the first of its lists that holds frames. So the order of the
 * lists decides which namespace is served, and the count decides how much it gets.
 *
 * Weighted fair queuing: each list has a virtual time. Frames taken move it forward by their number divided by the list's weight,
 * and the list that is furthest behind comes first. Lists in front of the one that was served were empty; they are moved up to
 * it, so that no list saves up turns while it has no work. So a list with work is served before any other gets twice its share,
 * and a lone one gets everything.
 */

/** Time within which two lists must both be served to count as competing. */
const COMPETING_MS = 200;

interface LanePosition {
  readonly list: string;
  weight: number;
  /** Frames taken, divided by the weight. */
  time: number;
}

export class LaneOrder {
  readonly #now: () => number;
  /** Lists by virtual time, furthest behind first. */
  #order: LanePosition[] = [];
  #keys: readonly string[] = [];
  #last: string | undefined;
  #lastAt = -Infinity;
  /** Time at which one list was last served after another. */
  #changedAt = -Infinity;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Sets the present lists and their weights. Known lists keep their turns. Returns true when lists came or went. */
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

  /** Returns how many of `room` frames may be taken at once: while lists compete, no list takes all of it. */
  count(room: number): number {
    return this.#now() - this.#changedAt < COMPETING_MS ? Math.ceil(room / 2) : room;
  }

  /** Records that this number of frames was taken from the list. */
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
