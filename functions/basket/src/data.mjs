/** Packages that work on values: collections, checks, times, ids, state, tokens. */
export const data = {
  lodash: {
    use: async () => {
      const { default: _ } = await import('lodash');
      return _.mapValues(_.groupBy([6.1, 4.2, 6.3], Math.floor), (group) => _.sum(group).toFixed(1));
    },
    gives: { 4: '4.2', 6: '12.4' },
  },
  zod: {
    use: async () => {
      const { z } = await import('zod');
      const order = z.object({ item: z.string(), quantity: z.int().default(1) });
      return [order.parse({ item: 'a' }), order.safeParse({ item: 1 }).success];
    },
    gives: [{ item: 'a', quantity: 1 }, false],
  },
  ajv: {
    use: async () => {
      const { default: Ajv } = await import('ajv');
      const check = new Ajv.default().compile({ type: 'array', items: { type: 'integer' }, minItems: 1 });
      return [check([1, 2]), check([]), check(['x'])];
    },
    gives: [true, false, false],
  },
  uuid: {
    use: async () => {
      const { v4, v5, validate, version } = await import('uuid');
      return [validate(v4()), version(v4()), v4() === v4(), v5('offshoot', v5.URL)];
    },
    gives: [true, 4, false, 'f914f12d-1db0-5af8-8700-48ef9d9c0d6e'],
  },
  nanoid: {
    use: async () => {
      const { customAlphabet, nanoid } = await import('nanoid');
      return [nanoid().length, nanoid() === nanoid(), /^[ab]{8}$/.test(customAlphabet('ab', 8)())];
    },
    gives: [21, false, true],
  },
  'date-fns': {
    use: async () => {
      const { addMonths } = await import('date-fns/addMonths');
      const { differenceInCalendarDays } = await import('date-fns/differenceInCalendarDays');
      const { formatISO } = await import('date-fns/formatISO');
      const start = new Date(2024, 0, 31);
      return [
        formatISO(addMonths(start, 1), { representation: 'date' }),
        differenceInCalendarDays(new Date(2024, 2, 1), start),
      ];
    },
    gives: ['2024-02-29', 30],
  },
  dayjs: {
    use: async () => {
      const { default: dayjs } = await import('dayjs');
      return dayjs('2024-02-28').add(2, 'day').format('ddd D MMM YYYY');
    },
    gives: 'Fri 1 Mar 2024',
  },
  rxjs: {
    use: async () => {
      const { interval, lastValueFrom, map, scan, take } = await import('rxjs');
      const sums = interval(1).pipe(
        take(4),
        map((number) => number * 2),
        scan((sum, number) => sum + number, 0),
      );
      return await lastValueFrom(sums);
    },
    gives: 12,
  },
  immer: {
    use: async () => {
      const { produce } = await import('immer');
      const before = { list: [1], same: {} };
      const after = produce(before, (draft) => void draft.list.push(2));
      return [before.list, after.list, before.same === after.same];
    },
    gives: [[1], [1, 2], true],
  },
  semver: {
    use: async () => {
      const { default: semver } = await import('semver');
      return [
        semver.satisfies('1.4.2', '^1.2'),
        semver.inc('1.2.3', 'minor'),
        semver.sort(['1.10.0', '1.9.0']),
      ];
    },
    gives: [true, '1.3.0', ['1.9.0', '1.10.0']],
  },
  jsonwebtoken: {
    use: async () => {
      const { default: jwt } = await import('jsonwebtoken');
      const { sub } = jwt.verify(jwt.sign({ sub: 'a' }, 'secret', { expiresIn: 60 }), 'secret');
      return [sub, jwt.decode(jwt.sign({ n: 1 }, 'secret', { noTimestamp: true }))];
    },
    gives: ['a', { n: 1 }],
  },
  jose: {
    use: async () => {
      const { exportJWK, generateKeyPair, jwtVerify, SignJWT } = await import('jose');
      const { privateKey, publicKey } = await generateKeyPair('ES256');
      const token = await new SignJWT({ n: 1 }).setProtectedHeader({ alg: 'ES256' }).sign(privateKey);
      const { payload, protectedHeader } = await jwtVerify(token, publicKey);
      return [payload, protectedHeader, (await exportJWK(publicKey)).crv];
    },
    gives: [{ n: 1 }, { alg: 'ES256' }, 'P-256'],
  },
  msgpackr: {
    use: async () => {
      const { pack, unpack } = await import('msgpackr');
      const value = { list: [1, 2.5, 'x'.repeat(100)], nested: { none: null } };
      return [unpack(pack(value)), pack(value).length < JSON.stringify(value).length];
    },
    gives: [{ list: [1, 2.5, 'x'.repeat(100)], nested: { none: null } }, true],
  },
};
