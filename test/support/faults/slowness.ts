/** How many times slower than a real machine this one is: test/vm runs tests on a processor in software. Only time limits know it. */
export const SLOWNESS = Number(process.env['OFFSHOOT_TEST_SLOWNESS'] ?? 1);
