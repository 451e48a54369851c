/** Attacks on the file system, chosen by the path. Each answers with the results of its system calls. */
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { spawnSync } from 'node:child_process';

const MB = 1024 * 1024;

/** `made`, or the code of the error. */
function attempt(action) {
  try {
    action();
    return 'made';
  } catch (error) {
    return error.code ?? error.message;
  }
}

const attacks = {
  oddities: ({ canary }) => {
    rmSync('/tmp/odd', { recursive: true, force: true });
    mkdirSync('/tmp/odd');
    const link = attempt(() => symlinkSync(canary, '/tmp/odd/output'));
    const followed = attempt(() => readFileSync('/tmp/odd/output'));
    const up = attempt(() => symlinkSync('../../../../../../etc', '/tmp/odd/up'));
    const pipe = spawnSync('/var/task/abuse', ['mkfifo', '/tmp/odd/pipe']).status;
    const sparse = attempt(() => {
      const file = openSync('/tmp/odd/sparse', 'w');
      ftruncateSync(file, 1024 * 1024 * MB);
      closeSync(file);
    });
    return Response.json({ link, followed, up, pipe, sparse });
  },
  exit: () => process.exit(0),
  /** Turns a directory into a link and back until it is killed meanwhile. */
  flip: ({ canary }) => {
    rmSync('/tmp/flip', { recursive: true, force: true });
    mkdirSync('/tmp/flip/d', { recursive: true });
    symlinkSync(canary, '/tmp/flip/l');
    for (;;) {
      renameSync('/tmp/flip/d', '/tmp/flip/x');
      renameSync('/tmp/flip/l', '/tmp/flip/d');
      renameSync('/tmp/flip/d', '/tmp/flip/l');
      renameSync('/tmp/flip/x', '/tmp/flip/d');
    }
  },
  /** Names of 255 bytes, each directory inside the one before: the path is longer than any call accepts at once. */
  deep: () => {
    const name = 'd'.repeat(255);
    process.chdir('/tmp');
    let levels = 0;
    for (; levels < 10_000; levels++) {
      if (attempt(() => mkdirSync(name)) !== 'made') break;
      process.chdir(name);
    }
    process.exit(levels > 1_000 ? 0 : 9);
  },
  fill: ({ mb }) => {
    rmSync('/tmp/fill.bin', { force: true });
    const file = openSync('/tmp/fill.bin', 'w');
    const block = Buffer.alloc(MB, 1);
    for (let written = 0; written < Number(mb); written++) {
      let bytes = 0;
      const code = attempt(() => {
        bytes = writeSync(file, block);
      });
      if (code !== 'made' || bytes < MB) {
        const last = code === 'made' ? attempt(() => writeSync(file, block)) : code;
        closeSync(file);
        rmSync('/tmp/fill.bin');
        return Response.json({ code: last, mb: written + (bytes > 0 && bytes < MB ? 1 : 0) });
      }
    }
    return Response.json({ code: 'none' });
  },
  inodes: () => {
    mkdirSync('/tmp/many', { recursive: true });
    for (let files = 0; files < 10_000_000; files++) {
      const code = attempt(() => writeFileSync(`/tmp/many/${files}`, ''));
      if (code !== 'made') {
        rmSync('/tmp/many', { recursive: true });
        return Response.json({ code, files });
      }
    }
    return Response.json({ code: 'none' });
  },
};

export default {
  fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    return attacks[pathname.slice(1)](Object.fromEntries(searchParams));
  },
};
