/** The fork alone, layer by layer: times that a sandbox reports of itself, in the order of its steps. */
import { randomBytes } from 'node:crypto';
import { SandboxBench } from '../../test/support/sandbox/sandbox-bench.ts';
import { detectCgroups } from '../../worker/cgroup/detect.ts';
import { Sandbox } from '../../worker/sandbox/sandbox.ts';
import { SandboxNumbers } from '../../worker/sandbox/zygote/sandbox-numbers.ts';
import { interleave } from '../measure/interleave.ts';
import type { Run } from '../measure/run.ts';
import { HELLO } from './sandbox-rows.ts';
import { figure, missing, type Section } from '../measure/stats.ts';

const MB = 1024 * 1024;
const US_PER_MS = 1_000;
const WARM_UP = 5;
/** The phases of PREPARED and ISOLATED, as sandbox.c counts them. */
const PREPARE = ['join its cgroups', 'make its namespaces', 'build its file system', 'bring up lo'];
const ISOLATE = [
  'mount the code, enter the root',
  'become another user, in a user namespace',
  'renew descriptors and event loop',
  'resource limits, privileges and capabilities dropped',
  'Landlock',
  'self-audit, receipt',
  'system call filter with its listener',
];

type Layers = ReadonlyMap<string, number>;

export async function forkSection({ counts, stopping }: Run): Promise<Section> {
  const bench = await SandboxBench.open();
  try {
    const code = await bench.addCode(HELLO);
    const turn = forker(bench, code);
    const contestant = { row: 'fork', turns: counts.sandboxes, warmUp: WARM_UP, turn };
    const [standing] = await interleave([contestant], stopping);
    const results = standing?.results ?? [];
    const figures = standing?.failure
      ? [missing('fork of a sandbox', 'ms', standing.failure)]
      : [...(results[0]?.keys() ?? [])].map((layer) =>
          figure(
            layer,
            'ms',
            results.map((layers) => layers.get(layer) ?? 0),
          ),
        );
    return {
      name: 'fork',
      title: 'Fork only, layer by layer (node26)',
      figures,
      notes: ['a line that is indented is part of the line above that is not'],
    };
  } finally {
    await bench.close();
  }
}

/** Makes sandboxes of the bench's zygote without its start(), to read their phases. */
function forker(bench: SandboxBench, code: string): () => Promise<Layers> {
  const driver = detectCgroups();
  const numbers = new SandboxNumbers();
  const init = {
    namespace: 'bench',
    name: 'bench',
    version: 1,
    entry: 'index.mjs',
    env: {},
    memory: 128,
    timeout: 30,
    initTimeout: 10,
    payloadFormat: '2.0' as const,
    concurrency: 1,
  };
  return async () => {
    const layers = new Map<string, number>();
    const slot = numbers.take();
    const id = `bench-${randomBytes(6).toString('hex')}`;
    const start = performance.now();
    const cgroup = driver.create(id, { memoryBytes: 128 * MB, cpu: 1, pids: 64 });
    const ordered = performance.now();
    layers.set('cgroup made and limited by the worker', ordered - start);
    const sandbox = new Sandbox({ id, slot, scratchMb: 64, cgroup, zygote: bench.zygote });
    try {
      const prepare = await sandbox.prepared;
      addLayers(layers, 'FORK to PREPARED', 'fork; the messages on their way', PREPARE, prepare, ordered);
      const told = performance.now();
      const { isolated, ready } = sandbox.specialise(code, 'bench', init);
      const isolate = await isolated;
      addLayers(
        layers,
        'SPECIALISE to ISOLATED',
        'wake up; the messages on their way',
        ISOLATE,
        isolate,
        told,
      );
      await ready;
    } finally {
      sandbox.kill();
      await sandbox.ended;
      numbers.free(slot);
      await cgroup.remove();
    }
    return layers;
  };
}

function addLayers(
  layers: Map<string, number>,
  whole: string,
  rest: string,
  names: readonly string[],
  phasesUs: readonly number[],
  since: number,
): void {
  const took = performance.now() - since;
  const phases = phasesUs.map((us) => us / US_PER_MS);
  layers.set(whole, took);
  // Time that the sandbox cannot measure itself.
  layers.set(`  ${rest}`, took - phases.reduce((sum, ms) => sum + ms, 0));
  names.forEach((name, phase) => layers.set(`  ${name}`, phases[phase] ?? 0));
}
