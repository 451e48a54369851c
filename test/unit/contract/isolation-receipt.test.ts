import { describe, expect, test } from 'vitest';
import { ISOLATED_NAMESPACES } from '#contract/wire/channel.ts';
import {
  type IsolationReceipt,
  IsolationRequirement,
  LINUX_NAMESPACES,
  unmetRequirements,
} from '#contract/functions/isolation.ts';
import { Manifest } from '#contract/functions/manifest.ts';
import { isolationFacts, isolationText } from '../../../cli/show/isolation-text.ts';

const full: IsolationReceipt = {
  sandbox: 's',
  worker: 'w',
  at: 0,
  mode: 'sandbox',
  namespaces: { user: 1, pid: 2, mnt: 3, net: 4, ipc: 5, uts: 6, cgroup: 7 },
  uid: { inside: 1_000, host: 101_000 },
  seccomp: 'f'.repeat(64),
  landlock: 7,
  branchSpeculation: 'disabled',
  cgroup: { version: 2, memoryBytes: 1024 * 1024, swapLimited: true, cpu: 1, pids: 16 },
  network: 'none',
  image: 'image',
  code: 'code',
};

describe('unmetRequirements', () => {
  test('unmetRequirements is empty where the host meets all of them', () => {
    expect(unmetRequirements(IsolationRequirement.options, full)).toEqual([]);
  });
  test('unmetRequirements names each requirement that the host lacks', () => {
    const less: IsolationReceipt = {
      ...full,
      seccomp: '',
      landlock: 0,
      cgroup: { version: 1, memoryBytes: 0, swapLimited: false, cpu: 0, pids: 0 },
    };
    expect(unmetRequirements(IsolationRequirement.options, less)).toEqual(IsolationRequirement.options);
    expect(unmetRequirements(['landlock'], less)).toEqual(['landlock']);
    expect(unmetRequirements([], less)).toEqual([]);
  });
  test('swap without a limit fails the requirement of a swap limit, but not that of a memory limit', () => {
    const swapping = { ...full, cgroup: { ...full.cgroup, swapLimited: false } };
    expect(unmetRequirements(['memory-limit', 'swap-limit'], swapping)).toEqual(['swap-limit']);
  });
});

test('a manifest requires nothing by default, and may not require an unknown feature', () => {
  expect(Manifest.parse({ name: 'fn' }).isolation).toEqual({ mode: 'sandbox', require: [] });
  expect(Manifest.parse({ name: 'fn', isolation: {} }).isolation).toEqual({ mode: 'sandbox', require: [] });
  expect(Manifest.safeParse({ name: 'fn', isolation: { require: ['magic'] } }).success).toBe(false);
  expect(Manifest.safeParse({ name: 'fn', isolation: { requires: [] } }).success).toBe(false);
});

test('C and the contract mean the same number of namespaces', () => {
  expect(ISOLATED_NAMESPACES).toBe(LINUX_NAMESPACES.length);
});

describe('a receipt in words', () => {
  test('a receipt in words says what is missing as clearly as what is there', () => {
    expect(isolationText(full)).toBe('7 namespaces, uid 101000, cgroup v2, seccomp, landlock 7, no network');
    const { cgroup } = full;
    const less = { ...full, landlock: 0, cgroup: { ...cgroup, swapLimited: false } };
    expect(isolationText(less)).toContain('no landlock');
    expect(isolationFacts(less).find(([label]) => label === 'cgroup')?.[1]).toContain('swap not limited');
  });
  test('an isolation that is not known is shown as such', () => {
    expect(isolationFacts(undefined)[0]?.[1]).toMatch(/not known/);
  });
});
