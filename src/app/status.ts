// `firezone-gateway status`: what a running gateway on this machine says about itself, through its health listener.

import { get } from 'node:http';
import type { Endpoint } from '../base/address.ts';
import { FzError } from '../base/errors.ts';

export class StatusError extends FzError {
  readonly code = 'FZ_ERR_STATUS';
}

// Implementation
const TIMEOUT_MS = 3_000;

/** The state as the process gave it. Rejects with `StatusError`. */
export function fetchState(address: Endpoint): Promise<unknown> {
  const host =
    address.address === '0.0.0.0'
      ? '127.0.0.1'
      : address.address === '::'
        ? '::1'
        : address.address;
  const where = `${host} port ${address.port}`;
  return new Promise((resolve, reject) => {
    const request = get(
      { host, port: address.port, path: '/debug/state', timeout: TIMEOUT_MS },
      (response) => {
        let body = '';
        response.setEncoding('utf8');
        response.on('data', (text: string) => {
          body += text;
        });
        response.on('end', () => {
          if (response.statusCode === 200) resolve(JSON.parse(body));
          else
            reject(
              new StatusError(
                `what listens on ${where} is no gateway (HTTP ${response.statusCode})`,
              ),
            );
        });
      },
    );
    request.on('timeout', () => request.destroy(new Error('no answer')));
    request.on('error', (cause) => {
      const hint = 'is a gateway running here, with this HEALTH_CHECK_ADDR?';
      reject(new StatusError(`nothing answers on ${where}: ${hint}`, { cause }));
    });
  });
}

/** The state for people: nested sections as indented lines. */
export function formatState(state: unknown, indent = ''): string {
  if (Array.isArray(state)) {
    if (state.length === 0) return `${indent}none\n`;
    return state.map((item) => `${indent}-\n${formatState(item, `${indent}  `)}`).join('');
  }
  if (typeof state !== 'object' || state === null) return `${indent}${String(state)}\n`;
  return Object.entries(state)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => {
      const isNested = typeof value === 'object' && value !== null && Object.keys(value).length > 0;
      if (isNested) return `${indent}${key}\n${formatState(value, `${indent}  `)}`;
      return `${indent}${key}: ${typeof value === 'object' ? 'none' : String(value)}\n`;
    })
    .join('');
}
