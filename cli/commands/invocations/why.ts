/** offshoot why ID: one paragraph and a bar: where the time of an invocation went, and what would change it. */
import { why as explain, type Part } from '#contract/invocations/why.ts';
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { defuse, milliseconds } from '../../terminal/text.ts';
import type { Given } from '../../verbs/definition.ts';
import type * as verbs from './definitions.ts';

/** Told apart by their shade, since colour is not for everybody and not for pipes. */
const SHADES = ['█', '░', '▓', '▒', '▞', '▤'];
const MARGIN = 4;

export async function why(context: Context, { id }: Given<typeof verbs.why>): Promise<void> {
  const { terminal } = context;
  const record = await connect(context).invocation(id);
  const { sentences, advice, parts } = explain(record, Date.now());
  terminal.document({ id: record.id, sentences, advice, parts });
  const end = record.state === 'done' ? record.outcome : record.state;
  terminal.print(
    `${terminal.style('bold', `${record.namespace}/${record.name}`)} version ${record.version}  ` +
      terminal.style(end === 'ok' ? 'green' : 'yellow', end),
  );
  terminal.print();
  for (const line of wrap(defuse(sentences.join(' ')), terminal.width - MARGIN)) terminal.print(`  ${line}`);
  terminal.print();
  for (const line of stackedBar(parts, terminal.width - MARGIN)) terminal.print(`  ${line}`);
  if (advice.length > 0) terminal.print();
  for (const line of advice) terminal.print(`  ${terminal.style('cyan', '→')} ${line}`);
  terminal.note(`\n${terminal.noteStyle('cyan', 'next:')} offshoot trace ${id}`);
}

/** The parts in one bar, to scale, and a legend. Each part that took any time has a column. */
export function stackedBar(parts: readonly Part[], width: number): string[] {
  const total = parts.reduce((sum, { ms }) => sum + ms, 0);
  if (total === 0) return [];
  const names = [...new Set(parts.map(({ name }) => name))];
  const shade = (name: string): string => SHADES[names.indexOf(name) % SHADES.length] ?? '█';
  // One column for each, and the others to scale; rounded by where a part ends, so that the whole is as wide as it should be.
  const spare = Math.max(0, width - parts.length);
  let until = 0;
  const bar = parts.map(({ name, ms }) => {
    const from = Math.round((until / total) * spare);
    until += ms;
    return shade(name).repeat(1 + Math.round((until / total) * spare) - from);
  });
  const sums = names.map((name) => {
    const ms = parts.filter((part) => part.name === name).reduce((sum, part) => sum + part.ms, 0);
    return `${shade(name)} ${name} ${milliseconds(ms)}`;
  });
  return [bar.join(''), ...wrap(sums.join('   '), width)];
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' && lines.length === 0 ? word : `${line} ${word}`;
  }
  return [...lines, line].map((one) => one.trimEnd());
}
