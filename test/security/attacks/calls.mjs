/** C: what JavaScript alone can reach of the system calls; the native attacks do the rest. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { attempt, fact } from './attempt.mjs';

/** A 32-bit program that the test has laid beside the code: exit(42) by int 0x80. */
export const C2 = () => {
  try {
    execFileSync('/var/task/program32', { stdio: 'pipe' });
    return [{ call: 'a 32-bit program', succeeded: true }];
  } catch (error) {
    const { signal, status, code } = error;
    return [
      {
        call: 'a 32-bit program',
        succeeded: status !== null && status !== undefined,
        signal,
        errno: code ?? `exit ${status}`,
      },
    ];
  }
};

/** libuv would use a ring for files if it could. */
export const C4 = () => {
  const script =
    "const fs=require('fs');fs.writeFileSync('/tmp/ring','ok');fs.promises.readFile('/tmp/ring','utf8').then(t=>console.log(t+' '+fs.readdirSync('/proc/self/fd').map(f=>{try{return fs.readlinkSync('/proc/self/fd/'+f)}catch{return ''}}).filter(t=>t.includes('io_uring')).length))";
  return [
    fact('node with UV_USE_IO_URING=1', () =>
      execFileSync('/usr/bin/node', ['-e', script], { env: { UV_USE_IO_URING: '1' }, stdio: 'pipe' }),
    ),
  ];
};

export const C8 = () => [
  attempt('setarch', () => execFileSync('/usr/bin/setarch', ['-R', '/bin/true'], { stdio: 'pipe' })),
  attempt('write personality', () => writeFileSync('/proc/self/personality', '00040000')),
  attempt('read personality', () => readFileSync('/proc/self/personality', 'utf8')),
];
