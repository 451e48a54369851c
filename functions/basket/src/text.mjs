/** Packages that read and write formats: templates, markup, tables, documents, archives, source code. */
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';

export const text = {
  handlebars: {
    use: async () => {
      const { default: handlebars } = await import('handlebars');
      return handlebars.compile('{{#each items}}<li>{{this}}</li>{{/each}}')({ items: ['a', '<b>'] });
    },
    gives: '<li>a</li><li>&lt;b&gt;</li>',
  },
  cheerio: {
    use: async () => {
      const { load } = await import('cheerio');
      const $ = load('<ul><li class="a">one</li><li>two</li></ul>');
      return [$('li.a').text(), $('ul > li').length];
    },
    gives: ['one', 2],
  },
  xml2js: {
    use: async () => {
      const { default: xml2js } = await import('xml2js');
      const parsed = await xml2js.parseStringPromise('<a n="1"><b>x</b></a>');
      return [parsed.a.$.n, parsed.a.b[0]];
    },
    gives: ['1', 'x'],
  },
  yaml: {
    use: async () => {
      const { parse, stringify } = await import('yaml');
      return parse(`${stringify({ list: [1, 'two'] })}more: &x {a: 1}\nagain: *x\n`);
    },
    gives: { list: [1, 'two'], more: { a: 1 }, again: { a: 1 } },
  },
  'csv-parse': {
    use: async () => {
      const { parse } = await import('csv-parse/sync');
      return parse('name,note\na,"one, two"\n', { columns: true }).map((row) => ({ ...row }));
    },
    gives: [{ name: 'a', note: 'one, two' }],
  },
  'pdf-lib': {
    use: async () => {
      const { PDFDocument, StandardFonts } = await import('pdf-lib');
      const document = await PDFDocument.create();
      const font = await document.embedFont(StandardFonts.Helvetica);
      document.addPage([200, 100]).drawText('hello', { x: 10, y: 50, font, size: 12 });
      const bytes = await document.save();
      const again = await PDFDocument.load(bytes);
      return [Buffer.from(bytes.subarray(0, 5)).toString(), again.getPage(0).getSize()];
    },
    gives: ['%PDF-', { width: 200, height: 100 }],
  },
  jszip: {
    use: async () => {
      const { default: JSZip } = await import('jszip');
      const zip = new JSZip();
      zip.file('a/b.txt', 'x'.repeat(10_000));
      const packed = await zip.generateAsync({ type: 'nodebuffer', compression: 'DEFLATE' });
      const again = await JSZip.loadAsync(packed);
      return [packed.length < 1_000, (await again.file('a/b.txt').async('string')).length];
    },
    gives: [true, 10_000],
  },
  archiver: {
    use: async () => {
      const { ZipArchive } = await import('archiver');
      const archive = new ZipArchive({ zlib: { level: 9 } });
      archive.append('x'.repeat(10_000), { name: 'x.txt' });
      const [packed] = await Promise.all([buffer(archive), archive.finalize()]);
      return [packed.toString('latin1', 0, 2), packed.length < 1_000];
    },
    gives: ['PK', true],
  },
  tar: {
    use: async () => {
      const { create, extract } = await import('tar');
      const from = await mkdtemp('/tmp/tar-');
      const to = await mkdtemp('/tmp/tar-');
      await writeFile(join(from, 'a.txt'), 'packed');
      await create({ gzip: true, file: `${from}.tgz`, cwd: from }, ['a.txt']);
      await extract({ file: `${from}.tgz`, cwd: to });
      return await readFile(join(to, 'a.txt'), 'utf8');
    },
    gives: 'packed',
  },
  terser: {
    use: async () => {
      const { minify } = await import('terser');
      const { code } = await minify(
        'function add(first, second) { return first + second; } console.log(add(1, 2));',
        {
          toplevel: true,
          compress: { passes: 2 },
        },
      );
      return code;
    },
    gives: 'console.log(3);',
  },
  postcss: {
    use: async () => {
      const { default: postcss } = await import('postcss');
      const plugin = {
        postcssPlugin: 'px',
        Declaration: (node) => void (node.value = node.value.replace('px', 'rem')),
      };
      return postcss([plugin]).process('a { margin: 2px }', { from: undefined }).css;
    },
    gives: 'a { margin: 2rem }',
  },
  prettier: {
    use: async () => {
      const { format } = await import('prettier');
      return await format('const a={b:1,\nc:[1,2]}', { parser: 'babel', semi: false });
    },
    gives: 'const a = { b: 1, c: [1, 2] }\n',
  },
};
