/** Response headers with which the gateway says how an invocation ended; the outcome is left out when it is `ok`. */
export const ID_HEADER = 'x-offshoot-invocation';
export const OUTCOME_HEADER = 'x-offshoot-outcome';
