/** Runtime images that a function can choose, the default first. No schema library here: `offshoot doctor` runs before the set-up. */
export const RUNTIMES = ['node26', 'node24'] as const;

/** Runtime of a function whose manifest names none. */
export const DEFAULT_RUNTIME = RUNTIMES[0];

/** Version of Node's binary interface (`process.versions.modules`) in each image: addons without N-API are built for one. */
export const RUNTIME_ABIS: Readonly<Record<(typeof RUNTIMES)[number], number>> = { node26: 147, node24: 137 };
