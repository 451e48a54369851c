/** Opens a client for a verb. Apart from context.ts, so that what needs no gateway does not load the schemas. */
import { Client } from './client.ts';
import type { Context } from '../terminal/context.ts';
import { findTarget } from './credentials.ts';

/** The gateway that flags, environment and stored credentials point to. */
export function connect(context: Context): Client {
  return new Client(findTarget(context.flags));
}
