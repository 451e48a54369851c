/** Writes docs/errors.md, the page of both catalogues: `node infra/generate/errors.ts`. */
import { writeFileSync } from 'node:fs';
import { ERRORS } from '#contract/api/errors.ts';
import { OUTCOMES, type Outcome } from '#contract/invocations/outcome.ts';

interface Facts {
  readonly status: number;
  readonly fault: string;
  readonly meaning: string;
  readonly next: string;
}

/** The text of the file; a test compares it with the one that is committed. */
export function errorsPage(): string {
  return `# Errors and outcomes

\`infra/generate/errors.ts\` writes this page from \`contract/api/errors.ts\` and \`contract/invocations/outcome.ts\`; edit those.

API, CLI (\`--json\`) and dashboard report both in one form: \`{"error": {"code", "message", "next", "details"}}\`. The message has the
facts of the case. \`ID\` stands for the id of the invocation or batch, which \`next\` of an answer has filled in.

## Errors

An error says why a request did not become an invocation, or why a management call was refused.

${table(ERRORS)}

## Outcomes

An outcome says how an invocation ended. The answer of a function whose outcome is \`ok\` has the function's own status.

${table(OUTCOMES)}

Each row has its consequences. In the queued lane, three attempts with a poisonous end make a dead letter, however many are left. A sandbox
that is spent takes no further invocation. The alerts are in \`infra/monitoring/alerts.yml\`: \`OffshootFunctionFails\` counts
the function's faults and the platform's, \`OffshootPlatformFailures\` only the platform's.

${consequences()}
`;
}

function table(catalogue: Readonly<Record<string, Facts>>): string {
  const rows = Object.entries(catalogue).map(
    ([code, { status, fault, meaning, next }]) =>
      `| \`${code}\` | ${status} | ${fault} | ${meaning} | ${next} |`,
  );
  return ['| code | status | fault of | meaning | next |', '|---|---|---|---|---|', ...rows].join('\n');
}

function consequences(): string {
  const rows = Object.entries(OUTCOMES).map(([code, { queued, poison, sandbox, alert }]) => {
    const next = { retry: 'retried', done: 'done', not_retried: 'dead letter', expired: 'dead letter' }[
      queued
    ];
    return `| \`${code as Outcome}\` | ${next} | ${poison ? 'yes' : ''} | ${sandbox} | ${alert} |`;
  });
  return ['| code | queued lane | poison | sandbox | alert |', '|---|---|---|---|---|', ...rows].join('\n');
}

if (import.meta.main) writeFileSync(new URL('../../docs/errors.md', import.meta.url), errorsPage());
