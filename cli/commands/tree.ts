/**
 * All verbs, in the order of the help, each definition with its handler. A handler's module is imported only when its verb runs: the
 * start stays quick whatever the others need.
 */
import { group, verb, type Group } from '../verbs/verb.ts';
import * as batch from './batch/definitions.ts';
import * as callbacks from './callbacks/definitions.ts';
import * as dlq from './dlq/definitions.ts';
import * as functions from './functions/definitions.ts';
import * as invocations from './invocations/definitions.ts';
import * as keys from './keys/definitions.ts';
import * as limits from './limits/definitions.ts';
import * as platform from './platform/definitions.ts';
import * as schedules from './schedules/definitions.ts';

const ofFunctions = [
  verb(functions.init, async () => (await import('./functions/init.ts')).init),
  verb(functions.dev, async () => (await import('./functions/dev.ts')).dev),
  verb(functions.deploy, async () => (await import('./functions/deploy.ts')).deploy),
  verb(functions.invoke, async () => (await import('./functions/invoke.ts')).invoke),
  verb(functions.list, async () => (await import('./functions/list.ts')).list),
  verb(functions.describe, async () => (await import('./functions/describe.ts')).describe),
  verb(functions.logs, async () => (await import('./functions/logs.ts')).logs),
  verb(functions.top, async () => (await import('./functions/top.ts')).top),
  verb(functions.rm, async () => (await import('./functions/rm.ts')).rm),
  group('schedules', 'functions that run by themselves', schedules.list.examples, [
    verb(schedules.list, async () => (await import('./schedules/list.ts')).list),
  ]),
];

const ofInvocations = [
  verb(invocations.invocations, async () => (await import('./invocations/invocations.ts')).invocations),
  verb(invocations.trace, async () => (await import('./invocations/trace.ts')).trace),
  verb(invocations.why, async () => (await import('./invocations/why.ts')).why),
  verb(invocations.result, async () => (await import('./invocations/result.ts')).result),
  verb(invocations.cancel, async () => (await import('./invocations/cancel.ts')).cancel),
  verb(invocations.replay, async () => (await import('./invocations/replay.ts')).replay),
  group('batch', 'run a function for many items that are sent together', batch.run.examples, [
    verb(batch.run, async () => (await import('./batch/run.ts')).run),
    verb(batch.list, async () => (await import('./batch/list.ts')).list),
    verb(batch.show, async () => (await import('./batch/show.ts')).show),
    verb(batch.results, async () => (await import('./batch/results.ts')).results),
    verb(batch.seal, async () => (await import('./batch/show.ts')).seal),
    verb(batch.cancel, async () => (await import('./batch/show.ts')).cancel),
  ]),
  group('dlq', 'dead letters: queued invocations that have failed for good', dlq.redrive.examples, [
    verb(dlq.list, async () => (await import('./dlq/list.ts')).list),
    verb(dlq.show, async () => (await import('./dlq/show.ts')).show),
    verb(dlq.redrive, async () => (await import('./dlq/move.ts')).redrive),
    verb(dlq.purge, async () => (await import('./dlq/move.ts')).purge),
  ]),
  group('callbacks', 'the secret that callbacks are signed with', callbacks.secret.examples, [
    verb(callbacks.secret, async () => (await import('./callbacks/secret.ts')).secret),
    verb(callbacks.rotate, async () => (await import('./callbacks/secret.ts')).rotate),
  ]),
];

const ofPlatform = [
  group('limits', 'the share of the platform that a namespace may take', limits.set.examples, [
    verb(limits.show, async () => (await import('./limits/show.ts')).show),
    verb(limits.set, async () => (await import('./limits/set.ts')).set),
  ]),
  group('keys', 'API keys and their rights', keys.create.examples, [
    verb(keys.list, async () => (await import('./keys/list.ts')).list),
    verb(keys.create, async () => (await import('./keys/create.ts')).create),
    verb(keys.rm, async () => (await import('./keys/rm.ts')).rm),
  ]),
  verb(platform.login, async () => (await import('./platform/login.ts')).login),
  verb(platform.doctor, async () => (await import('./platform/doctor.ts')).doctor),
  verb(platform.help, async () => (await import('./platform/help.ts')).help),
];

export const offshoot: Group = {
  kind: 'group',
  name: 'offshoot',
  summary: 'deploy functions to an Offshoot platform, call them, and see what happened',
  examples: ['offshoot init hello && cd hello', 'offshoot deploy', 'offshoot invoke hello'],
  sections: [
    { title: 'Functions', members: ofFunctions },
    { title: 'Invocations', members: ofInvocations },
    { title: 'Platform', members: ofPlatform },
  ],
};
