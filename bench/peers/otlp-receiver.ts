/** A collector that only counts: POST accepts any body, GET returns the count. Usage: node otlp-receiver.ts PORT */
import { createServer } from 'node:http';

let requests = 0;
let bytes = 0;

createServer((request, response) => {
  const isExport = request.method === 'POST';
  if (isExport) requests++;
  request.on('data', (piece: Buffer) => (bytes += piece.length));
  request.on('end', () => response.end(isExport ? '' : JSON.stringify({ requests, bytes })));
}).listen(Number(process.argv[2]), '127.0.0.1');
