/** Writes the outcomes that alerts.yml counts, from the table of outcomes: node infra/monitoring/alert-outcomes.ts */
import { readFileSync, writeFileSync } from 'node:fs';
import { OUTCOME_NAMES, OUTCOMES } from '#contract/invocations/outcome.ts';

/** The text of alerts.yml with the outcomes of the table; a test compares it with the file. */
export function withOutcomes(alerts: string): string {
  return alerts
    .replaceAll(/outcome=~"[^"]*"/g, `outcome=~"${counted('platform')}"`)
    .replaceAll(/outcome!~"[^"]*"/g, `outcome!~"${counted('none')}"`);
}

function counted(alert: string): string {
  return OUTCOME_NAMES.filter((outcome) => OUTCOMES[outcome].alert === alert).join('|');
}

if (import.meta.main) {
  const file = new URL('alerts.yml', import.meta.url);
  writeFileSync(file, withOutcomes(readFileSync(file, 'utf8')));
}
