import { readSettings } from './config.ts';

const settings = readSettings(process.env['SETTINGS']);

export default {
  fetch: () => Response.json(settings),
} satisfies OffshootFunction;
