/** The options of every verb. They may also stand before it. */
import { flag, text } from './options.ts';

export const shared = {
  url: text('--url <url>', 'URL of the gateway (OFFSHOOT_URL)'),
  key: text('--key <key>', 'API key (OFFSHOOT_API_KEY)'),
  namespace: text('-n, --namespace <namespace>', 'namespace (OFFSHOOT_NAMESPACE)'),
  json: flag('--json', 'print one JSON document on stdout, for programs'),
};
