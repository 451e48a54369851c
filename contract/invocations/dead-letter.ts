/** Why an invocation is a dead letter, in words for `offshoot why`, `offshoot trace` and the dashboard. */

interface DeadFacts {
  /** Ends a sentence: "It is a dead letter, because …". */
  readonly because: string;
  /** Next step. `ID` stands for its id; see nextWith(). */
  readonly change: string;
}

export const DEAD = {
  not_retried: {
    because: 'another try would end the same',
    change: 'correct the cause, then: offshoot dlq redrive ID',
  },
  attempts_used: {
    because: 'all its tries have failed',
    change: 'raise "retries.attempts" in offshoot.json, or correct the cause, then: offshoot dlq redrive ID',
  },
  poison: {
    because: 'it had ended three sandboxes or workers, and may end a fourth',
    change: 'see the input that does it: offshoot trace ID; then: offshoot dlq redrive ID',
  },
  expired: {
    because: 'its time in the queue was over before it could run',
    change: 'raise "queueTime" in offshoot.json, or add a worker; then: offshoot dlq redrive ID',
  },
} as const satisfies Readonly<Record<string, DeadFacts>>;

/** Reason why an invocation of the queued lane is a dead letter: it has failed, and is not retried automatically. */
export type DeadReason = keyof typeof DEAD;
