/** Names that stand in HTTP requests and answers of the platform, for gateway, CLI and dashboard. */

/** Id of the invocation, in every answer that a call led to. */
export const INVOCATION_HEADER = 'x-offshoot-invocation';
/** Outcome of the invocation (outcome.ts); the answer of a call leaves it out when it is `ok`. */
export const OUTCOME_HEADER = 'x-offshoot-outcome';

/** Seconds before a queued invocation may start. */
export const DELAY_HEADER = 'x-offshoot-delay';
/** Priority of a queued invocation; 1 is first. */
export const PRIORITY_HEADER = 'x-offshoot-priority';
/** Seconds after which a queued invocation does not start any more. */
export const TTL_HEADER = 'x-offshoot-ttl';
/** URL that receives the end of a queued invocation. */
export const CALLBACK_HEADER = 'x-offshoot-callback';

/** Secret with which a page of the dashboard shows that it is one; see gateway/dashboard/sessions.ts. */
export const PAGE_HEADER = 'x-offshoot-page';
