/**
 * The function that attacks. `/js/ID` runs a JavaScript attack in the function's process. `/native/ID` runs the attack
 * program as a child process. `/addon/ID` runs the same code as a native addon in the function's process. Arguments are
 * `a` in the query.
 */
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import * as calls from './calls.mjs';
import * as files from './files.mjs';
import * as network from './network.mjs';
import * as processes from './processes.mjs';
import * as runtime from './runtime.mjs';

const attacks = { ...calls, ...files, ...network, ...processes, ...runtime };

function inChild(id, args, file) {
  return new Promise((resolve) => {
    execFile(file, [id, ...args], { maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
      const attempts = stdout
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line));
      if (error) {
        const errno = error.signal ?? error.errno ?? error.code;
        attempts.push({ call: 'the attack program', succeeded: false, errno: String(errno), value: stderr });
      }
      resolve(attempts);
    });
  });
}

function inProcess(id, args) {
  const addon = createRequire(import.meta.url)('/var/task/attack.node');
  if (id === 'crash') return addon.crash();
  if (id === 'hash') return [{ call: 'hash', value: String(hashOf(addon, args[0])) }];
  return addon
    .run(id, args)
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}

/** V8 computes a string's hash when the string is used as a key. */
function hashOf(addon, text) {
  const [key] = Object.keys({ [text]: 1 });
  return addon.hashOf(key);
}

export default {
  async fetch(request, env) {
    const { pathname, searchParams } = new URL(request.url);
    const [, way, id] = pathname.split('/');
    const args = searchParams.getAll('a');
    if (way === 'native')
      return Response.json(await inChild(id, args, searchParams.get('file') ?? '/var/task/attack'));
    if (way === 'addon') return Response.json(inProcess(id, args));
    const answer = await attacks[id](args, env);
    return answer instanceof Response ? answer : Response.json(answer);
  },
};
