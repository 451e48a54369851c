/**
 * Runs as a thread beside the main one and reports, when asked over its descriptor, where the main thread's JavaScript stands.
 * The report is one line of JSON, innermost frames first.
 *
 * A main thread in a system call gives no answer. Asking pauses the main thread for good, so ask only a process that is about to
 * be killed.
 *
 * JavaScript, since loading TypeScript would take 9 MB more in each process.
 */
import { Session } from 'node:inspector';
import { Socket } from 'node:net';
import { workerData } from 'node:worker_threads';

const FRAMES = 20;

const pipe = new Socket({ fd: workerData.fd, readable: true, writable: true });
pipe.on('error', () => pipe.destroy());
pipe.once('data', () => {
  const session = new Session();
  const files = new Map();
  session.connectToMainThread();
  session.on('Debugger.scriptParsed', ({ params }) => files.set(params.scriptId, params.url));
  session.once('Debugger.paused', ({ params }) => {
    const frames = params.callFrames.slice(0, FRAMES).map(({ functionName, location }) => {
      const { scriptId, lineNumber, columnNumber } = location;
      const file = files.get(scriptId) || 'unknown';
      return `${functionName || '(anonymous)'} (${file}:${lineNumber + 1}:${columnNumber + 1})`;
    });
    pipe.write(`${JSON.stringify(frames)}\n`);
  });
  session.post('Debugger.enable');
  session.post('Debugger.pause');
});
