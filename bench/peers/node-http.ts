/** Peer: node:http alone. Usage: node node-http.ts PORT */
import { createServer } from 'node:http';

createServer((_, response) => {
  response.setHeader('content-type', 'application/json').end('{"greeting":"Hello"}');
}).listen(Number(process.argv[2]), '127.0.0.1');
