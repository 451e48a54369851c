/**
 * Ends the sandbox by an error that nothing catches. Not by a listener of `uncaughtException`: a function could take that away, would
 * find it among its own, and its own listeners would not keep the process as they do in Node.
 */

/** Node's own function for an uncaught error: true if a listener or a capture callback of the function has handled it. */
type Fatal = (this: unknown, error: unknown, fromPromise: boolean) => boolean;

export function catchUncaught(fail: (error: unknown) => void): void {
  const node = Reflect.get(process, '_fatalException') as Fatal;
  const fatal = (error: unknown, fromPromise: boolean): boolean => {
    const isHandled = node.call(process, error, fromPromise);
    // If not, Node would leave by an exit that fails in a forked process.
    if (!isHandled) fail(error);
    return true;
  };
  Object.defineProperty(process, '_fatalException', { value: fatal, configurable: false, writable: false });
}
