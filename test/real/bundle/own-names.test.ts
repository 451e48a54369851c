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
const DECLARATIONS: Readonly<Record<string, (name: string) => string>> = {
  var: (name) => `var ${name} = 'own'; export const value = ${name};`,
  const: (name) => `const ${name} = 'own'; export const value = ${name};`,
  function: (name) => `function ${name}() { return 'own'; } export const value = ${name}();`,
  class: (name) => `class ${name} { static own = 'own'; } export const value = ${name}.own;`,
  import: (name) => `import { own as ${name} } from './own.js'; export const value = ${name};`,
};
/** A CommonJS package that stays in the bundle and uses what Node gives to each module. */
const CJS: Files = {
  'node_modules/cjs/package.json': '{"name":"cjs","main":"i.js"}',
  'node_modules/cjs/i.js':
    "const { sep } = require('node:path'); module.exports = typeof require + sep + typeof module + require('./b.js');",
  'node_modules/cjs/b.js': 'exports.b = 1; module.exports = typeof exports;',
};

for (const [kind, declare] of Object.entries(DECLARATIONS)) {
  test(`K1 B29 each name declared by ${kind}, in the entry and in an imported file, beside a CommonJS package or none`, async () => {
    for (const name of NAMES) {
      for (const [place, cjs] of [
        ['entry', false],
        ['entry', true],
        ['file', false],
        ['file', true],
      ] as const) {
        const library = cjs ? "import cjs from 'cjs';" : "const cjs = '';";
        const answer = 'export default { fetch: () => new Response(value + cjs) };';
        const project = await bench.project({
          'src/own.js': "export const own = 'own';",
          'src/index.js':
            place === 'entry'
              ? `${library}\n${declare(name)}\n${answer}`
              : `${library}\nimport { value } from './declares.js';\n${answer}`,
          'src/declares.js': declare(name),
          'offshoot.json': '{"name":"sample","entry":"src/index.js"}',
          ...(cjs ? CJS : {}),
        });
        const wanted = await project.fromSource('/', 'src/index.js');
        expect(await bench.fromArchive(project), `${kind} ${name} in the ${place}`).toEqual(wanted);
      }
    }
  });
}
