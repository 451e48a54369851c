/** Help beyond that of commander: examples for people, and the whole definition as a document for programs. */
import type { Argument } from './definition.ts';
import { membersOf, type Group, type Verb } from './verb.ts';

/** The examples of a verb or group, to stand below its help. */
export function examplesText({ kind, name, examples }: Verb | Group): string {
  const lines = ['', 'Examples:', ...examples.map((line) => `  ${line}`)];
  if (kind === 'group') {
    const below = name === 'offshoot' ? 'VERB' : `${name} VERB`;
    lines.push('', `More help: offshoot help ${below}, offshoot help exit-codes`);
  }
  return lines.join('\n');
}

/** An argument as a usage line has it: `<id>`, `[name]` or `[topic...]`. */
export function argumentTerm(name: string, { required, variadic }: Argument<unknown>): string {
  const named = variadic ? `${name}...` : name;
  return required ? `<${named}>` : `[${named}]`;
}

/** The words that follow a name: its arguments, or `VERB` for a group. */
export function operandsOf(node: Verb | Group): string {
  if (node.kind === 'group') return 'VERB';
  return Object.entries(node.args)
    .map(([name, argument]) => argumentTerm(name, argument))
    .join(' ');
}

/** Summary as a sentence, and the details. */
export function descriptionOf(node: Verb | Group): string {
  const summary = `${node.summary.charAt(0).toUpperCase()}${node.summary.slice(1)}.`;
  return node.kind === 'verb' && node.details !== undefined ? `${summary}\n\n${node.details}` : summary;
}

/** Help for programs: `offshoot help dlq redrive --json`. `path`: names of the verb and of the group above it. */
export function helpDocument(node: Verb | Group, path: string): object {
  const { summary, examples } = node;
  const command = `offshoot ${path}`.trim();
  if (node.kind === 'group') {
    const verbs = membersOf(node).map((member) => ({ name: member.name, summary: member.summary }));
    return { command, summary, verbs, examples };
  }
  return {
    command,
    summary,
    details: node.details,
    arguments: Object.entries(node.args).map(([name, { about, required, variadic = false }]) => ({
      name,
      about,
      required,
      variadic,
    })),
    options: Object.values(node.options).map(({ flags, about, repeatable = false }) => ({
      flags,
      about,
      repeatable,
    })),
    examples,
  };
}
