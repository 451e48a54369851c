import { describe, expect, test } from 'vitest';
import { Manifest, manifestProblems } from '#contract/functions/manifest.ts';
import { parseCidr, parseEgressRule, PROTECTED_RANGES, within } from '#contract/functions/network.ts';

describe('an egress rule', () => {
  test('an egress rule may be an address, a range, a name or the names below one', () => {
    expect(parseEgressRule('1.2.3.4:80-90')).toEqual({
      kind: 'address',
      cidr: '1.2.3.4/32',
      range: { first: 0x01020304, last: 0x01020304 },
      ports: { first: 80, last: 90 },
    });
    expect(parseEgressRule('10.1.2.0/24:443')).toMatchObject({
      cidr: '10.1.2.0/24',
      range: { first: 0x0a010200, last: 0x0a0102ff },
    });
    expect(parseEgressRule('example.com:443')).toEqual({
      kind: 'name',
      name: 'example.com',
      subdomains: false,
      ports: { first: 443, last: 443 },
    });
    expect(parseEgressRule('*.example.com:443')).toMatchObject({ name: 'example.com', subdomains: true });
    expect(parseEgressRule('0.0.0.0/0:443')).toMatchObject({ range: { first: 0, last: 2 ** 32 - 1 } });
  });

  test.each([
    ['example.com', /has no port/],
    ['example.com:0', /not a port/],
    ['example.com:65536', /not a port/],
    ['example.com:90-80', /ends before it begins/],
    ['example.com:https', /not a port/],
    ['10.1.2.3/24:443', /did you mean 10\.1\.2\.0\/24/],
    ['10.1.2.0/33:443', /not an IPv4 address or range/],
    ['1.2.3:80', /not an IPv4 address or range/],
    ['1.2.3.256:80', /not an IPv4 address or range/],
    ['01.2.3.4:80', /not an IPv4 address or range/],
    ['[2001:db8::1]:443', /no IPv6/],
    ['2001:db8::1:443', /no IPv6/],
    ['*:443', /star/],
    ['a.*.example.com:443', /star/],
    ['*example.com:443', /star/],
    ['Example.com:443', /lower case/],
    ['localhost:80', /two labels/],
    ['*.com:443', /two labels/],
    ['exa mple.com:443', /two labels/],
    ['example.com.:443', /two labels/],
    ['example.com";accept:443', /two labels/],
    ['127.0.0.1:6379', /sandbox itself/],
    ['127.0.0.0/8:6379', /sandbox itself/],
    ['198.18.0.4:80', /no sandbox reaches another/],
  ])('the egress rule %s is refused with its reason', (text, reason) => {
    expect(() => parseEgressRule(text)).toThrow(reason);
    const parsed = Manifest.safeParse({ name: 'x', network: { egress: ['1.2.3.4:80', text] } });
    expect(parsed.success).toBe(false);
    // The field, and the position in its list.
    expect(manifestProblems(parsed.error ?? expect.fail())).toEqual([
      expect.stringMatching(new RegExp(`^network\\.egress\\.1: .*${reason.source}`)),
    ]);
  });

  test('egress rules are a list of limited length, in a field that knows its neighbours', () => {
    const egress = Array.from({ length: 65 }, () => '1.2.3.4:80');
    expect(Manifest.safeParse({ name: 'x', network: { egress } }).success).toBe(false);
    expect(Manifest.safeParse({ name: 'x', network: { egres: [] } }).success).toBe(false);
    expect(Manifest.parse({ name: 'x' }).network).toBeUndefined();
  });
});

test('the ranges that no rule reaches by accident hold private, local and metadata addresses', () => {
  const holds = (address: string): boolean =>
    PROTECTED_RANGES.some((range) => within(parseCidr(address), parseCidr(range)));
  for (const address of [
    '127.0.0.1',
    '10.0.0.1',
    '172.31.255.255',
    '192.168.0.1',
    '100.127.0.1',
    '169.254.169.254',
  ])
    expect(holds(address), address).toBe(true);
  for (const address of ['1.1.1.1', '172.32.0.1', '100.128.0.1', '203.0.113.5'])
    expect(holds(address), address).toBe(false);
});
