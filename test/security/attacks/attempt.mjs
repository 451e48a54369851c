/** An attempt and its result, in the words of the native attacks (native/attack.h). */
export function attempt(call, work) {
  try {
    const value = work();
    return { call, succeeded: true, value: value === undefined ? '' : String(value).slice(0, 4_000) };
  } catch (error) {
    // A program of the image that ran and failed has an exit status instead.
    const errno = error.code ?? (typeof error.status === 'number' ? 'EXIT' : String(error));
    return { call, succeeded: false, errno };
  }
}

export function fact(call, work) {
  const { succeeded, value, errno } = attempt(call, work);
  return succeeded ? { call, value } : { call, succeeded, errno };
}
