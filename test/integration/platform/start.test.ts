/** `npm start` after the set-up: all processes in one command, at the address of the settings. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test, vi } from 'vitest';
import { reachableHost, urlHost } from '../../../infra/platform/address.ts';
import { serviceManager } from '../../support/servers/service-manager.ts';
import { freePort } from '../../support/gateway/fixture.ts';

const START = fileURLToPath(new URL('../../../infra/platform/start.ts', import.meta.url));

interface Started {
  readonly child: ChildProcess;
  output: string;
}

async function stateOfItsOwn(): Promise<string> {
  const state = await mkdtemp(join(tmpdir(), 'offshoot-start-'));
  onTestFinished(() => rm(state, { recursive: true, force: true }));
  await symlink(join(process.env['OFFSHOOT_STATE'] ?? '', 'images'), join(state, 'images'));
  return state;
}

function start(state: string, env: Record<string, string>): Started {
  const child = spawn(process.execPath, [START], {
    env: {
      PATH: process.env['PATH'] ?? '',
      NO_COLOR: '1',
      ...(process.env['OFFSHOOT_CGROUP'] && { OFFSHOOT_CGROUP: process.env['OFFSHOOT_CGROUP'] }),
      OFFSHOOT_STATE: state,
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const started: Started = { child, output: '' };
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (text: Buffer) => (started.output += text.toString()));
  }
  return started;
}

test('npm start reports its address, also when that is not 127.0.0.1; a second one says that the port is taken', async () => {
  const state = await stateOfItsOwn();
  const port = await freePort();
  const env = { OFFSHOOT_HOST: '127.0.0.2', OFFSHOOT_PORT: String(port) };
  const first = start(state, env);
  const ended = once(first.child, 'exit');
  try {
    await vi.waitFor(() => expect(first.output).toContain(`ready at http://127.0.0.2:${port}\n`), {
      timeout: 45_000,
      interval: 50,
    });
    expect((await fetch(`http://127.0.0.2:${port}/healthz`)).status).toBe(200);
    const second = start(await stateOfItsOwn(), env);
    expect(await once(second.child, 'exit')).toEqual([1, null]);
    expect(second.output).toContain(`port ${port} of 127.0.0.2 is taken by another program`);
  } finally {
    first.child.kill('SIGTERM');
    await ended;
  }
}, 90_000);

test('a service manager hears from the supervisor alone: when it is ready, and while its event loop turns [ST7]', async () => {
  const socket = `@offshoot-start-${process.pid}`;
  const said = await serviceManager(socket);
  const port = await freePort();
  const { child } = start(await stateOfItsOwn(), {
    OFFSHOOT_PORT: String(port),
    NOTIFY_SOCKET: socket,
    WATCHDOG_USEC: '800000',
  });
  const ended = once(child, 'exit');
  const beats = (): number => said.filter((line) => line.endsWith(' WATCHDOG=1')).length;
  try {
    await vi.waitFor(() => expect(said).toContain(`${child.pid} READY=1`), { timeout: 45_000, interval: 50 });
    expect((await fetch(`http://127.0.0.1:${port}/healthz`)).status).toBe(200);
    const before = beats();
    await expect.poll(beats, { timeout: 5_000 }).toBeGreaterThan(before + 3);
    child.kill('SIGSTOP');
    await sleep(300);
    const stopped = beats();
    await sleep(1_200);
    expect(beats()).toBe(stopped);
    child.kill('SIGCONT');
    await expect.poll(beats, { timeout: 5_000 }).toBeGreaterThan(stopped);
  } finally {
    child.kill('SIGTERM');
    await ended;
  }
  await expect.poll(() => said).toContain(`${child.pid} STOPPING=1`);
  expect(said.filter((line) => !line.startsWith(`${child.pid} `))).toEqual([]);
}, 90_000);

test.each([
  [undefined, '127.0.0.1'],
  ['0.0.0.0', '127.0.0.1'],
  ['::', '127.0.0.1'],
  ['10.1.2.3', '10.1.2.3'],
  ['::1', '[::1]'],
  ['gateway.internal', 'gateway.internal'],
])('a gateway that listens at %s is looked for at %s', (host, there) => {
  expect(urlHost(reachableHost(host))).toBe(there);
});
