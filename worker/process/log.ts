/** The worker's own log: one JSON object a line. What functions print never passes here; it is data. */
import { pino, stdSerializers } from 'pino';

export const log = pino({
  name: 'worker',
  level: process.env['OFFSHOOT_LOG_LEVEL'] ?? 'info',
  serializers: { error: stdSerializers.err },
});
