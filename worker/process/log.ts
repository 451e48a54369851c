/** The worker's own log: one JSON object a line. Output of functions is data and never passes here. */
import { pino, stdSerializers } from 'pino';

export const log = pino({
  name: 'worker',
  level: process.env['OFFSHOOT_LOG_LEVEL'] ?? 'info',
  serializers: { error: stdSerializers.err },
});
