/**
 * Factor by which this machine is slower than a real one: test/vm runs tests on a processor in software. Only time
 * limits use it.
 */
export const SLOWNESS = Number(process.env['OFFSHOOT_TEST_SLOWNESS'] ?? 1);
