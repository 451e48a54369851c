/** A sound archive of a function, as a deploy uploads it. */
import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import * as tar from 'tar-stream';

export async function packArchive(
  files: Readonly<Record<string, string | Buffer>>,
): Promise<{ digest: string; bytes: Buffer }> {
  const packed = tar.pack();
  for (const [name, contents] of Object.entries(files)) packed.entry({ name, mtime: new Date(0) }, contents);
  packed.finalize();
  const bytes = gzipSync(Buffer.concat(await Array.fromAsync(packed as AsyncIterable<Buffer>)));
  return { digest: createHash('sha256').update(bytes).digest('hex'), bytes };
}
