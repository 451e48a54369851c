/** The verbs of `offshoot keys`: API keys. */
import { define } from '../../verbs/definition.ts';
import { flag, required, texts } from '../../verbs/options.ts';

export const list = define({
  name: 'list',
  summary: 'list the API keys, without their secrets',
  args: {},
  options: {},
  examples: ['offshoot keys list'],
});

export const create = define({
  name: 'create',
  summary: 'make an API key for a namespace, and print it once',
  args: {},
  options: { scopes: texts('-s, --scope <scope>', 'right of the key: deploy, read, invoke or admin') },
  examples: [
    'offshoot keys create --scope invoke',
    'offshoot keys create --scope deploy --scope read --namespace shop',
  ],
});

export const rm = define({
  name: 'rm',
  summary: 'remove an API key, which is refused from then on',
  args: { id: required('id of the key', 'offshoot keys list') },
  options: { yes: flag('-y, --yes', 'do not ask') },
  examples: ['offshoot keys rm 5f2a91c04d7e8b36 --yes'],
});
