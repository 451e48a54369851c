/** Writes docs/errors.md, the page of both catalogues: `node infra/generate/errors.ts`. */
import { writeFileSync } from 'node:fs';
import { ERRORS } from '#contract/api/errors.ts';
import { OUTCOMES } from '#contract/invocations/outcome.ts';

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
`;
}

function table(catalogue: Readonly<Record<string, Facts>>): string {
  const rows = Object.entries(catalogue).map(
    ([code, { status, fault, meaning, next }]) =>
      `| \`${code}\` | ${status} | ${fault} | ${meaning} | ${next} |`,
  );
  return ['| code | status | fault of | meaning | next |', '|---|---|---|---|---|', ...rows].join('\n');
}

if (import.meta.main) writeFileSync(new URL('../../docs/errors.md', import.meta.url), errorsPage());
