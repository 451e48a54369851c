/** The verbs that act on the platform and on this command. */
import { define } from '../../verbs/definition.ts';
import { optional, words } from '../../verbs/options.ts';

export const login = define({
  name: 'login',
  summary: 'check an API key and keep it for the other verbs',
  details:
    'Without --key, it takes OFFSHOOT_API_KEY, the admin key of a platform on this machine, stdin, or asks.',
  args: { gateway: optional('URL of the gateway') },
  options: {},
  examples: ['offshoot login', 'offshoot login https://offshoot.example.com'],
});

export const doctor = define({
  name: 'doctor',
  summary: 'check which parts this host lacks to run the platform',
  args: {},
  options: {},
  examples: ['offshoot doctor', 'offshoot doctor --json'],
});

export const help = define({
  name: 'help',
  summary: 'show the help of a verb, or the exit codes',
  args: { topic: words('names of the verb, or exit-codes') },
  options: {},
  examples: ['offshoot help invoke', 'offshoot help dlq redrive', 'offshoot help exit-codes'],
});
