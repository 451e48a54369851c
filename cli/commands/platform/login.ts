/** offshoot login: check a key with the gateway and keep it for the other verbs. */
import { text } from 'node:stream/consumers';
import { Client } from '../../api/client.ts';
import type { Context } from '../../terminal/context.ts';
import { findLocalKey, findTarget, storeKey } from '../../api/credentials.ts';
import { CliError } from '../../terminal/errors.ts';
import type { Given } from '../../verbs/definition.ts';
import type * as verbs from './definitions.ts';

export async function login(context: Context, { gateway }: Given<typeof verbs.login>): Promise<void> {
  const { terminal, flags } = context;
  const { url } = findTarget({ ...flags, url: gateway ?? flags.url });
  const local = findLocalKey(url);
  const key = flags.key ?? (process.env['OFFSHOOT_API_KEY'] || local) ?? (await askForKey(context, url));
  const client = new Client({ url, key, namespace: '' });
  const who = await client.whoAmI();
  const file = storeKey(url, key, who.namespace);
  terminal.document({ url, namespace: who.namespace, scopes: who.scopes, version: who.version, file });
  const where = who.namespace === '*' ? 'all namespaces' : `namespace ${who.namespace}`;
  terminal.print(
    `${terminal.style('green', '✓')} signed in to ${url}: ${where}, scopes ${who.scopes.join(', ')}`,
  );
  if (key === local) terminal.print('  with the admin key of the platform on this machine');
  terminal.print(`  kept in ${file}, readable by you only`);
}

async function askForKey({ terminal }: Context, url: string): Promise<string> {
  if (!process.stdin.isTTY) {
    const key = (await text(process.stdin)).trim();
    if (key !== '') return key;
  } else if (terminal.interactive) {
    const { isCancel, password } = await import('@clack/prompts');
    const answer = await password({ message: `API key for ${url}`, output: process.stderr });
    if (isCancel(answer)) {
      throw new CliError('interrupted', 'no key was given', { next: `offshoot login --url ${url}` });
    }
    if (answer) return answer.trim();
  }
  throw new CliError('usage', 'no key was given', {
    code: 'no_key',
    lines: [
      'the first start of a platform shows its key, and keeps it in the file admin-key of its state:',
      '/var/lib/offshoot/admin-key when it was started as root, else ~/.local/state/offshoot/admin-key',
    ],
    next: `offshoot login --url ${url} --key KEY`,
  });
}
