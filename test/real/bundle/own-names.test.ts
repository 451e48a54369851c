/** K1: the names that CommonJS code expects are the author's to declare. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RealBench, type Files } from '../../support/real/project.ts';

let bench: RealBench;
beforeAll(async () => {
  bench = await RealBench.open();
});
afterAll(async () => {
  await bench.close();
});

const NAMES = ['__dirname', '__filename', 'require', 'offshootCreateRequire', 'process', 'globalThis'];
/** Each declares the name and exports its value as `NAME_value`. */
const DECLARATIONS: Readonly<Record<string, (name: string) => string>> = {
  var: (name) => `var ${name} = 'own'; export const value_${name} = ${name};`,
  const: (name) => `const ${name} = 'own'; export const value_${name} = ${name};`,
  function: (name) => `function ${name}() { return 'own'; } export const value_${name} = ${name}();`,
  class: (name) => `class ${name} { static own = 'own'; } export const value_${name} = ${name}.own;`,
  import: (name) => `import { own as ${name} } from './own.js'; export const value_${name} = ${name};`,
};
/** A CommonJS package that stays in the bundle and uses what Node gives to each module. */
const CJS: Files = {
  'node_modules/cjs/package.json': '{"name":"cjs","main":"i.js"}',
  'node_modules/cjs/i.js':
    "const { sep } = require('node:path'); module.exports = typeof require + sep + typeof module + require('./b.js');",
  'node_modules/cjs/b.js': 'exports.b = 1; module.exports = typeof exports;',
};

for (const [kind, declare] of Object.entries(DECLARATIONS)) {
  for (const [place, cjs] of [
    ['the entry', false],
    ['the entry', true],
    ['an imported file', false],
    ['an imported file', true],
  ] as const) {
    test(`K1 B29 names declared by ${kind} in ${place}, ${cjs ? 'beside a CommonJS package' : 'without one'} [DE7]`, async () => {
      const values = NAMES.map((name) => `value_${name}`);
      const project = await bench.project({
        'src/own.js': "export const own = 'own';",
        ...Object.fromEntries(NAMES.map((name) => [`src/declares-${name}.js`, declare(name)])),
        'src/index.js': [
          cjs ? "import cjs from 'cjs';" : "const cjs = '';",
          ...NAMES.map((name) =>
            place === 'the entry' ? declare(name) : `import { value_${name} } from './declares-${name}.js';`,
          ),
          `export default { fetch: () => new Response([cjs, ${values.join(', ')}].join()) };`,
        ].join('\n'),
        'offshoot.json': '{"name":"sample","entry":"src/index.js"}',
        ...(cjs ? CJS : {}),
      });
      const wanted = await project.fromSource('/', 'src/index.js');
      expect(wanted.text).toMatch(/(?:,own){6}$/);
      expect(await bench.fromArchive(project)).toEqual(wanted);
    });
  }
}
