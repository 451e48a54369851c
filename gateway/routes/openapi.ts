/** Builds the OpenAPI document and a page that shows it. The page loads nothing from elsewhere, so it works offline. */
import type { OpenAPIHono } from '@hono/zod-openapi';
import { html, raw } from 'hono/html';
import { ERRORS } from '#contract/api/errors.ts';
import { FUNCTION_PREFIX } from '#contract/functions/function-path.ts';
import { OUTCOMES } from '#contract/invocations/outcome.ts';
import type { AppEnv } from './endpoint.ts';

/** Headers under which no script runs and nothing is loaded, whatever a description may contain. */
export const DOCS_HEADERS = {
  'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'",
  'x-content-type-options': 'nosniff',
};

type Document = ReturnType<OpenAPIHono['getOpenAPI31Document']>;

/** The document of the app's routes, made at the first request. */
export function describeApi(app: OpenAPIHono<AppEnv>, version: string): () => Document {
  let document: Document | undefined;
  app.openAPIRegistry.registerComponent('securitySchemes', 'apiKey', {
    type: 'http',
    scheme: 'bearer',
    description: 'An API key, as `offshoot keys create` makes it. The header `x-api-key` works as well.',
  });
  return () =>
    (document ??= app.getOpenAPI31Document({
      openapi: '3.1.0',
      info: {
        title: 'Offshoot',
        version,
        description: `Functions are called at ${FUNCTION_PREFIX}{namespace}/{name}/{path}, with any method; that is not part of this document.`,
      },
    }));
}

/** The document as a page. */
export function docsPage(document: Document): ReturnType<typeof html> {
  const operations = Object.entries(document.paths ?? {}).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => showOperation(method, path, operation)),
  );
  const errors = Object.entries(ERRORS).map(errorRow);
  const outcomes = Object.entries(OUTCOMES).map(errorRow);
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>Offshoot API</title>
        <style>
          ${raw(STYLE)}
        </style>
      </head>
      <body>
        <h1>Offshoot API</h1>
        <p>
          ${document.info.description} Send the API key as <code>Authorization: Bearer KEY</code>. The
          machine-readable form of this page is <a href="openapi.json">openapi.json</a>.
        </p>
        ${operations}
        <h2>Errors</h2>
        <p>
          Each has the form <code>{"error": {"code", "message", "next", "details"}}</code>. The columns are
          code, status, whose fault it is, what it means, and <code>next</code>: what to do.
        </p>
        <table>
          ${errors}
        </table>
        <h2>Outcomes of an invocation</h2>
        <table>
          ${outcomes}
        </table>
      </body>
    </html>`;
}

interface Operation {
  readonly summary?: string;
  readonly description?: string;
  readonly parameters?: unknown;
  readonly requestBody?: unknown;
  readonly responses?: unknown;
}

function showOperation(method: string, path: string, operation: Operation): ReturnType<typeof html> {
  const parts = {
    parameters: operation.parameters,
    'request body': operation.requestBody,
    answers: operation.responses,
  };
  const shown = Object.entries(parts).filter(([, part]) => part !== undefined);
  return html`<details>
    <summary><b>${method.toUpperCase()}</b> <code>${path}</code> ${operation.summary ?? ''}</summary>
    <p>${operation.description ?? ''}</p>
    ${shown.map(
      ([name, part]) =>
        html`<h3>${name}</h3>
          <pre>${JSON.stringify(part, null, 2)}</pre>`,
    )}
  </details>`;
}

interface ErrorRow {
  readonly status: number;
  readonly fault: string;
  readonly meaning: string;
  readonly next: string;
}

function errorRow([code, { status, fault, meaning, next }]: [string, ErrorRow]): ReturnType<typeof html> {
  return html`<tr>
    <td><code>${code}</code></td>
    <td>${status}</td>
    <td>${fault}</td>
    <td>${meaning}</td>
    <td>${next}</td>
  </tr>`;
}

const STYLE = `
  :root { color-scheme: light dark; }
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
  code, pre { font: 14px/1.4 ui-monospace, monospace; }
  details { border-top: 1px solid #8884; padding: .4rem 0; }
  summary { cursor: pointer; }
  summary b { display: inline-block; min-width: 4.5rem; }
  pre { overflow: auto; max-height: 24rem; padding: .6rem; background: #8881; }
  h3 { font-size: 1rem; margin: .6rem 0 0; }
  td { padding: .1rem 1rem .1rem 0; vertical-align: top; }
`;
